"""Stage 6: only a service that is as Git says, and works, counts as recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from flows.comparison.drift import Drift, Incident
from flows.observe import Observation, SourceFailure
from flows.verify import (
    Check,
    CheckState,
    Verification,
    VerificationResult,
    VerifyInput,
    summary_of,
    verify,
)
from infrastructure.config_models import VerifySettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    MetricReading,
    ObservedInstance,
    ObservedService,
    ProbeReading,
    Reading,
)
from infrastructure.operations import Effect
from infrastructure.service import Service
from tests.builders import (
    ENVIRONMENT,
    NOW,
    alert,
    comparing,
    instance_of,
    observation,
    service,
    services,
    stopped,
)

PLAIN = service()
PROBED = service(health={"http": {"port": 80}})
METERED = service(
    health={"metrics": [{"name": "ok", "query": "ok", "expect": "== 1"}]},
    alerts=[{"matchers": {"service": "market-predictor"}}],
)
SETTINGS = VerifySettings(
    deadline=timedelta(seconds=10), interval=timedelta(seconds=1), stable_for=timedelta(seconds=3)
)


class TestClock:
    """Time that passes only by sleeping."""

    __test__ = False

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def outcome(
    wanted: Service,
    looks: Sequence[Observation],
    *,
    kinds: Iterable[DriftKind] = (DriftKind.STOPPED,),
    before: tuple[ObservedInstance, ...] = (),
    effects: Iterable[Effect] = (),
    deadline: timedelta = timedelta(minutes=5),
    looked: Callable[[tuple[Check, ...]], None] = lambda _: None,
) -> Verification:
    """Verify against these looks, the last one repeated."""
    clock = TestClock()
    left = list(looks)
    field = {DriftKind.METRIC_BREACH: "ok", DriftKind.ALERT_FIRING: "MarketPredictorDown"}
    drifts = tuple(Drift(wanted.target, kind, field=field.get(kind, "")) for kind in kinds)
    given = VerifyInput(
        incident=Incident("f", ENVIRONMENT, wanted.target, (wanted.target,), drifts),
        before=before,
        effects=frozenset(effects),
        acted_at=NOW,
        settings=SETTINGS,
        compare=comparing(services(wanted)),
    )
    return verify(
        given,
        look=lambda: left.pop(0) if len(left) > 1 else left[0],
        now=clock.now,
        sleep=clock.sleep,
        deadline=NOW + deadline,
        looked=looked,
    )


def seen(wanted: Service, *instances: ObservedInstance, **more: Any) -> Observation:
    return observation([ObservedService(wanted.target, instances)], **more)


def probe(reading: Reading) -> ProbeReading:
    return ProbeReading(PROBED.target, "market-predictor", reading, reading.value)


def test_each_look_that_is_not_the_last_is_told() -> None:
    up, down = seen(PLAIN, instance_of(PLAIN)), seen(PLAIN, stopped(PLAIN))
    told: list[tuple[Check, ...]] = []
    result = outcome(PLAIN, [down, up, up, up, up], looked=told.append)
    assert result.result is VerificationResult.RECOVERED
    first, *rest = told
    assert [c.state for c in first if c.name == "engine"] == [CheckState.FAILED]
    assert rest
    assert all(c.state is CheckState.PASSED for checks in rest for c in checks)


def test_a_service_without_any_health_check_has_to_stay_up() -> None:
    up, down = seen(PLAIN, instance_of(PLAIN)), seen(PLAIN, stopped(PLAIN))
    result = outcome(PLAIN, [down, up, up, down, up])
    assert result.result is VerificationResult.RECOVERED
    assert result.seconds == pytest.approx(7.0)  # the count starts again after it fell over


def test_a_passing_probe_vouches_at_once() -> None:
    up = seen(PROBED, instance_of(PROBED), probes=[probe(Reading.PASSED)])
    result = outcome(PROBED, [up])
    assert (result.result, result.seconds) == (VerificationResult.RECOVERED, 0.0)


@pytest.mark.parametrize(
    "look",
    [
        seen(PROBED),
        seen(PROBED, stopped(PROBED)),
        seen(PROBED, instance_of(PROBED, state=InstanceState.PAUSED)),
        seen(PROBED, instance_of(PROBED, health=EngineHealth.STARTING)),
        seen(PROBED, instance_of(PROBED, health=EngineHealth.UNHEALTHY)),
        seen(PROBED, instance_of(PROBED), instance_of(PROBED, 1)),
        seen(PROBED, instance_of(PROBED, image="other:1"), probes=[probe(Reading.PASSED)]),
        seen(PROBED, instance_of(PROBED), probes=[probe(Reading.FAILED)]),
    ],
)
def test_what_is_not_well_until_the_deadline_has_not_recovered(look: Observation) -> None:
    result = outcome(PROBED, [look])
    assert result.result is VerificationResult.NOT_RECOVERED
    assert result.seconds == pytest.approx(10.0)


def test_deleting_or_scaling_to_zero_never_fixes_anything() -> None:
    silent = seen(METERED, metrics=[MetricReading(METERED.target, "ok", Reading.UNKNOWN)])
    result = outcome(METERED, [silent], kinds=[DriftKind.ALERT_FIRING])
    assert result.result is VerificationResult.NOT_RECOVERED


def test_an_engine_or_probe_that_does_not_answer_is_unknown() -> None:
    gone = observation(None, failures=[SourceFailure(ENVIRONMENT, "engine", "refused")])
    blind = seen(PROBED, instance_of(PROBED), probes=[probe(Reading.UNKNOWN)])
    untold = observation([], unseen={PROBED.target: "forbidden"})
    for look in (gone, blind, untold):
        assert outcome(PROBED, [look]).result is VerificationResult.UNKNOWN
    assert outcome(PROBED, [untold]).checks[0].detail == "forbidden"


def test_a_restart_needs_new_starts_of_every_instance() -> None:
    old = instance_of(PROBED)
    new = replace(old, started_at=NOW)
    passed = [probe(Reading.PASSED)]
    still, done = seen(PROBED, old, probes=passed), seen(PROBED, new, probes=passed)
    failed = outcome(PROBED, [still], before=(old,), effects=[Effect.RESTARTED])
    assert failed.result is VerificationResult.NOT_RECOVERED
    recovered = outcome(PROBED, [still, done], before=(old,), effects=[Effect.RESTARTED])
    assert recovered.result is VerificationResult.RECOVERED


def metric(reading: Reading, *, after: float) -> MetricReading:
    at = NOW + timedelta(seconds=after)
    return MetricReading(METERED.target, "ok", reading, 1.0, sampled_at=at)


def test_a_breached_metric_has_to_pass_with_a_sample_taken_after_the_repair() -> None:
    def look(reading: MetricReading) -> Observation:
        return seen(METERED, instance_of(METERED), metrics=[reading])

    breach = [DriftKind.METRIC_BREACH]
    old = outcome(METERED, [look(metric(Reading.PASSED, after=-5))], kinds=breach)
    assert old.result is VerificationResult.UNKNOWN
    bad = outcome(METERED, [look(metric(Reading.FAILED, after=5))], kinds=breach)
    assert bad.result is VerificationResult.NOT_RECOVERED
    good = outcome(METERED, [look(metric(Reading.PASSED, after=1))], kinds=breach)
    assert good.result is VerificationResult.RECOVERED


def test_lagging_signals_are_pending_where_the_engine_told_of_the_fault() -> None:
    look = seen(
        METERED,
        instance_of(METERED),
        metrics=[metric(Reading.FAILED, after=-5)],
        alerts=[alert(service="market-predictor")],
    )
    both = [DriftKind.STOPPED, DriftKind.ALERT_FIRING]
    result = outcome(METERED, [look], kinds=both)
    assert result.result is VerificationResult.RECOVERED
    states = summary_of(result.checks)
    assert states["metric/ok"] == states["alert/MarketPredictorDown"] == CheckState.PENDING.value


def test_an_alert_that_alone_told_of_the_fault_has_to_resolve() -> None:
    def look(*alerts: Any) -> Observation:
        fine = metric(Reading.PASSED, after=1)
        return seen(METERED, instance_of(METERED), metrics=[fine], alerts=alerts)

    alone = [DriftKind.ALERT_FIRING]
    firing = look(alert(service="market-predictor"))
    assert outcome(METERED, [firing], kinds=alone).result is VerificationResult.NOT_RECOVERED
    assert outcome(METERED, [firing, look()], kinds=alone).result is VerificationResult.RECOVERED
    unread = seen(
        METERED, instance_of(METERED), metrics=[metric(Reading.PASSED, after=1)], alerts=None
    )
    assert outcome(METERED, [unread], kinds=alone).result is VerificationResult.UNKNOWN


def test_the_runs_deadline_ends_it_earlier() -> None:
    result = outcome(PLAIN, [seen(PLAIN)], deadline=timedelta(seconds=2))
    assert result.seconds == pytest.approx(2.0)
