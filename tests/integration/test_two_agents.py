"""Two agents on one state repository and one engine: what is done is done by one of them.

Two processes with data directories of their own over a bare Git remote and an engine that
takes its time. Intents in Git are all that they know of each other.
"""

from __future__ import annotations

import json
import multiprocessing
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.other_runs import at_work, held_off
from flows.reporting.status import OpenIntent
from infrastructure.config_loader import UniversalConfigLoader
from tests.fakes.loop import ENVIRONMENT, git, service_yaml, write_config
from tests.integration import killed_run
from tests.integration.killed_run import Child, EngineOnDisk, engine_of

_TIMEOUT = 60.0
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Two:
    """Two agents, `a` and `b`."""

    root: Path
    context: Any

    def config(self, agent: str) -> Path:
        path = self.root / agent / "config"
        if not path.exists():
            path.parent.mkdir()
            platform = {
                "git": {"remote": str(self.root / "remote.git")},
                "reconcile": {"concurrentIncidents": 1},
                "guard": {"policy": {"backoff": {"initial": "1ms", "max": "1ms"}}},
            }
            write_config(path, platform=platform)
        return path

    def start(self, agent: str, *, slow: float = 0.0, point: str = "") -> tuple[Any, Child]:
        run_id = f"{agent}-{uuid.uuid4()}"
        result = self.root / f"result-{run_id}.json"
        child = Child(self.config(agent), run_id, result, point, slow=slow)
        process = self.context.Process(target=killed_run.run, args=(child,))
        process.start()
        return process, child

    def end(self, process: Any, child: Child) -> dict[str, Any]:
        process.join(_TIMEOUT)
        assert process.exitcode == 0, process.exitcode
        process.close()
        found: dict[str, Any] = json.loads(child.result.read_text())
        return found

    def run(self, agent: str, **how: Any) -> dict[str, Any]:
        return self.end(*self.start(agent, **how))

    def engine(self) -> EngineOnDisk:
        return engine_of(self.root, UniversalConfigLoader(self.config("a")).load())

    def damage(self) -> None:
        engine = self.engine()
        with engine.shared():
            engine.named("shop").end(137)
            engine.named("web").env["LOG_LEVEL"] = "debug"
        engine.journal.unlink(missing_ok=True)

    def intents(self) -> list[str]:
        listing = git(self.root / "remote.git", "ls-tree", "-r", "--name-only", "uici/reports")
        return [line for line in listing.splitlines() if line.startswith("intents/")]


@pytest.fixture(scope="module")
def context() -> Any:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.integration.killed_run", "flows.proposals.propose"])
    return made


@pytest.fixture
def two(tmp_path: Path, context: Any) -> Two:
    """Both have a clone; two services run as declared, then both are broken."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(tmp_path, "clone", "-q", str(tmp_path / "remote.git"), "work")
    work = tmp_path / "work"
    (work / "shop.yml").write_text(service_yaml("shop"))
    (work / "web.yml").write_text(service_yaml("web", env={"LOG_LEVEL": "info"}))
    git(work, "checkout", "-q", "-B", "main")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "services")
    git(work, "push", "-q", "origin", "main")
    made = Two(tmp_path, context)
    assert made.run("a")["result"] == "converged"
    assert made.run("b")["result"] == "converged"
    made.damage()
    return made


def test_of_two_that_start_together_one_acts_and_the_other_says_so(two: Two) -> None:
    started = [two.start(agent, slow=0.5) for agent in ("a", "b")]
    answers = [two.end(*each) for each in started]
    assert sorted(two.engine().done()) == [("shop", "start"), ("web", "recreate")]
    told = [json.dumps([a["held_off"], a.get("incidents", {})]) for a in answers]
    assert any("another" in each for each in told), told
    assert two.run("a")["result"] == "converged"
    assert two.run("b")["result"] == "converged"
    assert sorted(two.engine().done()) == [("shop", "start"), ("web", "recreate")]
    assert two.intents() == []


@pytest.mark.parametrize(
    "stopped_at", ["observe: after", "intent commit: before", "intent push: before"]
)
def test_one_that_looked_before_the_other_acted_does_nothing(two: Two, stopped_at: str) -> None:
    """The worst moment: its plan is of a world that another has mended since."""
    waiting, child = two.start("b", point=f"{stopped_at}: wait")
    gate = child.result.with_suffix(".reached")
    killed_run.wait_for_file(gate, _TIMEOUT)
    assert two.run("a")["result"] == "converged"
    child.result.with_suffix(".go").touch()
    answer = two.end(waiting, child)
    assert sorted(two.engine().done()) == [("shop", "start"), ("web", "recreate")]
    # What was seen a while ago is confirmed before it is planned: then there is no incident left.
    if answer["incidents"] or stopped_at != "observe: after":
        assert {result for result, _ in answer["incidents"].values()} == {"held"}
        assert "another agent's run" in json.dumps(answer["incidents"])
    # What the first one has learned of its targets is not overwritten by the second.
    remote = two.root / "remote.git"
    status = json.loads(git(remote, "show", f"uici/reports:status/{ENVIRONMENT}/shop.json"))
    assert status["health"] == "Healthy"
    assert status["history"][-1]["result"] == "recovered"
    assert "attempts" not in status
    assert two.run("b")["result"] == "converged"
    assert two.intents() == []


def test_a_killed_agents_targets_are_left_alone_until_its_deadline(two: Two) -> None:
    dying, _ = two.start("a", point="start shop: before")
    dying.join(_TIMEOUT)
    dying.close()
    answer = two.run("b")
    assert two.engine().done() == []
    assert sorted(answer["held_off"]) == [f"{ENVIRONMENT}/shop", f"{ENVIRONMENT}/web"]
    assert answer["result"] == "drift_remains"
    assert two.intents() != []  # it is not the other's to settle before its deadline
    settled = two.run("a")  # its own next run knows that it is dead
    assert settled["result"] == "converged"
    assert len(settled["interrupted"]) == 1
    assert two.intents() == []
    assert two.run("b")["held_off"] == {}


def test_an_intent_holds_others_off_until_its_deadline_and_its_own_agent_never() -> None:
    intent = OpenIntent(
        "r1",
        "intents/r1.json",
        NOW,
        "",
        ("local/shop",),
        by="one",
        until=NOW + timedelta(minutes=5),
    )

    def held(by: str, after: timedelta) -> dict[str, str]:
        now, deadline = NOW + after, timedelta(minutes=1)
        return held_off(at_work([intent], installation=by, now=now, deadline=deadline))

    assert "r1" in held("two", timedelta(minutes=4))["local/shop"]
    assert held("two", timedelta(minutes=5)) == {}
    assert held("one", timedelta(0)) == {}
