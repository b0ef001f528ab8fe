from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.comparison.drift import Drift, Incident
from flows.observe import EnvironmentObservation, Observation, SourceFailure
from flows.plan import Evidence
from flows.planners.evidence import clean, collect_evidence, cut_middle
from infrastructure.config_models import EvidenceSettings, Platform
from infrastructure.drift_kinds import DriftKind
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
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.redaction import Redactor
from tests.unit.operations import shipped
from tests.unit.operations.recorded_engine import instance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = shipped.service(
    "shop",
    dependsOn=["db"],
    resources={"memory": "256Mi"},
    alerts=[{"matchers": {"service": "shop"}}],
)
DB = shipped.service("db")
WEB = shipped.service("web", dependsOn=["shop"])
SERVICES = {service.target: service for service in (SHOP, DB, WEB)}
INCIDENT = Incident(
    "f" * 16,
    "local",
    SHOP.target,
    (SHOP.target, WEB.target),
    (Drift(SHOP.target, DriftKind.STOPPED),),
)
LIMITS = EvidenceSettings(targets=3, log_lines=50, max_chars=2000, facts=40, fact_chars=300)
SECRETS = Redactor([r"sk-[A-Za-z0-9]{8,}"], ["hunter2-secret"])


class Logs:
    """The logs of each target; one that is an exception's text can't be read."""

    def __init__(self, outputs: Mapping[str, Any], error: str = "") -> None:
        self.outputs = outputs
        self.error = error
        self.calls: list[OperationCall] = []

    def __call__(self, call: OperationCall) -> OperationOutcome:
        self.calls.append(call)
        if self.error:
            return OperationOutcome(call, OutcomeStatus.FAILED, NOW, NOW, error=self.error)
        output = self.outputs.get(call.target)
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW, output=output)


def seen(
    instances: Mapping[str, tuple[ObservedInstance, ...]] | None, **fields: Any
) -> Observation:
    """An observation of `local`; None: its engine did not answer."""
    engine = None
    if instances is not None:
        services = {target: ObservedService(target, of) for target, of in instances.items()}
        engine = EngineSnapshot("local", services)
    return Observation(NOW, {"local": EnvironmentObservation("local", engine, **fields)})


RUNNING = seen({SHOP.target: (instance("shop-1"),), WEB.target: (), DB.target: ()})


def collect(
    logs: Any = "", *, observation: Observation = RUNNING, limits: EvidenceSettings = LIMITS
) -> Evidence:
    """Evidence where the root's log is `logs`, or what a `Logs` gives."""
    return collect_evidence(
        INCIDENT,
        services=SERVICES,
        observation=observation,
        run_read=logs if isinstance(logs, Logs) else Logs({SHOP.target: logs}),
        patterns=shipped.runbooks().patterns,
        redactor=SECRETS,
        limits=limits,
    )


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("a\nb\n", "a\nb"),
        (["a", "b"], "a\nb"),
        ([{"time": "1", "message": "a"}, {"line": "b"}], "a\nb"),
        ({"shop-1": ["a"], "shop-2": "b"}, "== shop-1 ==\na\n== shop-2 ==\nb"),
        (["one", 2], "one\n2"),
    ],
)
def test_logs_have_one_form_whatever_the_executor_gives(output: Any, text: str) -> None:
    assert collect(output).logs == {SHOP.target: text}


def test_only_targets_with_instances_are_asked_for_logs_within_the_limits() -> None:
    both = seen({SHOP.target: (instance("s"),), WEB.target: (instance("w"),)})
    logs = Logs({SHOP.target: "shop's", WEB.target: "web's"})
    assert collect(logs, observation=both).logs == {SHOP.target: "shop's", WEB.target: "web's"}
    assert logs.calls[0] == OperationCall("get_logs", SHOP.target, {"lines": 50})
    root_only = LIMITS.model_copy(update={"targets": 1})
    assert collect(logs, observation=both, limits=root_only).logs == {SHOP.target: "shop's"}
    assert collect("x", observation=seen({SHOP.target: ()})).logs == {}
    assert collect("x", observation=seen(None)).logs == {}


def test_a_failed_read_is_a_fact() -> None:
    evidence = collect(Logs({}, error="docker did not answer"))
    assert evidence.logs == {}
    assert "local/shop: logs: not available: docker did not answer" in evidence.facts
    assert "local/shop: logs: empty" in collect(None).facts


def test_patterns_are_told_in_the_order_of_the_file_even_from_what_is_cut() -> None:
    filler = "\n".join(f"line {n}" for n in range(400))
    log = f"{filler}\ndial tcp: connection refused\n{filler}\nOut of memory\n{filler}"
    evidence = collect(log)
    assert evidence.patterns == ("out-of-memory", "connection-refused")
    kept = evidence.logs[SHOP.target]
    assert "refused" not in kept
    assert len(kept) < 2100
    assert kept.startswith("line 0\n")
    assert kept.endswith("line 399")
    assert "characters cut …]" in kept


def test_secrets_and_control_characters_are_gone_before_anything_is_looked_at() -> None:
    evidence = collect(
        "\x1b[31mtoken sk-abc\u200bdefgh123\x1b[0m\x00\r\npassword=hunter2\x1b[1m-secret\x07"
        "\x1b]0;title\x07!"
    )
    assert evidence.logs == {SHOP.target: "token [redacted]\npassword=[redacted]!"}


