from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.comparison.drift import Drift
from flows.dossier import dossier_text
from flows.observe import EnvironmentObservation, Observation, SourceFailure
from flows.plan import GitChange
from flows.reporting.status import (
    Attempts,
    Condition,
    ConditionType,
    PastIncident,
    Step,
    TargetStatus,
    TriedPlan,
)
from flows.repository.contract import DesiredChange
from flows.token_estimate import estimate_tokens
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import TemporaryError
from infrastructure.observed import (
    Alert,
    AlertState,
    EngineHealth,
    EngineSnapshot,
    InstanceState,
    MetricReading,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
    ProbeReading,
    Reading,
    Workload,
)
from infrastructure.operations import OperationCall
from tests.unit.dossier.builders import (
    DB,
    INCIDENT,
    NOW,
    RUNNING,
    SECRET,
    SHOP,
    WEB,
    Engine,
    collect,
    limits,
    seen,
)
from tests.unit.operations.recorded_engine import instance


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("alpha\nbeta\n", "alpha\nbeta"),
        (["alpha", "beta"], "alpha\nbeta"),
        ([{"time": "1", "message": "alpha"}, {"line": "beta"}], "alpha\nbeta"),
        ({"shop-1": ["alpha"], "shop-2": "beta"}, "== shop-1 ==\nalpha\nbeta"),
    ],
)
def test_logs_have_one_form_whatever_the_executor_gives(output: Any, text: str) -> None:
    told = collect(output).logs[SHOP.target].replace("== shop-2 ==", "== shop-1 ==")
    assert [line for line in told.split("\n") if not line.startswith("(")] or told
    for line in text.split("\n"):
        assert line in told


def test_the_engine_is_asked_side_by_side_and_only_about_what_is_there() -> None:
    both = seen({SHOP.target: (instance("s"),), WEB.target: ()})
    engine = Engine({})
    collect(engine, observation=both, concurrency=3)
    assert {(call.operation, call.target) for call in engine.calls} == {
        ("get_logs", SHOP.target),
        ("get_status", SHOP.target),
        ("get_events", SHOP.target),
        ("check_resources", SHOP.target),
        ("get_events", WEB.target),
    }
    assert engine.at_once <= 3
    assert OperationCall("get_logs", SHOP.target, {"lines": limits().log_lines}) in engine.calls
    silent = Engine({})
    collect(silent, observation=seen(None))
    assert silent.calls == []
    only_root = Engine({})
    collect(only_root, observation=both, limits=limits(targets=1))
    assert {call.target for call in only_root.calls} == {SHOP.target}


def test_a_failed_read_is_a_fact() -> None:
    evidence = collect(Engine({}, error="docker did not answer"))
    assert evidence.logs == {}
    assert "local/shop: logs: not available: docker did not answer" in evidence.facts
    assert "local/shop: logs: empty" in collect(None).facts

    def refused(call: OperationCall) -> Any:
        raise TemporaryError(f"{call.operation} is not on offer")

    told = collect(run_read=refused).facts
    assert "local/shop: check_resources: not available: check_resources is not on offer" in told


def test_like_lines_are_one_and_errors_stay_when_lines_are_cut() -> None:
    noise = [f"2026-01-01T00:00:{n % 60:02}.5Z GET /items/{n} 200 in {n} ms" for n in range(4900)]
    noise[100] = "2026-01-01T00:00:01Z ERROR dial tcp db:5432: connection refused"
    many = [f"{word} is fine" for word in ("one", "two", "three", "four", "five", "six", "seven")]
    evidence = collect("\n".join([*noise, *many]), limits=limits(log_groups=6, log_lines=5000))
    log = evidence.logs[SHOP.target].split("\n")
    assert "00:00:01 ERROR dial tcp db:5432: connection refused" in log
    assert log[-1] == "seven is fine"
    assert len(log) == 6
    (left,) = evidence.left_out
    assert left.startswith("log of local/shop: 3 of 9 kinds of lines (4907 lines)")
    whole = collect("\n".join(noise), limits=limits(log_lines=5000)).logs[SHOP.target]
    assert "(4899×) 00:00:39 GET /items/4899 200 in 4899 ms" in whole


