"""A Service's own limits: what lies between Git and them is in sync, for every stage."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.manual import Asked, run
from flows.command_line.preview import preview
from flows.guarding.prune import prune_gate
from flows.listener import NullListener, RunRequest
from flows.report import IncidentResult, RunResult
from infrastructure.config_models import Prune
from infrastructure.limits import declared_or_within
from tests.builders import service
from tests.fakes.loop import ENVIRONMENT, loop_world, service_yaml

LIMITS = {"replicas": {"max": 3}, "memory": {"max": "512Mi"}, "cpu": {"max": "2"}}
SPEC: dict[str, Any] = {
    "replicas": 2,
    "resources": {"memory": "256Mi", "cpu": "0.5"},
    "remediation": {"limits": LIMITS},
}


@pytest.mark.parametrize(
    ("pointer", "seen", "right"),
    [
        ("/replicas", 1, False),
        ("/replicas", 2, True),
        ("/replicas", 3, True),
        ("/replicas", 4, False),
        ("/resources/memory", 0, False),  # unlimited
        ("/resources/memory", 255 * 2**20, False),
        ("/resources/memory", 512 * 2**20, True),
        ("/resources/memory", 512 * 2**20 + 1, False),
        ("/resources/cpu", Decimal("0.4"), False),
        ("/resources/cpu", Decimal(2), True),
        ("/resources/cpu", Decimal("2.1"), False),
        ("/image", 1, False),
    ],
)
def test_between_git_and_the_limit_all_is_right(
    pointer: str, seen: int | Decimal, right: bool
) -> None:
    assert declared_or_within(service(**SPEC).spec, pointer, seen) is right


def test_what_went_up_within_limits_is_not_undone(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a", **SPEC))
        world.run()
        asked = Asked("scale", "a", {"replicas": 3})
        done = run(asked, world.runtime, NullListener(), run_id="by-hand")
        assert done.report is not None
        assert done.report.incidents[0].result is IncidentResult.RECOVERED
        for container in world.engine.containers.values():
            container.memory, container.cpu = 512 * 2**20, Decimal(2)
        before, commits = len(world.engine.calls), len(world.reports())
        assert world.run().result is RunResult.CONVERGED
        assert (len(world.engine.calls), len(world.reports())) == (before, commits)
        assert len(world.engine.containers) == 3


def test_what_passes_the_limit_or_falls_below_git_is_brought_back(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a", **SPEC))
        world.run()
        first = next(iter(world.engine.containers.values()))
        first.memory = 2**30
        assert world.run().incidents[0].result is IncidentResult.RECOVERED
        assert {c.memory for c in world.engine.containers.values()} == {256 * 2**20}
        world.engine.remove("a-2")
        assert world.run().incidents[0].result is IncidentResult.RECOVERED
        assert len(world.engine.containers) == 2


ALL = [f"{ENVIRONMENT}/{name}" for name in "abcde"]


@pytest.mark.parametrize(
    ("declared", "known_before", "doubt", "told"),
    [
        (ALL, ALL, None, None),
        (ALL[:4], ALL, None, None),
        (ALL, [], None, None),
        ([*ALL[:4], "elsewhere/x"], [*ALL, "elsewhere/y", "elsewhere/z"], None, None),
        ([], ALL, None, "no service"),
        (["elsewhere/x"], ALL, None, "no service"),
        (ALL[:3], ALL, None, "2 of 5"),
        # As many as before, but others: a folder was moved.
        ([f"{ENVIRONMENT}/new-{n}" for n in "abcde"], ALL, None, "5 of 5"),
        (ALL, ALL, "the newest desired state is refused", "refused"),
    ],
)
def test_orphans_stay_where_git_may_be_wrong(
    declared: list[str], known_before: list[str], doubt: str | None, told: str | None
) -> None:
    reason = prune_gate(
        ENVIRONMENT,
        prune=Prune(max_shrink=0.2),
        declared=declared,
        known_before=known_before,
        doubt=doubt,
    )
    assert (reason is None) if told is None else (reason is not None and told in reason)


def test_orphans_stay_unless_it_is_asked_for() -> None:
    reason = prune_gate(ENVIRONMENT, prune=None, declared=ALL, known_before=ALL)
    assert reason == "policy.prune is not set"


def test_uici_plan_says_which_orphans_may_go(tmp_path: Path) -> None:
    policy = {"environments": {ENVIRONMENT: {"policy": {"prune": {"maxShrink": 0.5}}}}}
    with loop_world(tmp_path, environments=policy) as world:
        world.commit(a=service_yaml("a"), b=service_yaml("b"), c=service_yaml("c"))
        world.run()
        world.commit(b=None, c=None)
        request = RunRequest(None, None, None, "plan")
        seen = preview(request, world.runtime)
        assert seen.strays == {
            ENVIRONMENT: "must stay: 2 of 3 services have left desired state and are not removed"
            " yet, more than 50%"
        }
        world.commit(b=service_yaml("b"))
        assert preview(request, world.runtime).strays == {
            ENVIRONMENT: "may be removed, by uici run prune TARGET"
        }
        world.run()
        assert {c.name for c in world.engine.containers.values()} == {"a", "b", "c"}