def test_facts_are_redacted_cleaned_and_short() -> None:
    ill = instance("s", state=InstanceState.STOPPED, reason="hunter2-secret\n\x1b[2J" + "z" * 999)
    facts = collect(observation=seen({SHOP.target: (ill,)})).facts
    told = next(fact for fact in facts if "reason" in fact)
    assert "hunter2" not in told
    assert "\x1b" not in told
    assert len(told) <= LIMITS.fact_chars + 1
    few = collect(limits=LIMITS.model_copy(update={"facts": 2})).facts
    assert len(few) == 2
    assert few[-1].endswith("more facts are left out")


def test_the_facts_about_a_service() -> None:
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
    assert collect("x", observation=observation).facts == (
        "prometheus of local can't be read: timed out",
        "local/shop: shop-1: running, engine health unhealthy, started 2026-01-01T00:00:00+00:00",
        (
            "local/shop: shop-2: stopped, exit code 137, killed for want of memory (OOM),"
            " restarted 3 times, ended 2026-01-01T00:00:00+00:00"
        ),
        "local/shop: limits: memory 256Mi (declared 256Mi), cpu 0.5",
        "local/shop: alert ShopDown firing since 2026-01-01T00:00:00+00:00: summary: it is down",
        "local/shop: alert ShopSlow silenced since 2026-01-01T00:00:00+00:00: summary: it is down",
        "local/shop: probe of shop-1 failed: 503 Service Unavailable",
        "local/shop: metric up failed, value 0: expected == 1",
        "local/shop: metric lag unknown: no sample",
        "local/web: no instance exists",
        "local/shop needs local/db: 1 of 1 instances work",
    )


def _alert(name: str, service: str, state: AlertState) -> Alert:
    labels = {"alertname": name, "service": service}
    return Alert(name, name, labels, {"summary": "it is down"}, NOW, state)


def test_many_alike_instances_are_one_fact() -> None:
    many = tuple(instance(f"s{n}") for n in range(30))
    facts = collect("x", observation=seen({SHOP.target: (*many, _stopped("bad"))})).facts
    about = [fact for fact in facts if ": running" in fact or ": stopped" in fact]
    assert len(about) == 2
    assert about[0] == "local/shop: bad: stopped"


def _stopped(name: str) -> ObservedInstance:
    return instance(name, state=InstanceState.STOPPED)


@pytest.mark.parametrize(
    ("observation", "fact"),
    [
        (seen(None), "local/shop: the engine did not tell its state"),
        (seen({}), "local/shop needs local/db: unknown"),
        (seen({DB.target: ()}), "local/shop needs local/db: missing"),
        (Observation(NOW, {}), "environment local was not observed"),
    ],
)
def test_what_was_not_seen_is_said(observation: Observation, fact: str) -> None:
    assert fact in collect(observation=observation).facts


def test_a_target_that_left_desired_state_has_no_facts_of_its_own() -> None:
    evidence = collect_evidence(
        INCIDENT,
        services={WEB.target: WEB},
        observation=RUNNING,
        run_read=Logs({SHOP.target: "still here"}),
        patterns=(),
        redactor=SECRETS,
        limits=LIMITS,
    )
    assert evidence == Evidence({SHOP.target: "still here"}, (), ("local/web: no instance exists",))


def test_limits_that_the_engine_does_not_tell_or_set() -> None:
    bare = instance("s", spec=ObservedSpec(memory=0))
    facts = collect(observation=seen({SHOP.target: (bare,)})).facts
    assert "local/shop: limits: memory unlimited (declared 256Mi), cpu unknown" in facts


@given(text=st.text(max_size=200))
def test_cleaned_text_shows_everything_it_holds(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert all(
        char.isprintable() or char in "\n\t" or char.isspace() or ord(char) > 127
        for char in cleaned
    )
    assert "\x1b" not in cleaned


@given(text=st.text(alphabet="ab \n", max_size=600), limit=st.integers(50, 300))
def test_a_cut_text_keeps_both_ends_and_tells_how_much_is_gone(text: str, limit: int) -> None:
    cut = cut_middle(text, limit)
    if len(text) <= limit:
        assert cut == text
        return
    head, _, rest = cut.partition("[… ")
    gone, _, tail = rest.partition(" characters cut …]\n")
    assert text.startswith(head.rstrip())
    assert text.endswith(tail)
    assert len(text) - limit <= int(gone) <= len(text)
    assert len(cut) <= limit + 40


@given(log=st.text(max_size=4000))
def test_evidence_is_bounded_and_the_same_each_time(log: str) -> None:
    evidence = collect(log)
    assert evidence == collect(log)
    assert all(len(text) <= LIMITS.max_chars + 40 for text in evidence.logs.values())


def test_an_endless_log_is_read_from_its_end() -> None:
    log = "Out of memory\n" + "y" * 100_000 + "\nconnection refused\nlast"
    evidence = collect(log)
    assert evidence.patterns == ("connection-refused",)
    assert evidence.logs[SHOP.target].endswith("connection refused\nlast")


def test_the_shipped_platform_has_limits() -> None:
    assert "evidence" in Platform.model_fields
    EvidenceSettings.model_validate(shipped.document("platform.yml")["evidence"])


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
                " reason: FailedCreate: exceeded quota, token="
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
