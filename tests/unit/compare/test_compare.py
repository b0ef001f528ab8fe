"""Stage 2: what counts as a drift, what is only pending, and what is nobody's business."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.compare import Comparison, compare, confirm, unconfirmed_for
from flows.comparison.config_drifts import normal_image
from flows.comparison.drift import HealthStatus, Sync
from flows.observe import SourceFailure
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import (
    AlertState,
    EngineHealth,
    InstanceState,
    MetricReading,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ProbeReading,
    Reading,
    Silence,
    SilenceMatcher,
)
from infrastructure.service import Service
from tests.builders import (
    ENVIRONMENT,
    NOW,
    alert,
    as_declared,
    compare_settings,
    comparing,
    instance_of,
    observation,
    service,
    services,
    stopped,
)


def judged(wanted: Service, *instances: ObservedInstance, **seen: Any) -> Comparison:
    """One service against these instances."""
    observed = observation([ObservedService(wanted.target, instances)], **seen)
    return compare(comparing(services(wanted)), observed, now=NOW)


def kinds(comparison: Comparison) -> list[DriftKind]:
    return [drift.kind for drift in comparison.drifts]


FULL = service(
    replicas=2,
    command=["serve", "--fast"],
    env={"LOG_LEVEL": "info", "API_KEY": {"secret": "env:KEY"}},
    resources={"memory": "256Mi", "cpu": "0.5"},
    ports=["127.0.0.1:18000:8000"],
    native={"HostConfig": {"RestartPolicy": {"Name": "always"}}},
)


def test_a_world_as_declared_has_no_drift() -> None:
    comparison = compare(comparing(services(FULL)), observation([as_declared(FULL)]), now=NOW)
    assert comparison.drifts == ()
    assert comparison.incidents == ()
    state = comparison.states[FULL.target]
    assert (state.sync, state.health) == (Sync.SYNCED, HealthStatus.HEALTHY)


def test_a_variable_that_uici_set_and_git_no_longer_names_is_a_drift() -> None:
    wanted = service(env={"KEPT": "1"})
    env = {"KEPT": "1", "GONE": "hunter2", "MINE": "1"}
    noted = frozenset({"KEPT", "GONE", "NEVER_SET"})
    seen = instance_of(wanted)
    seen = replace(seen, spec=replace(seen.spec, env=env, managed_env=noted))
    (found,) = judged(wanted, seen).drifts
    assert (found.kind, found.field) == (DriftKind.CONFIG_DRIFT, "/env/GONE")
    assert "hunter2" not in repr(found)
    ignoring = service(env={"KEPT": "1"}, ignoreDifferences=["/env/GONE"])
    assert judged(ignoring, seen).drifts == ()


def test_no_instance_is_missing() -> None:
    comparison = judged(service())
    assert kinds(comparison) == [DriftKind.MISSING]
    assert comparison.states[service().target].health is HealthStatus.MISSING


def test_a_stopped_instance_within_grace_is_pending_and_after_it_a_drift() -> None:
    wanted = service()
    given_grace = comparing(services(wanted), settings=compare_settings(stopped=30))
    for ago, actionable in ((10, False), (31, True)):
        seen = observation([ObservedService(wanted.target, (stopped(wanted, ago=ago),))])
        comparison = compare(given_grace, seen, now=NOW)
        assert bool(comparison.incidents) is actionable
        assert bool(comparison.pending) is not actionable


@pytest.mark.parametrize("state", [InstanceState.PAUSED, InstanceState.PENDING])
def test_an_instance_that_does_not_run_is_stopped(state: InstanceState) -> None:
    wanted = service()
    assert kinds(judged(wanted, instance_of(wanted, state=state))) == [DriftKind.STOPPED]


def test_an_unknown_state_is_no_drift_and_no_health() -> None:
    wanted = service()
    comparison = judged(wanted, instance_of(wanted, state=InstanceState.UNKNOWN))
    assert comparison.drifts == ()
    assert comparison.states[wanted.target].health is HealthStatus.UNKNOWN


def test_restarts_make_a_crash_loop_only_while_they_are_recent() -> None:
    wanted = service()
    recent = instance_of(wanted, restart_count=5, started_at=NOW - timedelta(minutes=1))
    old = instance_of(wanted, restart_count=5, started_at=NOW - timedelta(hours=2))
    assert DriftKind.CRASH_LOOPING in kinds(judged(wanted, recent))
    assert judged(wanted, old).drifts == ()


def test_a_restarting_instance_is_stopped_until_it_has_looped_often_enough() -> None:
    wanted = service()
    for count, kind in ((1, DriftKind.STOPPED), (3, DriftKind.CRASH_LOOPING)):
        seen = instance_of(wanted, state=InstanceState.RESTARTING, restart_count=count)
        assert kinds(judged(wanted, seen)) == [kind]


@pytest.mark.parametrize(
    ("change", "field", "desired", "observed"),
    [
        ({"image": "market-predictor:2"}, "/image", "market-predictor:1.0.0", "market-predictor:2"),
        ({"command": ("serve",)}, "/command", "serve --fast", "serve"),
        ({"memory": 128 * 2**20}, "/resources/memory", "256Mi", "128Mi"),
        ({"memory": 0}, "/resources/memory", "256Mi", "unlimited"),
        ({"cpu": Decimal(1)}, "/resources/cpu", "0.5", "1"),
        ({"ports": ()}, "/ports", "127.0.0.1:18000:8000", "none"),
        ({"env": {"LOG_LEVEL": "debug", "API_KEY": "•"}}, "/env/LOG_LEVEL", "info", "debug"),
        ({"env": {"API_KEY": "•"}}, "/env/LOG_LEVEL", "info", "not set"),
        (
            {"native_config": {"HostConfig": {"RestartPolicy": {"Name": "no"}}}},
            "/native/HostConfig/RestartPolicy/Name",
            "always",
            "no",
        ),
    ],
)
def test_each_field_that_differs_is_named_with_both_values(
    change: dict[str, Any], field: str, desired: str, observed: str
) -> None:
    drifts = judged(FULL, instance_of(FULL, 0, **change), instance_of(FULL, 1)).drifts
    assert [(d.kind, d.field, d.desired, d.observed) for d in drifts] == [
        (DriftKind.CONFIG_DRIFT, field, desired, observed)
    ]


def test_what_git_does_not_speak_of_is_not_compared() -> None:
    wanted = service()
    seen = instance_of(wanted, memory=1, cpu=Decimal(3), env={"PATH": "/bin"}, ports=("9:9",))
    assert judged(wanted, seen).drifts == ()


def test_a_secret_is_compared_by_value_and_shown_by_none() -> None:
    wanted = service(env={"API_KEY": {"secret": "env:KEY"}})
    given_secret = comparing(services(wanted), secrets={"env:KEY": "right-value"})
    for value, drifts in (("right-value", 0), ("wrong-value", 1)):
        instance = instance_of(wanted, env={"API_KEY": value})
        seen = observation([ObservedService(wanted.target, (instance,))])
        comparison = compare(given_secret, seen, now=NOW)
        assert len(comparison.drifts) == drifts
        assert "-value" not in str(comparison)


@pytest.mark.parametrize(
    "noted",
    [
        {"managed_env": frozenset({"DSN"}), "secret_env": frozenset({"DSN"})},
        {"managed_env": frozenset()},  # somebody else has set it
    ],
)
def test_who_declares_plain_text_in_the_place_of_a_secret_is_not_told_it(
    noted: dict[str, Any],
) -> None:
    wanted = service(env={"DSN": "x"})
    (found,) = judged(wanted, instance_of(wanted, env={"DSN": "db-pass-1"}, **noted)).drifts
    assert (found.field, found.desired) == ("/env/DSN", "x")
    assert found.observed == "another value (not shown)"
    assert "db-pass-1" not in repr(found)


@pytest.mark.parametrize(("secret", "shown"), [(set(), True), ({"LEVEL"}, False)])
def test_what_was_set_after_git_was_carried_out_is_shown(secret: set[str], shown: bool) -> None:
    wanted = service(env={"LEVEL": "info"})
    noted: dict[str, Any] = {"managed_env": frozenset(secret), "secret_env": frozenset(secret)}
    instance = instance_of(wanted, env={"LEVEL": "debug"}, **noted)
    given_before = replace(comparing(services(wanted)), carried_out=wanted.target.__eq__)
    seen = observation([ObservedService(wanted.target, (instance,))])
    (found,) = compare(given_before, seen, now=NOW).drifts
    assert found.observed == ("debug" if shown else "another value (not shown)")


def test_a_secret_that_cannot_be_resolved_is_not_compared() -> None:
    wanted = service(env={"API_KEY": {"secret": "env:KEY"}})
    assert judged(wanted, instance_of(wanted, env={"API_KEY": "x"})).drifts == ()


def test_that_it_is_not_there_at_all_is_seen_whatever_it_should_be() -> None:
    wanted = service(env={"API_KEY": {"secret": "env:KEY"}})
    (found,) = judged(wanted, instance_of(wanted, env={})).drifts
    assert (found.field, found.desired, found.observed) == ("/env/API_KEY", "(secret)", "not set")


def test_ignored_differences_are_seen_by_nobody() -> None:
    wanted = service(replicas=3, env={"A": "1"}, ignoreDifferences=["/replicas", "/env"])
    assert judged(wanted, instance_of(wanted, env={"A": "2"})).drifts == ()


def test_replicas_that_are_too_few_are_a_scale_drift_and_none_are_missing() -> None:
    wanted = service(replicas=2)
    assert kinds(judged(wanted, instance_of(wanted))) == [DriftKind.SCALE_DRIFT]


def test_a_failed_probe_is_unhealthy_and_an_unknown_one_is_not() -> None:
    wanted = service(health={"http": {"port": 80}})
    for reading, expected in ((Reading.FAILED, [DriftKind.UNHEALTHY]), (Reading.UNKNOWN, [])):
        probe = ProbeReading(wanted.target, "market-predictor", reading, "503")
        assert kinds(judged(wanted, instance_of(wanted), probes=[probe])) == expected


def test_signals_of_an_instance_that_has_just_started_are_pending() -> None:
    wanted = service(health={"http": {"port": 80}}, alerts=[{"matchers": {"service": "x"}}])
    fresh = instance_of(wanted, started_at=NOW - timedelta(seconds=5))
    probe = ProbeReading(wanted.target, "market-predictor", Reading.FAILED, "refused")
    comparison = judged(wanted, fresh, probes=[probe], alerts=[alert(service="x")])
    assert comparison.incidents == ()
    assert {d.kind for d in comparison.pending} == {DriftKind.UNHEALTHY, DriftKind.ALERT_FIRING}


def test_engine_health_starting_is_progressing_and_only_unhealthy_is_a_drift() -> None:
    wanted = service()
    starting = judged(wanted, instance_of(wanted, health=EngineHealth.STARTING))
    assert starting.drifts == ()
    assert starting.states[wanted.target].health is HealthStatus.PROGRESSING
    sick = judged(wanted, instance_of(wanted, health=EngineHealth.UNHEALTHY))
    assert kinds(sick) == [DriftKind.UNHEALTHY]


def test_a_breached_metric_is_a_drift_and_an_absent_one_only_unknown() -> None:
    wanted = service(health={"metrics": [{"name": "up", "query": "up", "expect": "== 1"}]})
    failed = MetricReading(wanted.target, "up", Reading.FAILED, 0.0)
    absent = MetricReading(wanted.target, "up", Reading.UNKNOWN, detail="no sample")
    assert kinds(judged(wanted, instance_of(wanted), metrics=[failed])) == [DriftKind.METRIC_BREACH]
    comparison = judged(wanted, instance_of(wanted), metrics=[absent])
    assert comparison.drifts == ()
    assert comparison.states[wanted.target].health is HealthStatus.UNKNOWN


@pytest.mark.parametrize("probed", [True, False])
def test_metrics_and_alerts_know_whether_a_probe_could_say_otherwise(*, probed: bool) -> None:
    check = {"name": "up", "query": "up", "expect": "== 1"}
    health = {"metrics": [check]} | ({"http": {"port": 80, "path": "/"}} if probed else {})
    wanted = service(health=health, alerts=[{"matchers": {"service": "x"}}])
    failed = MetricReading(wanted.target, "up", Reading.FAILED, 0.0)
    drifts = judged(
        wanted, instance_of(wanted), metrics=[failed], alerts=[alert(service="x")]
    ).drifts
    assert [(d.kind, d.probed) for d in drifts] == [
        (DriftKind.METRIC_BREACH, probed),
        (DriftKind.ALERT_FIRING, probed),
    ]


def test_only_alerts_that_all_matchers_match_belong_to_a_service() -> None:
    wanted = service(alerts=[{"matchers": {"service": "market-predictor", "tier": "gold"}}])
    mine = alert(service="market-predictor", tier="gold")
    other = alert("Other", service="market-predictor")
    drifts = judged(wanted, instance_of(wanted), alerts=[mine, other]).drifts
    assert [d.field for d in drifts] == ["MarketPredictorDown"]


@pytest.mark.parametrize("state", [AlertState.SILENCED, AlertState.INHIBITED])
def test_a_suppressed_alert_is_no_drift(state: AlertState) -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    quiet = replace(alert(service="x"), state=state)
    assert judged(wanted, instance_of(wanted), alerts=[quiet]).drifts == ()


def _silence(*names: str) -> Silence:
    matchers = tuple(SilenceMatcher(n, "x", is_regex=False, is_equal=True) for n in names)
    return Silence("s1", matchers, NOW + timedelta(hours=1), "ann", "maintenance")


def test_a_silence_of_one_selector_of_two_holds_nothing() -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}, {"matchers": {"service": "y"}}])
    seen = observation(
        [ObservedService(wanted.target, (stopped(wanted),))], silences=[_silence("service")]
    )
    given_covers = comparing(services(wanted), covers=lambda _s, labels: labels == {"service": "x"})
    assert compare(given_covers, seen, now=NOW).incidents


@pytest.mark.parametrize(
    ("names", "holds"), [(("service",), True), (("service", "alertname"), False)]
)
def test_a_silence_of_the_whole_service_is_a_maintenance_window(
    names: tuple[str, ...], holds: bool
) -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    seen = observation(
        [ObservedService(wanted.target, (stopped(wanted),))], silences=[_silence(*names)]
    )
    given_covers = comparing(services(wanted), covers=lambda _s, labels: labels == {"service": "x"})
    comparison = compare(given_covers, seen, now=NOW)
    assert kinds(comparison) == [DriftKind.STOPPED]
    assert (comparison.incidents == ()) is holds


@pytest.mark.parametrize(("hours", "held"), [(1, True), (-1, False)])
def test_a_suspended_target_is_seen_and_left_alone_until_the_suspension_ends(
    hours: int, held: bool
) -> None:
    until = (NOW + timedelta(hours=hours)).isoformat()
    wanted = service(suspend={"reason": "migration", "until": until})
    comparison = judged(wanted, stopped(wanted))
    assert kinds(comparison) == [DriftKind.STOPPED]
    assert (comparison.incidents == ()) is held
    assert (comparison.states[wanted.target].health is HealthStatus.SUSPENDED) is held


def test_alerts_about_the_agent_are_dropped_and_told_apart() -> None:
    wanted = service(alerts=[{"matchers": {"service": "devops-ai-agent"}}])
    own = alert("DevOpsAIAgentDown", service="devops-ai-agent")
    comparison = judged(wanted, instance_of(wanted), alerts=[own])
    assert comparison.drifts == ()
    assert comparison.ignored_alerts == ("DevOpsAIAgentDown",)


def test_an_escalation_of_ours_is_not_taken_for_a_fault() -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    told = [alert("UICIEscalation", service=name) for name in ("x", "devops-ai-agent")]
    comparison = judged(wanted, instance_of(wanted), alerts=told)
    assert (comparison.drifts, comparison.own_alerts) == ((), ())


def test_an_engine_that_does_not_answer_makes_unknown_and_never_a_drift() -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    failure = SourceFailure(ENVIRONMENT, "engine", "connection refused")
    seen = observation(None, alerts=[alert(service="x")], failures=[failure])
    comparison = compare(comparing(services(wanted)), seen, now=NOW)
    assert comparison.drifts == ()
    state = comparison.states[wanted.target]
    assert (state.sync, state.health) == (Sync.UNKNOWN, HealthStatus.UNKNOWN)
    assert state.message == "connection refused"


def test_what_an_engine_cannot_tell_of_is_unknown_and_the_rest_is_not() -> None:
    shown, hidden = service("web"), service("nightly")
    seen = observation([as_declared(shown)], unseen={hidden.target: "cannot list cronjobs"})
    comparison = compare(comparing(services(shown, hidden)), seen, now=NOW)
    assert comparison.drifts == ()
    assert comparison.states[shown.target].sync is Sync.SYNCED
    state = comparison.states[hidden.target]
    assert (state.sync, state.message) == (Sync.UNKNOWN, "cannot list cronjobs")


def test_strays_are_reported_and_never_an_incident() -> None:
    wanted = service()
    seen = observation([as_declared(wanted)], orphans=[NativeObject("container", "c" * 64, "old")])
    comparison = compare(comparing(services(wanted)), seen, now=NOW)
    assert kinds(comparison) == [DriftKind.ORPHAN]
    assert comparison.incidents == ()


def _fleet(size: int, broken: int, kind: DriftKind) -> Comparison:
    fleet = [service(f"svc-{i}", health={"http": {"port": 80}}) for i in range(size)]
    observed, probes = [], []
    for i, wanted in enumerate(fleet):
        bad = i < broken
        stop = bad and kind is DriftKind.STOPPED
        instance = stopped(wanted) if stop else instance_of(wanted)
        observed.append(ObservedService(wanted.target, (instance,)))
        reading = Reading.FAILED if bad and not stop else Reading.PASSED
        probes.append(ProbeReading(wanted.target, instance.native.name, reading, "503"))
    return compare(comparing(services(*fleet)), observation(observed, probes=probes), now=NOW)


def test_the_breaker_opens_when_monitoring_alone_says_that_most_are_down() -> None:
    assert ENVIRONMENT in _fleet(10, 6, DriftKind.UNHEALTHY).breaker
    assert ENVIRONMENT not in _fleet(10, 5, DriftKind.UNHEALTHY).breaker
    assert ENVIRONMENT not in _fleet(4, 4, DriftKind.UNHEALTHY).breaker


def test_the_breaker_stays_closed_when_the_engine_itself_says_it() -> None:
    assert _fleet(10, 10, DriftKind.STOPPED).breaker == {}


def test_a_moment_needs_a_second_look_and_an_old_fault_does_not() -> None:
    wanted = service()
    second = timedelta(seconds=1)
    assert unconfirmed_for(judged(wanted).incidents[0], second, NOW) == second
    young = judged(wanted, stopped(wanted, ago=0.4)).incidents[0]
    assert unconfirmed_for(young, second, NOW) == timedelta(seconds=0.6)
    assert not unconfirmed_for(judged(wanted, stopped(wanted)).incidents[0], second, NOW)


def test_the_second_look_decides() -> None:
    first_service, other = service("a"), service("b")
    both = services(first_service, other)
    first = compare(
        comparing(both),
        observation([ObservedService(first_service.target), ObservedService(other.target)]),
        now=NOW,
    )
    again = replace(comparing(both), selected=(first_service.target,))
    second = compare(again, observation([as_declared(first_service)]), now=NOW)
    confirmed = confirm(first, second)
    assert [i.root for i in confirmed.incidents] == [other.target]
    assert confirmed.states[first_service.target].health is HealthStatus.HEALTHY
    assert confirmed.states[other.target].health is HealthStatus.MISSING


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("nginx", "docker.io/library/nginx:latest", True),
        ("acme/app:1", "docker.io/acme/app:1", True),
        ("localhost:5000/app", "localhost:5000/app:latest", True),
        ("nginx:1", "nginx:2", False),
        ("ghcr.io/acme/app:1", "acme/app:1", False),
        ("app@sha256:aa", "docker.io/library/app@sha256:aa", True),
    ],
)
def test_images_are_compared_by_meaning(first: str, second: str, same: bool) -> None:
    assert (normal_image(first) == normal_image(second)) is same


@given(
    replicas=st.integers(1, 4),
    env=st.dictionaries(st.text("ABC_", min_size=1, max_size=5), st.text(max_size=5), max_size=4),
    memory=st.integers(1, 4096),
    ports=st.lists(st.integers(1, 65535), unique=True, max_size=3),
)
def test_what_is_as_declared_never_drifts(
    replicas: int, env: dict[str, str], memory: int, ports: list[int]
) -> None:
    wanted = service(
        replicas=replicas,
        env=env,
        resources={"memory": f"{memory}Mi"},
        ports=[str(p) for p in ports],
    )
    comparison = compare(comparing(services(wanted)), observation([as_declared(wanted)]), now=NOW)
    assert comparison.drifts == ()


@given(
    st.lists(st.sampled_from(["image", "memory", "env", "stop", "remove"]), min_size=1, unique=True)
)
def test_any_damage_is_seen_and_its_repair_makes_the_comparison_empty(damage: list[str]) -> None:
    wanted = service(env={"A": "1"}, resources={"memory": "64Mi"})
    changes: dict[str, Any] = {}
    if "image" in damage:
        changes["image"] = "other:2"
    if "memory" in damage:
        changes["memory"] = 5
    if "env" in damage:
        changes["env"] = {"A": "2"}
    hurt = stopped(wanted, **changes) if "stop" in damage else instance_of(wanted, **changes)
    seen = () if "remove" in damage else (hurt,)
    assert judged(wanted, *seen).incidents
    assert judged(wanted, instance_of(wanted)).drifts == ()


def test_a_dependent_waits_while_what_it_needs_is_within_its_grace() -> None:
    needed = service("db", health={"http": {"port": 80}})
    dependent = service("web", dependsOn=["db"], health={"http": {"port": 80}})
    both = services(needed, dependent)
    fresh = instance_of(needed, started_at=NOW - timedelta(seconds=5))
    old = instance_of(dependent)
    probes = [
        ProbeReading(s.target, s.metadata.name, Reading.FAILED, "503") for s in (needed, dependent)
    ]
    engine = [ObservedService(needed.target, (fresh,)), ObservedService(dependent.target, (old,))]
    comparison = compare(comparing(both), observation(engine, probes=probes), now=NOW)
    assert comparison.incidents == ()
    state = comparison.states[dependent.target]
    assert (state.health, state.reason) == (HealthStatus.PROGRESSING, "WaitsForDependency")


def test_a_lagging_alert_of_a_dependent_is_pending_after_its_cause_was_started() -> None:
    needed = service("db")
    dependent = service("web", dependsOn=["db"], alerts=[{"matchers": {"service": "web"}}])
    both = services(needed, dependent)
    for ago, held in ((5, True), (600, False)):
        started = instance_of(needed, started_at=NOW - timedelta(seconds=ago))
        engine = [ObservedService(needed.target, (started,)), as_declared(dependent)]
        seen = observation(engine, alerts=[alert("WebDown", service="web")])
        comparison = compare(comparing(both), seen, now=NOW)
        assert (comparison.incidents == ()) is held


def test_a_dependents_own_fault_does_not_wait() -> None:
    needed, dependent = service("db"), service("web", dependsOn=["db"])
    started = instance_of(needed, started_at=NOW - timedelta(seconds=5))
    engine = [
        ObservedService(needed.target, (started,)),
        ObservedService(dependent.target, (instance_of(dependent, image="other:1"),)),
    ]
    comparison = compare(comparing(services(needed, dependent)), observation(engine), now=NOW)
    assert [i.root for i in comparison.incidents] == [dependent.target]


def test_dependents_of_a_dependency_under_maintenance_are_left_alone() -> None:
    needed = service("db", suspend={"reason": "migration"})
    dependent = service("web", dependsOn=["db"])
    engine = [
        ObservedService(needed.target, (stopped(needed),)),
        ObservedService(dependent.target, (stopped(dependent),)),
    ]
    comparison = compare(comparing(services(needed, dependent)), observation(engine), now=NOW)
    assert comparison.incidents == ()
    assert comparison.states[dependent.target].reason == "WaitsForDependency"


@pytest.mark.parametrize("ahead", [5, 600])
def test_an_alert_that_begins_in_the_future_by_its_own_clock_is_a_drift_now(ahead: float) -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    comparison = judged(wanted, instance_of(wanted), alerts=[alert(service="x", ago=-ahead)])
    assert kinds(comparison) == [DriftKind.ALERT_FIRING]
    assert comparison.pending == ()


def test_an_engine_whose_clock_is_ahead_does_not_put_off_a_repair_for_ever() -> None:
    wanted = service()
    given_grace = comparing(services(wanted), settings=compare_settings(stopped=2))
    for ahead, pending in ((1, True), (600, False)):
        seen = observation([ObservedService(wanted.target, (stopped(wanted, ago=-ahead),))])
        assert bool(compare(given_grace, seen, now=NOW).pending) is pending


def test_a_moment_that_lies_ahead_is_confirmed_no_later_than_one_of_now() -> None:
    wanted = service(alerts=[{"matchers": {"service": "x"}}])
    (found,) = judged(wanted, instance_of(wanted), alerts=[alert(service="x", ago=0)]).incidents
    (drift,) = found.drifts
    ahead = replace(found, drifts=(replace(drift, since=NOW + timedelta(hours=1)),))
    second = timedelta(seconds=1)
    assert unconfirmed_for(ahead, second, NOW) == second


@pytest.mark.parametrize(("ago", "waits"), [(5, True), (61, False)])
def test_signals_lag_behind_a_repair_that_started_nothing(ago: float, waits: bool) -> None:
    wanted = service(health={"metrics": [{"name": "up", "query": "up", "expect": "== 1"}]})
    breached = MetricReading(wanted.target, "up", Reading.FAILED, value=0)
    seen = observation([as_declared(wanted)], metrics=[breached])
    given_repair = replace(
        comparing(services(wanted)), repaired={wanted.target: NOW - timedelta(seconds=ago)}
    )
    comparison = compare(given_repair, seen, now=NOW)
    assert bool(comparison.pending) is waits
    assert bool(comparison.incidents) is not waits