def test_only_the_newest_lines_are_read_and_that_is_said() -> None:
    evidence = collect("Out of memory\n" + "fine\n" * 50, limits=limits(log_lines=50))
    assert evidence.patterns == ()
    assert evidence.left_out == ("log of local/shop: only its newest lines were read",)


def test_patterns_are_told_in_the_order_of_the_file_with_count_line_and_subject() -> None:
    log = "\n".join(
        ["dial tcp db.internal:5432: connect: connection refused"] * 3
        + ["Out of memory: Killed process 12"]
    )
    memory, refused = collect(log).matches
    assert (memory.name, memory.count) == ("out-of-memory", 1)
    assert (refused.name, refused.count, refused.subject) == (
        "connection-refused",
        3,
        "db.internal:5432",
    )
    assert refused.line == "dial tcp db.internal:5432: connect: connection refused"
    assert refused.target == SHOP.target


def test_patterns_are_found_in_the_engines_own_words() -> None:
    killed = instance("s", state=InstanceState.STOPPED, exit_code=137, oom_killed=True)
    assert collect(observation=seen({SHOP.target: (killed,)})).patterns == ("out-of-memory",)
    waiting = instance("s", reason="ErrImagePull: manifest for shop:9 not found")
    found = collect(observation=seen({SHOP.target: (waiting,)}))
    assert found.patterns == ("image-unavailable",)
    health = [{"exit_code": 0, "output": ""}, {"exit_code": 1, "output": "connection refused"}]
    status = {"instances": [{"instance": "s", "health_log": health}]}
    probed = collect(Engine({("get_status", SHOP.target): status}))
    assert probed.patterns == ("connection-refused",)
    assert (
        "local/shop: s: 1 of its last 2 health checks failed, the newest with exit code 1:"
        " connection refused"
    ) in probed.facts
    told = "0/3 nodes are available: 3 Insufficient memory"
    event = {"time": "2026-01-01T00:00:00Z", "action": "Failed", "count": 7, "message": told}
    events = {"events": [event]}
    (match,) = collect(Engine({("get_events", SHOP.target): events})).matches
    assert (match.name, match.count) == ("unschedulable", 7)


def test_a_container_that_a_person_killed_is_not_out_of_memory() -> None:
    killed = instance("s", state=InstanceState.STOPPED, exit_code=137)
    events = {"events": [{"time": "2026-01-01T00:00:00Z", "action": "die", "exitCode": "137"}]}
    evidence = collect(
        Engine({("get_events", SHOP.target): events}), observation=seen({SHOP.target: (killed,)})
    )
    assert evidence.patterns == ()
    assert any("exit code 137 (killed)" in fact for fact in evidence.facts)


def test_secrets_and_control_characters_are_gone_before_anything_is_looked_at() -> None:
    evidence = collect(
        "\x1b[31mtoken sk-abc\u200bdefgh123\x1b[0m\x00\r\npassword=hunter2\x1b[1m-secret\x07"
        "\x1b]0;title\x07!"
    )
    assert evidence.logs == {SHOP.target: "token [redacted]\npassword=[redacted]!"}


def test_a_secret_that_begins_in_the_line_before_is_cut() -> None:
    evidence = collect("password:\n   correct-horse battery")
    assert "correct-horse" not in dossier_text(evidence)


