"""What a process keeps in memory of the reports branch: the newest of each file."""

from __future__ import annotations

from flows.repository.plumbing import Plumbing
from tests.fakes.loop import LoopWorld, service_yaml


def kept(world: LoopWorld, what: bytes) -> int:
    """Blobs in memory with these bytes."""
    plumbing: Plumbing = world.runtime.git._repository._plumbing  # type: ignore[attr-defined]
    return sum(what in content for content in plumbing._blobs.values())


def test_statuses_that_were_overwritten_are_not_kept(world: LoopWorld) -> None:
    world.commit(shop=service_yaml("shop"))

    def repair(times: int) -> int:
        for _ in range(times):
            world.engine.containers.clear()
            world.run()
        return kept(world, b"ServiceStatus")

    few = repair(3)
    assert few
    assert repair(4) == few
    assert kept(world, b"kind: Service\n")  # desired state has not changed
