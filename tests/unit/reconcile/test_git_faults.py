"""What the loop does when Git is the fault: nothing on half a state, nothing without a commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.report import IncidentResult, RunResult
from infrastructure.errors import TemporaryError
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml

PREDICTOR = "local-docker/market-predictor"


def test_a_state_that_does_not_validate_is_refused_whole(world: LoopWorld) -> None:
    good = git(world.remote, "rev-parse", "main")
    world.commit(
        market_predictor=service_yaml("market-predictor", replicas=-1),
        market_gateway=service_yaml("market-gateway", image="other:2"),
    )
    report = world.run()
    assert report.desired.revision.endswith(good)
    assert any("replicas" in str(problem) for problem in report.desired.problems)
    assert world.engine.calls == []
    assert "refused" in world.reports()[0]
    told = world.reports()
    world.run()
    assert world.reports() == told  # once for each refused revision


def test_the_last_good_state_still_heals(world: LoopWorld) -> None:
    world.commit(market_predictor="kind: [broken")
    world.engine.kill("market-predictor")
    report = world.run()
    assert report.incidents[0].result is IncidentResult.RECOVERED
    assert report.result is RunResult.DRIFT_REMAINS


def test_desired_state_that_names_the_agent_is_refused(world: LoopWorld) -> None:
    world.commit(agent=service_yaml("devops-ai-agent"))
    report = world.run()
    assert any("devops-ai-agent" in str(p) for p in report.desired.problems)
    assert "local-docker/devops-ai-agent" not in report.desired.services
    assert world.engine.calls == []


def test_a_remote_that_is_gone_lets_low_risk_go_on_and_gets_the_commits_later(
    world: LoopWorld,
) -> None:
    away = world.remote.rename(world.root / "away.git")
    world.engine.kill("market-predictor")
    report = world.run()
    assert report.desired.stale is not None
    assert report.incidents[0].result is IncidentResult.RECOVERED
    away.rename(world.remote)
    world.run()
    subjects = world.reports()
    assert any("intent: market-predictor: start" in s for s in subjects)
    assert any("recovered" in s for s in subjects)


def test_riskier_changes_wait_until_the_remote_is_back(world: LoopWorld) -> None:
    away = world.remote.rename(world.root / "away.git")
    world.engine.named("market-predictor").env["LOG_LEVEL"] = "debug"
    (told,) = world.run().incidents
    assert told.result is IncidentResult.HELD
    assert "remote can't be reached" in told.summary
    assert world.engine.calls == []
    away.rename(world.remote)
    report = world.run()
    assert [r.result for r in report.incidents] == [IncidentResult.RECOVERED]


def break_clone(world: LoopWorld) -> Path:
    """No commit can be written to the clone's reports branch any more."""
    (locked,) = (world.root / "data").rglob("refs/heads/uici")
    shutil.rmtree(locked)
    locked.write_text("not a folder")
    return locked.parents[2]


def test_a_clone_that_cannot_be_written_stops_every_change(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    clone = break_clone(world)
    world.remote.rename(world.root / "away")  # or it would be cloned anew

    with pytest.raises(TemporaryError, match=rf"{clone} is damaged .* nothing was changed"):
        world.run()

    assert world.engine.calls == []


def test_a_clone_that_cannot_be_written_is_made_anew_before_anything_is_done(
    world: LoopWorld,
) -> None:
    world.engine.kill("market-predictor")
    break_clone(world)

    assert world.run().result is RunResult.CONVERGED

    assert [call.primitive for _, call in world.engine.calls] == ["start"]
    subjects = world.reports()
    assert any(subject.startswith("intent:") for subject in subjects[:2]), subjects


def test_a_push_that_somebody_else_forestalled_is_replayed(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        other = tmp_path / "other"
        git(tmp_path, "clone", "-q", "-b", "uici/reports", str(world.remote), str(other))
        world.engine.kill("a")
        original = world.engine.call

        def race(service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
            if call.primitive == "start" and not (other / "note.txt").exists():
                git(other, "pull", "-q", "--rebase")
                (other / "note.txt").write_text("somebody else")
                git(other, "add", "-A")
                git(other, "commit", "-qm", "somebody else")
                git(other, "push", "-q")
            return original(service, call, timeout=timeout)

        world.engine.call = race  # type: ignore[method-assign]  # to push in between
        world.run()
        subjects = world.reports()
        assert "somebody else" in subjects
        assert any("recovered" in s for s in subjects[:1])
        assert world.file("note.txt") == "somebody else"


def test_a_commit_with_an_impossible_date_is_read_like_any_other(world: LoopWorld) -> None:
    tree = git(world.remote, "rev-parse", "main^{tree}")
    who = "a <a@example.test> 99999999999999 +0000"
    raw = f"tree {tree}\nparent {git(world.remote, 'rev-parse', 'main')}\n"
    raw += f"author {who}\ncommitter {who}\n\nodd\n"
    path = world.root / "odd"
    path.write_text(raw)
    sha = git(world.remote, "hash-object", "-t", "commit", "-w", "--literally", str(path))
    git(world.remote, "update-ref", "refs/heads/main", sha)
    assert world.run().desired.revision.endswith(sha)