def test_the_facts_about_a_service_the_most_telling_first() -> None:
    dead = instance(
        "shop-2",
        state=InstanceState.STOPPED,
        exit_code=137,
        oom_killed=True,
        restart_count=3,
        finished_at=NOW,
        spec=ObservedSpec(memory=64 * 1024**2, cpu=Decimal(0)),
    )
    sick = instance("shop-1", health=EngineHealth.UNHEALTHY, started_at=NOW, exit_code=0)
    alerts = (
        _alert("ShopDown", "shop", AlertState.ACTIVE),
        _alert("ShopSlow", "shop", AlertState.SILENCED),
        _alert("OtherDown", "other", AlertState.ACTIVE),
    )
    observation = seen(
        {SHOP.target: (sick, dead), WEB.target: (), DB.target: (instance("db"),)},
        alerts=alerts,
        probes=(
            ProbeReading(SHOP.target, "shop-1", Reading.FAILED, "503 Service Unavailable"),
            ProbeReading(WEB.target, "web-1", Reading.PASSED, "200 OK"),
        ),
        metrics=(
            MetricReading(SHOP.target, "up", Reading.FAILED, value=0.0, detail="expected == 1"),
            MetricReading(SHOP.target, "lag", Reading.UNKNOWN, detail="no sample"),
            MetricReading(SHOP.target, "fine", Reading.PASSED, value=1.0),
        ),
        failures=(SourceFailure("local", "prometheus", "timed out"),),
    )
    usage = {"instances": [{"instance": "shop-1", "memory_bytes": 250 * 2**20,
                            "memory_limit_bytes": 256 * 2**20, "memory_share": 0.977,
                            "cpu_cores": 0.1, "cpu_limit_cores": "0.5"}]}  # fmt: skip
    engine = Engine({("check_resources", SHOP.target): usage, ("get_logs", SHOP.target): "x"})
    evidence = collect(engine, observation=observation)
    assert evidence.facts == (
        "local/shop: shop-1: running, engine health unhealthy, started 2026-01-01T00:00:00+00:00",
        (
            "local/shop: shop-2: stopped, exit code 137 (killed), killed for want of memory (OOM),"
            " restarted 3 times, ended 2026-01-01T00:00:00+00:00"
        ),
        "local/shop: shop-1 uses memory 250Mi of 256Mi (98%), cpu 0.1 of 0.5 cores",
        "local/web: no instance exists",
        "local/shop: probe of shop-1 failed: 503 Service Unavailable",
        "local/shop: metric up failed, value 0: expected == 1",
        "local/shop: alert ShopDown firing since 2026-01-01T00:00:00+00:00: summary: it is down",
        "local/shop: limits: memory 256Mi (declared 256Mi), cpu 0.5",
        "local/shop: metric lag unknown: no sample",
        "prometheus of local can't be read: timed out",
        "local/shop: alert ShopSlow silenced since 2026-01-01T00:00:00+00:00: summary: it is down",
    )
    state = "0 of 2 instances work; probe failed: 503 Service Unavailable; metric up failed"
    assert evidence.dependencies == (
        f"local/web needs local/shop: {state}",
        f"the deepest broken one: local/shop ({state}); local/web → local/shop",
        "local/shop needs local/db: 1 of 1 instances work",
    )


def _alert(name: str, service: str, state: AlertState) -> Alert:
    labels = {"alertname": name, "service": service}
    return Alert(name, name, labels, {"summary": "it is down"}, NOW, state)


def test_facts_are_redacted_cleaned_short_and_few() -> None:
    ill = instance("s", state=InstanceState.STOPPED, reason=f"{SECRET}\n\x1b[2J" + "z" * 999)
    evidence = collect("x", observation=seen({SHOP.target: (ill,)}), limits=limits(facts=2))
    assert len(evidence.facts) == 2
    assert "2 more facts" in evidence.left_out or "1 more facts" in evidence.left_out
    told = evidence.facts[0]
    assert SECRET not in told
    assert "\x1b" not in told
    assert len(told) <= limits().fact_chars + 1


def test_many_alike_instances_are_one_fact() -> None:
    many = tuple(instance(f"s{n}") for n in range(30))
    stopped = instance("bad", state=InstanceState.STOPPED)
    facts = collect("x", observation=seen({SHOP.target: (*many, stopped)})).facts
    about = [fact for fact in facts if ": running" in fact or ": stopped" in fact]
    assert len(about) == 2
    assert about[0] == "local/shop: bad: stopped"


@pytest.mark.parametrize(
    ("observation", "fact"),
    [
        (seen(None), "local/shop: the engine did not tell its state"),
        (Observation(NOW, {}), "environment local was not observed"),
    ],
)
def test_what_was_not_seen_is_said(observation: Observation, fact: str) -> None:
    assert fact in collect(observation=observation).facts


