"""Who approves is told what takes a step back, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from executors.docker import replace_container
from executors.docker.executor import PRIMITIVES
from flows.approvals.merge_file import words_of
from flows.approvals.undo_words import _PUT_BACK
from flows.command_line import approve
from tests.fakes.loop import loop_world, service_yaml

STRICT: dict[str, Any] = {
    "compare": {"grace": {"confirmAfter": "0s"}},
    "guard": {"policy": {"allowUpTo": "read", "approveUpTo": "high"}},
}


def test_a_recreate_that_fails_is_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loop_world(tmp_path, platform=STRICT) as world:
        world.commit(shop=service_yaml("shop"), till=service_yaml("till"))
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        world.run()
        world.commit(shop=service_yaml("shop", image="shop:9"))
        world.engine.kill("till")
        world.run()
        asked = approve.listing(world.runtime)
        capsys.readouterr()
        approve.show(asked, world.runtime.clock.now())
        out = capsys.readouterr().out
        assert "cannot be undone" not in out
        assert (
            "1. recreate local-docker/shop (risk high, undone by no operation: if the new container"
            " can't start or ends at once, the old one is put back; else the old one is removed,"
            " with its files that are in no volume)"
        ) in out
        assert "1. start local-docker/till (risk low, undone by stop)" in out
        # A merge and a form say the same.
        for each in asked:
            assert "undone by" in "".join(words_of(each.request))


def test_the_promise_is_the_one_of_the_module_that_keeps_it() -> None:
    assert "the old one gets its name back and runs again if it ran" in " ".join(
        (replace_container.__doc__ or "").split()
    )
    for executor, primitive in _PUT_BACK:
        assert executor == "docker"
        assert primitive in PRIMITIVES
