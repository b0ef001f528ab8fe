"""The whole loop: every fault ends as Git says it should be, with a commit before the act."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.command_line.status_table import print_status
from flows.listener import RunRequest
from flows.reconcile import open_proposals
from flows.report import IncidentResult, RunResult, render_markdown
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.reporting.sentences import remains, waits
from flows.reporting.status import TargetStatus
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
)
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Mode, Service
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml

PREDICTOR, GATEWAY = "local-docker/market-predictor", "local-docker/market-gateway"


def operations(world: LoopWorld) -> list[str]:
    """Primitives that reached the engine and would change it."""
    return [call.primitive for _, call in world.engine.calls]


def test_an_empty_engine_is_filled_in_dependency_order(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(
            a_web=service_yaml("a-web", dependsOn=["z-db"]), z_db=service_yaml("z-db", replicas=2)
        )
        report = world.run()
        assert report.result is RunResult.CONVERGED
        assert [target for target, _ in world.engine.calls] == [
            "local-docker/z-db",
            "local-docker/a-web",
        ]
        assert {c.name for c in world.engine.containers.values()} == {"z-db-1", "z-db-2", "a-web"}


def test_a_run_without_drift_commits_nothing_and_touches_nothing(world: LoopWorld) -> None:
    before = world.reports()
    for _ in range(3):
        assert world.run().result is RunResult.CONVERGED
    assert world.reports() == before
    assert world.engine.calls == []


def _spoil_configuration(world: LoopWorld) -> None:
    container = world.engine.named("market-predictor")
    container.memory = 64 * 2**20
    container.env["LOG_LEVEL"] = "debug"


FAULTS: dict[str, tuple[Callable[[LoopWorld], None], DriftKind, str]] = {
    "killed": (lambda w: w.engine.kill("market-predictor"), DriftKind.STOPPED, "start"),
    "removed": (lambda w: w.engine.remove("market-predictor"), DriftKind.MISSING, "create"),
    "changed by hand": (_spoil_configuration, DriftKind.CONFIG_DRIFT, "recreate"),
    "paused": (
        lambda w: setattr(w.engine.named("market-predictor"), "state", InstanceState.PAUSED),
        DriftKind.STOPPED,
        "start",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_healed_verified_and_told(world: LoopWorld, fault: str) -> None:
    damage, kind, operation = FAULTS[fault]
    damage(world)
    report = world.run()
    assert report.result is RunResult.CONVERGED, report
    (told,) = report.incidents
    assert {d.kind for d in told.incident.drifts} == {kind}
    assert told.result is IncidentResult.RECOVERED
    assert operations(world) == [operation]
    container = world.engine.named("market-predictor")
    assert container.state is InstanceState.RUNNING
    assert (container.env["LOG_LEVEL"], container.memory) == ("info", 256 * 2**20)
    recovered, intent = world.reports()[:2]
    assert intent == f"intent: market-predictor: {operation}"
    assert f"→ {operation} → recovered" in recovered


def test_only_the_memory_limit_is_mended_without_a_restart(world: LoopWorld) -> None:
    container = world.engine.named("market-predictor")
    container.memory, started = 64 * 2**20, container.started_at
    assert world.run().result is RunResult.CONVERGED
    assert operations(world) == ["update_resources"]
    container = world.engine.named("market-predictor")
    assert (container.memory, container.started_at) == (256 * 2**20, started)


def test_a_variable_that_left_git_leaves_the_container(world: LoopWorld) -> None:
    world.engine.named("market-predictor").env["MINE"] = "a person's"
    world.commit(market_predictor=service_yaml("market-predictor", env={"OTHER": "1"}))
    report = world.run()
    assert {d.field for d in report.comparison.drifts} == {"/env/LOG_LEVEL", "/env/OTHER"}
    assert report.result is RunResult.CONVERGED
    assert operations(world) == ["recreate"]
    assert world.engine.named("market-predictor").env == {"MINE": "a person's", "OTHER": "1"}
    world.run()
    assert operations(world) == ["recreate"]


def test_the_report_ties_fault_plan_and_desired_state_together(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    report = world.run()
    message = git(world.remote, "log", "-1", "--format=%B", "uici/reports")
    assert f"UICI-Run: {report.run_id}" in message
    assert f"UICI-Plan: {report.incidents[0].plan.digest}" in message
    assert f"UICI-Desired: {report.desired.revision}" in message
    status = json.loads(world.file(f"status/{PREDICTOR}.json"))
    assert status["observedRevision"] == report.desired.revision
    assert [c["type"] for c in status["conditions"]] == ["Ready"]
    assert "attempts" not in status


def test_the_intent_is_at_the_remote_before_the_engine_is_touched(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        original = world.engine.call

        def watched(service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
            if world.engine.primitives()[call.primitive].mutates:  # the dossier reads before
                seen.append(world.reports())
            return original(service, call, timeout=timeout)

        world.engine.call = watched  # type: ignore[method-assign]  # to see Git at that moment
        world.run()
    assert seen == [["intent: a: create"]]


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PROPOSE])
def test_a_narrower_mode_changes_nothing(world: LoopWorld, mode: Mode) -> None:
    world.engine.kill("market-predictor")
    report = world.run(mode=mode)
    assert report.result is RunResult.DRIFT_REMAINS
    assert world.engine.calls == []


def test_a_suspended_target_is_seen_and_left_alone(world: LoopWorld) -> None:
    world.commit(
        market_predictor=service_yaml("market-predictor", suspend={"reason": "moving house"})
    )
    world.engine.kill("market-predictor")
    report = world.run()
    assert report.result is RunResult.DRIFT_REMAINS
    assert report.comparison.states[PREDICTOR].held == "suspended: moving house"
    assert world.engine.calls == []


def test_an_attempt_that_fails_backs_off_and_then_a_person_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"guard": {"policy": {"maxAttempts": 2, "backoff": {"initial": "0s", "max": "0s"}}}}
    with loop_world(tmp_path, platform=limits) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        world.engine.kill("a")
        for primitive in ("start", "recreate"):
            world.engine.failures[primitive] = PermanentError("no such device")
        results = [world.run() for _ in range(4)]
        assert [r.incidents[0].result if r.incidents else None for r in results] == [
            IncidentResult.FAILED,
            IncidentResult.FAILED,
            IncidentResult.ESCALATED,
            None,
        ]
        # What did not help is not repeated: the second try is the next line's.
        tries = [name for name in operations(world) if name in ("start", "recreate")]
        assert tries == ["start", "recreate"]
        waiting = (
            "2 of 2 attempts have failed; the last one: recreate: did not help: no such device"
        )
        stopped = "is stopped, exit code 137"
        assert results[2].incidents[0].summary == f"local-docker/a: a {stopped}; {waiting}"
        told = waits(results[2].incidents[0])
        assert told == f"{stopped}; {waiting}; nobody was alerted (no Alertmanager in local-docker)"
        status = json.loads(world.file("status/local-docker/a.json"))
        assert "Stalled" in [c["type"] for c in status["conditions"]]
        monkeypatch.setenv("COLUMNS", "300")
        statuses = {"local-docker/a": TargetStatus.model_validate(status)}
        now = datetime.now(UTC)
        print_status(world.runtime.git.desired(), statuses, statuses, now=now)
        told = capsys.readouterr().out
        assert "Stalled, a person must look (uici report); Stopped" in told
        assert "; the last try: recreate: did not help: no such device" in told
        quiet = world.reports()
        world.run()
        assert world.reports() == quiet
        world.engine.failures.clear()
        world.commit(a=service_yaml("a", env={"NEW": "1"}))  # another spec: attempts start anew
        assert world.run().result is RunResult.CONVERGED


def test_an_escalation_that_reached_nobody_is_told_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # closed again below: nothing listens there
    source = {"url": f"http://127.0.0.1:{port}", "timeout": "1s"}
    limits = {"guard": {"policy": {"maxAttempts": 1, "backoff": {"initial": "0s", "max": "0s"}}}}
    places = {"environments": {"local-docker": {"alertmanager": [source]}}}
    with loop_world(tmp_path, platform=limits, environments=places) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        world.engine.kill("a")
        world.engine.failures["start"] = PermanentError("no such device")
        results = [world.run().incidents[0] for _ in range(3)]
        assert [r.result for r in results] == [IncidentResult.FAILED] * 3
        assert "people could not be told" in results[-1].summary
        assert (
            "the last one: start: did not help: no such device" in results[-1].plan.planner_reason
        )
        assert remains(results[-1]) == "a person is needed, and could not be told"
        assert operations(world).count("start") == 1


def test_within_the_back_off_nothing_is_tried(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    world.engine.failures["start"] = TemporaryError("busy")
    assert world.run().incidents[0].result is IncidentResult.FAILED
    told = world.reports()
    report = world.run()
    assert (report.incidents, report.result) == ((), RunResult.DRIFT_REMAINS)
    assert report.left_alone[PREDICTOR].startswith("backing off until 20")
    title = render_markdown(report).splitlines()[0]
    assert "market-predictor (Stopped) still differs, left alone: backing off until 20" in title
    assert operations(world).count("start") == 1
    assert world.reports() == told


def test_proposals_that_were_open_at_the_start_are_in_the_report(world: LoopWorld) -> None:
    def note(target: str, state: ProposalState) -> ProposalNote:
        return ProposalNote(
            target=target,
            field="/resources/memory",
            old="256Mi",
            new="320Mi",
            spec_digest="0" * 16,
            branch=f"uici/propose/{target.rpartition('/')[2]}-{state}",
            commit="c" * 40,
            state=state,
            at=datetime.now(UTC),
            run_id="r",
        )

    notes = [
        note(PREDICTOR, ProposalState.OPEN),
        note(PREDICTOR, ProposalState.REFUSED),
        note(GATEWAY, ProposalState.OPEN),
    ]
    opened = world.runtime.open_world(RunRequest(None, ("market-predictor",), None, "r"))
    known = replace(opened, proposals={each.branch: each for each in notes})
    assert open_proposals(known) == (notes[0],)


def test_an_unknown_outcome_is_looked_at_and_told_with_its_remedy(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    world.engine.failures["start"] = OutcomeUnknownError(
        "the connection broke", remedy="look at docker ps"
    )
    (told,) = world.run().incidents
    assert told.result is IncidentResult.UNKNOWN
    assert told.execution is not None
    assert told.execution.outcomes[0].remedy == "look at docker ps"


def test_a_target_whose_dependency_did_not_recover_is_left_for_the_next_run(
    world: LoopWorld,
) -> None:
    world.engine.remove("market-predictor")
    world.engine.remove("market-gateway")
    world.engine.failures["create"] = TemporaryError("busy")
    by_root = {r.incident.root: r for r in world.run().incidents}
    assert by_root[PREDICTOR].result is IncidentResult.FAILED
    assert by_root[GATEWAY].result is IncidentResult.HELD
    assert [target for target, _ in world.engine.calls] == [PREDICTOR]


def test_blast_radius_spreads_a_great_fault_over_several_runs(tmp_path: Path) -> None:
    limits = {"guard": {"blastRadius": {"targetsPerRun": 2}}}
    with loop_world(tmp_path, platform=limits) as world:
        world.commit(**{f"s{i}": service_yaml(f"s{i}") for i in range(5)})
        counts = []
        for _ in range(3):
            world.run()
            counts.append(len(world.engine.containers))
        assert counts == [2, 4, 5]
        assert world.run().result is RunResult.CONVERGED


def test_an_engine_that_is_silent_is_unknown_and_recovers_by_itself(world: LoopWorld) -> None:
    world.engine.broken = TemporaryError("connection refused")
    report = world.run()
    assert report.result is RunResult.DRIFT_REMAINS
    assert report.comparison.drifts == ()
    assert [f.source for f in report.failures] == ["engine"]
    world.engine.broken = None
    assert world.run().result is RunResult.CONVERGED
    assert world.engine.calls == []


def test_a_refused_state_hides_no_engine_that_is_away(world: LoopWorld) -> None:
    world.commit(market_gateway="kind: Nothing\n")
    world.engine.broken = TemporaryError("connection refused")
    title = render_markdown(world.run()).splitlines()[0]
    assert title.startswith("# Desired state refused: the last good revision stays in force; ")
    assert "unknown 2 of 2 targets → not known: " in title


def test_a_run_that_names_an_unknown_target_is_refused_with_the_known_ones(
    world: LoopWorld,
) -> None:
    with pytest.raises(InvalidInputError, match="market-gateway"):
        world.run(targets=("market-preditcor",))


def test_only_the_targets_asked_for_are_touched(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    world.engine.kill("market-gateway")
    world.run(targets=("market-gateway",))
    assert {target for target, _ in world.engine.calls} == {GATEWAY}


def test_two_runs_of_one_agent_do_not_overlap(world: LoopWorld) -> None:
    with (
        world.runtime.one_run_at_a_time(),
        pytest.raises(TemporaryError, match="another run"),
    ):
        world.run()


def test_an_intent_that_a_dead_run_left_is_closed_once_it_is_old(world: LoopWorld) -> None:
    at = "2026-01-01T00:00:00+00:00"
    path = world.root / "reports"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(path))
    (path / "intents").mkdir(exist_ok=True)
    intent = {"apiVersion": "uici/v1", "kind": "Intent", "runId": "dead", "at": at}
    (path / "intents/dead.json").write_text(json.dumps(intent))
    git(path, "add", "-A")
    git(path, "commit", "-qm", "a run that died")
    git(path, "push", "-q")
    world.run()
    assert "intents/dead.json" not in git(
        world.remote, "ls-tree", "-r", "--name-only", "uici/reports"
    )


def test_another_services_secret_is_cut_from_what_is_told_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "qW-other-secret-55")
    with loop_world(tmp_path) as world:
        world.commit(
            other=service_yaml("other", env={"K": {"secret": "env:OTHER_KEY"}}),
            leaky=service_yaml("leaky"),
        )
        world.run(targets=("leaky",))
        world.engine.named("leaky").logs = "error: 401 for qW-other-secret-55"
        world.engine.kill("leaky")
        (told,) = world.run(targets=("leaky",)).incidents
        assert "401 for [redacted]" in told.evidence.logs["local-docker/leaky"]
        assert "qW-other-secret-55" not in git(world.remote, "log", "-p", "uici/reports")