def test_limits_that_the_engine_does_not_tell_or_set() -> None:
    bare = instance("s", spec=ObservedSpec(memory=0))
    facts = collect(observation=seen({SHOP.target: (bare,)})).facts
    assert "local/shop: limits: memory unlimited (declared 256Mi), cpu unknown" in facts


def _kept(replicas: int | None, *instances: ObservedInstance, reason: str = "") -> ObservedService:
    native = NativeObject("Deployment", "uid", "shop")
    workload = Workload(native, replicas, settled=not reason, reason=reason)
    return ObservedService(SHOP.target, instances, workload)


@pytest.mark.parametrize(
    ("service", "fact"),
    [
        (
            _kept(2, reason="FailedCreate: exceeded quota, token=sk-abcdefgh12345"),
            (
                "Deployment shop, asked to keep 2 instances, 0 exist, not settled,"
                " reason: FailedCreate: exceeded quota, "
            ),
        ),
        (
            _kept(3, instance("shop-1")),
            "Deployment shop, asked to keep 3 instances, 1 exist, settled",
        ),
        (_kept(None, instance("shop-1")), "Deployment shop, settled"),
    ],
)
def test_what_keeps_the_instances_is_told_with_its_reason(
    service: ObservedService, fact: str
) -> None:
    engine = EngineSnapshot("local", {SHOP.target: service})
    found = collect(
        observation=Observation(NOW, {"local": EnvironmentObservation("local", engine)})
    )
    (told,) = (f for f in found.facts if "Deployment shop" in f)
    assert told.startswith(f"{SHOP.target}: {fact}")
    assert "sk-abcdefgh12345" not in told


def test_the_conditions_of_a_workload_that_should_not_hold_are_facts() -> None:
    conditions = [
        {"type": "Available", "status": "False", "reason": "Minimum", "message": "too few"},
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "Quota",
            "message": "too many",
        },
        {"type": "Progressing", "status": "True", "reason": "New", "message": "all is well"},
    ]
    status = {"workload": {"conditions": conditions}, "instances": []}
    facts = collect(Engine({("get_status", SHOP.target): status})).facts
    assert "local/shop: condition Available False Minimum: too few" in facts
    assert "local/shop: condition ReplicaFailure True Quota: too many" in facts
    assert not any("all is well" in fact for fact in facts)


# ── changes ─────────────────────────────────────────────────────────────────────


def _change(minutes: int, subject: str) -> DesiredChange:
    at = NOW - timedelta(minutes=minutes)
    return DesiredChange("a" * 40, at, "Ann\x1b[2J", subject, (SHOP.target,))


def test_commits_and_events_are_told_newest_first_and_clean() -> None:
    events = {
        "events": [
            {"time": "2025-12-31T23:40:00.000+00:00", "action": "start", "instance": "shop-1"},
            *[
                {"time": f"2025-12-31T23:5{n}:00.000+00:00", "action": "die", "exitCode": "1"}
                for n in range(5)
            ],
        ]
    }
    asked: list[tuple[tuple[str, ...], int, datetime]] = []

    def read(targets: Any, limit: int, since: datetime, _: Any) -> tuple[DesiredChange, ...]:
        asked.append((tuple(targets), limit, since))
        return (_change(1, f"raise memory {SECRET}"), _change(15, "\u202eback"))

    engine = Engine({("get_events", SHOP.target): events})
    evidence = collect(engine, read_changes=read)
    assert evidence.changes == (
        "2025-12-31 23:59 local/shop: commit aaaaaaaaaa by Ann: raise memory [redacted]",
        "2025-12-31 23:54:00 local/shop: engine: die exitCode=1 (5 times since 23:50:00)",
        "2025-12-31 23:45 local/shop: commit aaaaaaaaaa by Ann: back",
        "2025-12-31 23:40:00 local/shop: engine: start shop-1",
    )
    within = limits().changes_within
    assert asked == [((SHOP.target, WEB.target), limits().changes, NOW - within)]


