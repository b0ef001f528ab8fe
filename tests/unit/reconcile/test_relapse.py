"""A fault that comes back was not mended: what the loop learns of it, and what it does then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.report import IncidentReport
from infrastructure.knowledge import LearnedResolution
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

TARGET = f"{ENVIRONMENT}/a"
NO_WAIT = {"policy": {"backoff": {"initial": "0s", "max": "0s"}, "maxAttempts": 5}}


@contextmanager
def running(root: Path, within: str = "1h") -> Iterator[LoopWorld]:
    """One service as declared, planned for by the runbooks."""
    platform = {"guard": NO_WAIT, "learning": {"relapseWithin": within}}
    with loop_world(root, platform=platform) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        yield world


def broken(world: LoopWorld, exit_code: int) -> IncidentReport | None:
    """The process ends; one run of the loop about it."""
    world.engine.named("a").end(exit_code)
    return next(iter(world.run().incidents), None)


def done(told: IncidentReport | None) -> str:
    assert told is not None
    return f"{', '.join(step.operation for step in told.plan.steps)}: {told.result.value}"


def known(world: LoopWorld) -> dict[str, LearnedResolution]:
    found = world.runtime.git.reported().knowledge.get("docker-stopped")
    resolutions = found.resolutions if found is not None else ()
    return {", ".join(s.operation for s in r.steps): r for r in resolutions}


def test_a_crash_that_returns_takes_successes_back_and_reaches_a_person(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        told = [broken(world, 1) for _ in range(3)]
        assert [done(each) for each in told] == [
            "start: recovered",
            "recreate: recovered",
            "escalate_to_human: escalated",
        ]
        assert told[2] is not None
        assert "start (runbook), recreate (runbook)" in told[2].summary
        for _ in range(3):
            assert broken(world, 1) is None  # told once
        assert {
            name: (r.successes, r.failures, r.in_a_row) for name, r in known(world).items()
        } == {
            "start": (0, 1, 0),
            "recreate": (0, 1, 0),
        }


def test_who_kills_it_again_and_again_teaches_nothing_of_the_plan(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        for _ in range(6):
            assert done(broken(world, 137)) == "start: recovered"
        assert (known(world)["start"].successes, known(world)["start"].failures) == (6, 0)


def test_a_kill_before_a_crash_is_no_failure_of_what_mended_the_kill(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        assert done(broken(world, 137)) == "start: recovered"
        assert done(broken(world, 1)) == "start: recovered"
        assert (known(world)["start"].successes, known(world)["start"].failures) == (2, 0)
        assert done(broken(world, 137)) == "start: recovered"  # it is no crash, so no relapse
        assert done(broken(world, 1)) == "recreate: recovered"
        assert (known(world)["start"].successes, known(world)["start"].failures) == (2, 1)


def test_another_spec_and_a_time_that_is_over_are_no_relapse(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        assert done(broken(world, 1)) == "start: recovered"
        world.commit(a=service_yaml("a", env={"NEW": "1"}))
        world.run()
        assert done(broken(world, 1)) == "start: recovered"
    (tmp_path / "other").mkdir()
    with running(tmp_path / "other", within="1ms") as world:
        for _ in range(3):
            assert done(broken(world, 1)) == "start: recovered"
        assert known(world)["start"].in_a_row == 3
