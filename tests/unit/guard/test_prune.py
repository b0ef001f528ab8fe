"""`uici run prune`: removing what Git no longer names, and everything that keeps it there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.approvals.decision import Answer
from flows.command_line import approve, manual
from flows.guarding.prune import prune_gate
from flows.listener import NullListener
from flows.report import RunResult
from flows.reporting.values import IncidentReport, IncidentResult
from infrastructure.config_models import Prune
from infrastructure.errors import InvalidInputError, UnsupportedOperationError
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

ALONE = {"allowUpTo": "destructive", "approveUpTo": "destructive"}


@contextlib.contextmanager
def world_of(root: Path, *, share: float | None = 0.5, **policy: Any) -> Iterator[LoopWorld]:
    """a, b, c and d run; d has left Git. By default a prune runs without a person."""
    prune = {"prune": {"maxShrink": share}} if share is not None else {}
    places = {"environments": {ENVIRONMENT: {"policy": {**prune, **(policy or ALONE)}}}}
    platform = {"guard": {"policy": policy or ALONE}}
    with loop_world(root, environments=places, platform=platform) as world:
        world.commit(**{name: service_yaml(name) for name in "abcd"})
        assert world.run().result is RunResult.CONVERGED
        world.commit(d=None)
        world.engine.calls.clear()
        yield world


def prune(world: LoopWorld, target: str = "d", operation: str = "prune") -> IncidentReport:
    asked = manual.Asked(operation, target, {})
    done = manual.run(asked, world.runtime, NullListener(), run_id=f"r{len(world.reports())}")
    assert done.report is not None
    return done.report.incidents[0]


def names(world: LoopWorld) -> set[str]:
    return {container.name for container in world.engine.containers.values()}


def test_what_git_no_longer_names_is_removed_and_told(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        done = prune(world)
        assert done.result is IncidentResult.RECOVERED, done
        assert names(world) == {"a", "b", "c"}
        assert [c.primitive for _, c in world.engine.calls] == ["remove"]
        subjects = world.reports()
        assert any("prune" in world.file(f"reports/{p}") for p in _reports(world)), subjects
        report = world.run()
        assert report.result is RunResult.CONVERGED
        assert not report.comparison.drifts
        assert world.runtime.git.open_intents() == ()


def _reports(world: LoopWorld) -> list[str]:
    from tests.fakes.loop import git  # noqa: PLC0415 - of this one test

    listed = git(world.remote, "ls-tree", "-r", "--name-only", "uici/reports", "reports/")
    return [line.removeprefix("reports/") for line in listed.splitlines() if ".json" in line]


def test_the_loop_removes_nothing_by_itself(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        for _ in range(2):
            world.run()
        assert names(world) == {"a", "b", "c", "d"}
        assert world.engine.calls == []


def test_as_shipped_a_person_approves_and_asks_once_more(tmp_path: Path) -> None:
    shipped: dict[str, Any] = {"allowUpTo": "high", "approveUpTo": "destructive"}
    with world_of(tmp_path, **shipped) as world:
        assert prune(world).result is IncidentResult.WAITING
        world.run()  # the loop ends no request of a person's own
        (waiting,) = world.runtime.git.reported().approvals.waiting
        approve.decide(world.runtime, waiting.id, approve.said(Answer.APPROVE, "it is gone"))
        assert world.engine.calls == []
        assert prune(world).result is IncidentResult.RECOVERED
        assert names(world) == {"a", "b", "c"}


def _refusal(world: LoopWorld) -> str:
    done = prune(world)
    assert world.engine.calls == []
    assert "d" in names(world)
    return f"{done.verdicts[0].rule}: {done.verdicts[0].reason}"


def test_without_the_setting_it_stays(tmp_path: Path) -> None:
    with world_of(tmp_path, share=None) as world:
        assert _refusal(world) == "prune: policy.prune is not set"


def test_it_stays_where_too_much_has_left_also_in_later_runs(tmp_path: Path) -> None:
    with world_of(tmp_path, share=0.3) as world:
        world.commit(c=None)
        for _ in range(3):
            assert "2 of 4 services have left" in _refusal(world)
            world.run()  # forgets the statuses of what left


def test_it_stays_while_desired_state_is_refused(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        world.run()
        world.commit(a="kind: nonsense")
        assert "desired state is in doubt" in _refusal(world)


def test_an_empty_desired_state_prunes_nothing(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        world.run()
        world.commit(a=None, b=None, c=None)
        assert "desired state is in doubt" in _refusal(world)
    declared = ["elsewhere/x"]
    gate = prune_gate(
        ENVIRONMENT,
        prune=Prune(max_shrink=1),
        declared=declared,
        known_before=declared,
        orphans=[f"{ENVIRONMENT}/d"],
    )
    assert gate == f"desired state has no service in {ENVIRONMENT}"


def test_what_git_declares_is_never_pruned(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        with pytest.raises(InvalidInputError, match="a is in desired state"):
            prune(world, "a")
        with pytest.raises(InvalidInputError, match="nothing is left of a target x"):
            prune(world, "x")
        world.engine.add("by-hand")
        with pytest.raises(InvalidInputError, match="nothing is left of a target by-hand"):
            prune(world, "by-hand")


def test_what_left_git_can_be_removed_and_nothing_else(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        with pytest.raises(InvalidInputError, match="no target is named d"):
            prune(world, "d", "stop")
        with pytest.raises(UnsupportedOperationError):
            prune(world, "d", "purge")


def test_what_somebody_else_made_stays(tmp_path: Path) -> None:
    """A container of the same name that UICI did not make is adopted by name, and not removed."""
    with world_of(tmp_path) as world:
        world.engine.add("d-1")
        done = prune(world)
        assert done.result is not IncidentResult.RECOVERED
        assert {"d", "d-1"} <= names(world)


def test_the_agent_itself_stays(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        world.engine.named("d").labels["com.docker.compose.service"] = "devops-ai-agent"
        assert _refusal(world).startswith("self-exclusion: ")


def test_a_pause_holds_it(tmp_path: Path) -> None:
    with world_of(tmp_path) as world:
        world.commit(uici="apiVersion: uici/v1\nkind: Pause\nreason: a release\n")
        assert _refusal(world).startswith("paused: ")