@pytest.mark.parametrize(
    ("kinds", "news"),
    [
        ((DriftKind.MISSING,), True),
        ((DriftKind.MISSING, DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING), True),
        ((DriftKind.STOPPED,), False),
        ((DriftKind.CONFIG_DRIFT,), False),
    ],
)
def test_of_what_no_run_has_told_only_what_does_not_exist_is_news_of_git(
    kinds: tuple[DriftKind, ...], news: bool
) -> None:
    drifts = tuple(Drift(SHOP.target, kind) for kind in kinds)
    incident = replace(INCIDENT, drifts=drifts)
    found = collect(incident=incident, read_changes=lambda *_: (_change(1, f"add {SECRET}"),))
    assert found.git_change == (GitChange("a" * 10, "Ann", "add [redacted]") if news else None)


def test_a_history_that_can_not_be_read_is_a_fact() -> None:
    def read(*_: Any) -> tuple[DesiredChange, ...]:
        raise TemporaryError("the clone is busy")

    evidence = collect(read_changes=read)
    assert "desired state's history: not available: the clone is busy" in evidence.facts
    assert collect(read_changes=read, limits=limits(changes=0)).changes == ()


# ── the past ────────────────────────────────────────────────────────────────────


def _status(**fields: Any) -> dict[str, TargetStatus]:
    given: dict[str, Any] = {"conditions": (), **fields}
    status = TargetStatus(
        target=SHOP.target,
        observed_revision="main@none",
        spec_digest=SHOP.spec_digest,
        sync="Synced",
        health="Healthy",
        **given,
    )
    return {SHOP.target: status}


def _ready(status: Literal["True", "False", "Unknown"], minutes: int) -> Condition:
    at = NOW - timedelta(minutes=minutes)
    return Condition(
        type=ConditionType.READY, status=status, reason="R", message="", last_transition_time=at
    )


@pytest.mark.parametrize(
    ("known", "since"),
    [
        ({}, None),
        ({"conditions": (_ready("True", 5),)}, "300s"),
        ({"conditions": (_ready("False", 5),)}, None),
        # It was told while it was down, suspended or not: what it was before that counts.
        (
            {"conditions": (_ready("Unknown", 5),), "well_since": NOW - timedelta(hours=1)},
            "3600s",
        ),
        # An incident that was over within its run is over all the same.
        ({"conditions": (_ready("True", 9000),), "history": "recovered"}, "86400s"),
        ({"conditions": (_ready("True", 9000),), "history": "escalated"}, "540000s"),
        ({"conditions": (_ready("True", -5),)}, "1s"),  # a clock that was set back
    ],
)
def test_what_a_log_said_before_all_was_well_is_not_read(
    known: dict[str, Any], since: str | None
) -> None:
    if "history" in known:
        known = {**known, "history": (_past(1, "Stopped", result=known["history"]),)}
    engine = Engine({})
    collect(engine, statuses=_status(**known))
    (asked,) = (c for c in engine.calls if (c.operation, c.target) == ("get_logs", SHOP.target))
    assert asked.parameters.get("since") == since


def _past(days: int, *kinds: str, result: str = "recovered") -> PastIncident:
    return PastIncident(
        at=NOW - timedelta(days=days),
        run_id="r",
        spec_digest="d",
        incident_class="c",
        kinds=kinds,
        planner="runbook",
        steps=(Step(operation="restart", parameters={"strategy": "force"}),),
        result=result,
        seconds=12.4 if result == "recovered" else None,
    )


def _tried(digest: str) -> Attempts:
    step = Step(operation="start", parameters={})
    plan = TriedPlan(remedy="r", planner="llm", steps=(step,), at=NOW, result="failed")
    return Attempts(spec_digest=digest, count=1, last_at=NOW, not_before=NOW, tried=(plan,))


def test_the_past_tells_what_worked_and_what_did_not() -> None:
    history = (_past(9, "Missing"), _past(3, "Stopped"), _past(2, "Stopped", result="failed"))
    evidence = collect(
        statuses=_status(history=history, attempts=_tried(SHOP.spec_digest)),
        learned=lambda incident, names: [f"class of {incident.root}: {len(names)} patterns"],
    )
    assert evidence.past == (
        (
            "local/shop: tried on this desired state at 2026-01-01 00:00 and did not help:"
            " start (by llm: failed)"
        ),
        "class of local/shop: 0 patterns",
        "local/shop: 2025-12-30 00:00 Stopped: restart(strategy=force) did not help (failed)",
        (
            "local/shop: 2025-12-29 00:00 Stopped: restart(strategy=force) worked"
            " (recovered in 12 s)"
        ),
    )


