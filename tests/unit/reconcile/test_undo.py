"""What is verified not to have helped is taken back, as far as Git allows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.report import IncidentResult
from infrastructure.errors import OutcomeUnknownError
from tests.fakes.loop import LoopWorld, git, service_yaml
from tests.unit.reconcile.test_monitored import Monitored, monitored

_MIB = 2**20
CREATE = {
    "name": "create-missing",
    "when": {"kinds": ["Missing"]},
    "diagnosis": "No instance exists.",
    "cause": "Removed",
    "suffices": True,
    "steps": [{"operation": "create", "parameters": {}, "why": "it is missing"}],
}
RUNBOOK = {
    "name": "more-memory",
    "when": {"kinds": ["MetricBreach"]},
    "diagnosis": "It may be short of memory.",
    "cause": "Unknown",
    "suffices": False,
    "steps": [
        {"operation": "set_resources", "parameters": {"memory": "512Mi"}, "why": "it may be short"}
    ],
}


@contextmanager
def breached(root: Path) -> Iterator[Monitored]:
    """A service whose metric is wrong, and a runbook that gives it more memory."""
    with monitored(root, runbooks={"runbooks": [CREATE, RUNBOOK]}) as made:
        made.metrics.values["up_of_a"] = 1
        made.world.commit(
            a=service_yaml(
                "a",
                resources={"memory": "256Mi"},
                health={"metrics": [{"name": "up", "query": "up_of_a", "expect": "== 1"}]},
                remediation={"limits": {"memory": {"max": "1Gi"}}},
            )
        )
        made.world.run()
        made.world.engine.calls.clear()
        made.metrics.values["up_of_a"] = 0
        yield made


def memory(world: LoopWorld) -> int:
    return world.engine.named("a").memory


def test_more_than_git_declares_is_taken_back_when_it_did_not_help(tmp_path: Path) -> None:
    with breached(tmp_path) as made:
        (told,) = made.world.run().incidents
        assert told.result is IncidentResult.FAILED
        assert memory(made.world) == 256 * _MIB
        assert [c.arguments["memory"] for _, c in made.world.engine.calls] == [
            "512Mi",
            256 * _MIB,
        ]
        assert told.summary.endswith("taken back by set_resources")
        # It was in the intent before anything was done.
        log = git(
            made.world.remote,
            "log",
            "--format=%H",
            "--diff-filter=A",
            "uici/reports",
            "--",
            "intents",
        )
        newest = log.split()[0]
        (path,) = git(
            made.world.remote,
            "diff-tree",
            "-r",
            "--name-only",
            "--no-commit-id",
            newest,
            "--",
            "intents",
        ).split()
        intent = json.loads(git(made.world.remote, "show", f"{newest}:{path}"))
        (undo,) = intent["incidents"][0]["undo"]
        assert (undo["operation"], undo["parameters"]) == ("set_resources", {"memory": 256 * _MIB})


def test_what_helped_stays(tmp_path: Path) -> None:
    with breached(tmp_path) as made:
        run = made.world.engine._update_resources

        def helps(task: Any) -> Any:
            made.metrics.values["up_of_a"] = 1
            return run(task)

        made.world.engine._update_resources = helps  # type: ignore[method-assign]  # the fault's end
        assert made.world.run().incidents[0].result is IncidentResult.RECOVERED
        assert memory(made.world) == 512 * _MIB


def test_nothing_is_taken_back_while_it_is_unknown_what_was_done(tmp_path: Path) -> None:
    with breached(tmp_path) as made:
        made.world.engine.failures["update_resources"] = OutcomeUnknownError(
            "cut off", remedy="look"
        )
        (told,) = made.world.run().incidents
        assert told.result is not IncidentResult.RECOVERED
        assert told.undone == ()
        assert len(made.world.engine.calls) == 1


def test_what_restored_git_is_not_taken_back(tmp_path: Path) -> None:
    """`start` has an inverse, which would stop what Git wants to run: the guard forbids it."""
    with monitored(tmp_path) as made:
        made.world.commit(a=service_yaml("a"))
        made.world.run()
        made.world.engine.calls.clear()
        made.world.engine.kill("a")
        start = made.world.engine._start

        def falls_down(task: Any) -> Any:
            done = start(task)
            made.world.engine.kill("a")
            return done

        made.world.engine._start = falls_down  # type: ignore[method-assign]  # the fault
        (told,) = made.world.run().incidents
        assert told.result is IncidentResult.FAILED
        assert [call.primitive for _, call in made.world.engine.calls] == ["start"]
        assert told.undone == ()