def test_of_a_plan_that_helped_for_a_while_the_past_says_so() -> None:
    own = {"by_itself": True}
    history = tuple(_past(days, "Stopped").model_copy(update=own) for days in (3, 2))
    newest, oldest = collect(statuses=_status(history=history)).past
    assert newest.endswith("worked (recovered in 12 s)")
    assert oldest.endswith("worked for a while only, the fault came back (recovered in 12 s)")


@pytest.mark.parametrize("same", [True, False])
def test_a_fault_of_another_spec_has_not_come_back(same: bool) -> None:
    digest = SHOP.spec_digest if same else "another"
    own = {"by_itself": True, "spec_digest": digest}
    past = _past(1, "Unhealthy").model_copy(update=own)
    incident = replace(INCIDENT, drifts=(Drift(SHOP.target, DriftKind.UNHEALTHY),))
    (told,) = collect(incident=incident, statuses=_status(history=(past,))).past
    assert ("the fault came back" in told) is same


def test_what_was_tried_on_another_desired_state_is_not_told() -> None:
    assert collect(statuses=_status(attempts=_tried("other"))).past == ()


# ── as a whole ──────────────────────────────────────────────────────────────────


def _texts() -> st.SearchStrategy[str]:
    chunks = st.sampled_from(
        [
            SECRET,
            "sk-abcdefgh12345678",
            "password=",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
            "\x1b[31m",
            "\u202e",
            "\n",
            " ",
            "ERROR connection refused",
            '{"level":"error","msg":"no space left on device"}',
            "2026-01-01T00:00:00Z ",
            "é",
            "x" * 300,
        ]
    )
    return st.lists(chunks | st.text(max_size=30), max_size=60).map("".join)


@settings(max_examples=60)
@given(log=_texts(), reason=_texts(), tokens=st.integers(200, 900))
def test_a_dossier_fits_is_the_same_each_time_and_holds_no_secret(
    log: str, reason: str, tokens: int
) -> None:
    ill = instance("s", state=InstanceState.STOPPED, reason=reason)
    events = {"events": [{"time": "", "action": reason, "message": log}]}
    outputs = {("get_logs", SHOP.target): log, ("get_events", SHOP.target): events}
    given_: dict[str, Any] = {
        "observation": seen({SHOP.target: (ill,)}),
        "limits": limits(max_tokens=tokens),
        "learned": lambda *_: [log, reason],
        "read_changes": lambda *_: (_change(1, log), _change(2, reason)),
    }
    evidence = collect(Engine(outputs), **given_)
    assert evidence == collect(Engine(outputs), concurrency=4, **given_)
    text = dossier_text(evidence)
    assert estimate_tokens(text) <= tokens
    for secret in (SECRET, "sk-abcdefgh", "MIIEpAIBAAKCAQEA7", "\x1b", "\u202e"):
        assert secret not in text
        assert not any(secret in match.subject + match.line for match in evidence.matches)


def test_what_has_no_room_is_said() -> None:
    log = "\n".join(f"ERROR {word * 100}" for word in "abcdefghijkl")
    evidence = collect(log, limits=limits(max_tokens=300))
    assert estimate_tokens(dossier_text(evidence)) <= 300
    assert evidence.left_out[0].startswith("for want of room: ")
    assert "kinds of log lines" in evidence.left_out[0]
    assert evidence.facts


def test_nothing_is_asked_of_a_target_that_left_desired_state() -> None:
    engine = Engine({})
    evidence = collect(engine, services={WEB.target: WEB})
    assert {call.target for call in engine.calls} == {WEB.target}
    assert evidence.facts == ("local/web: no instance exists",)
    assert INCIDENT.root not in evidence.logs
    assert RUNNING.environments
