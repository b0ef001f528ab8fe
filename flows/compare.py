"""Stage 2, compare: desired state × observation → drifts, states, incidents.

Pure: values in, values out; `now` is an argument. The judgement of one target is in
`flows.comparison.target_judgement`, the grouping in `flows.comparison.incidents`. Next stage: plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flows.comparison.drift import Drift, Incident, TargetState
from flows.comparison.incidents import group, unsettled_cause
from flows.comparison.target_judgement import (
    TargetFacts,
    TargetJudgement,
    judge_target,
    waiting,
)
from flows.observe import EnvironmentObservation, Observation
from infrastructure.config_models import BreakerSettings, CompareSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.identity import AgentIdentity
from infrastructure.observed import Alert, AlertState, Silence, empty
from infrastructure.operations import ESCALATION_ALERT
from infrastructure.service import Service

# Kinds that rest on monitoring's word alone; the engine's own word is not doubted.
_MONITORED = frozenset({DriftKind.UNHEALTHY, DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING})


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of the stage.

    `incidents` are to be planned. `pending` are drifts within grace: not acted upon yet.
    Drifts of held targets are in `drifts` and in no incident. `breaker` tells, by
    environment, why nothing may be done there.
    """

    states: Mapping[str, TargetState]
    drifts: tuple[Drift, ...]
    pending: tuple[Drift, ...]
    incidents: tuple[Incident, ...]
    own_alerts: tuple[Alert, ...] = ()  # about the agent itself: never acted upon
    breaker: Mapping[str, str] = field(default_factory=empty)

    @property
    def ignored_alerts(self) -> tuple[str, ...]:
        """Names of the alerts about the agent itself."""
        return tuple(alert.name for alert in self.own_alerts)


@dataclass(frozen=True, slots=True)
class CompareInput:
    """What the stage works on, beside the observation.

    `services` is the whole desired state, `selected` the targets of this run. `secrets`:
    reference → value; `lacking`: reference → why it has none. `covers`
    is Alertmanager's matching of a silence against labels. `first_seen`: when earlier
    runs first saw a drift that nobody dates, by `Drift.key`. `repaired`: when a target was
    last verified as repaired, by an earlier run. `carried_out`: whether a target was in sync
    with its present spec before: then another value came after it, and is no secret of before.
    """

    services: Mapping[str, Service]
    selected: Collection[str]
    settings: CompareSettings
    identity: AgentIdentity
    secrets: Mapping[str, str]
    covers: Callable[[Silence, Mapping[str, str]], bool]
    first_seen: Mapping[str, datetime] = field(default_factory=empty)
    repaired: Mapping[str, datetime] = field(default_factory=empty)
    carried_out: Callable[[str], bool] = lambda _: False
    lacking: Mapping[str, str] = field(default_factory=empty)


def compare(given: CompareInput, observation: Observation, *, now: datetime) -> Comparison:
    """Judge every selected target, then what only the whole can tell."""
    facts = _facts(given, observation)
    judged = {
        target: judge_target(
            given.services[target],
            facts[target],
            settings=given.settings,
            secrets=given.secrets,
            now=now,
            first_seen=given.first_seen,
            repaired=given.repaired.get(target),
            carried_out=given.carried_out,
            lacking=given.lacking,
        )
        for target in sorted(given.selected)
    }
    settled = [_settled(each, judged, given.services) for each in judged.values()]
    states = {each.state.target: each.state for each in settled}
    drifts = [drift for each in settled for drift in each.drifts]
    pending = [drift for each in settled for drift in each.pending]
    drifts.extend(_orphans(observation))
    actionable = [d for d in drifts if d.target in states and states[d.target].held is None]
    breaker = _breaker(actionable, given, states)
    return Comparison(
        states=states,
        drifts=tuple(drifts),
        pending=tuple(pending),
        incidents=group(actionable, given.services, given.lacking),
        own_alerts=tuple(_own_alerts(given.identity, observation)),
        breaker=breaker,
    )


def _settled(
    judged: TargetJudgement,
    everything: Mapping[str, TargetJudgement],
    services: Mapping[str, Service],
) -> TargetJudgement:
    cause = unsettled_cause(judged, everything, services)
    return judged if cause is None else waiting(judged, cause)


def unconfirmed_for(incident: Incident, confirm_after: timedelta, now: datetime) -> timedelta:
    """How long until an incident may be believed; zero: it rests on more than a moment.

    A drift without a known age has to be there for all of `confirm_after` from now on,
    one that the engine or the alert has dated for what is left of it. Their clocks may be
    ahead of ours: that makes nobody wait longer.
    """
    ages = [now - d.since if d.since is not None else timedelta(0) for d in incident.drifts]
    return max(timedelta(0), confirm_after - max(timedelta(0), min(ages)))


def confirm(first: Comparison, second: Comparison) -> Comparison:
    """What both looks agree upon; `second` looked only at the targets in doubt.

    A target that was looked at twice has the state and drifts of the second look; an
    incident on it stays only if the second look has one on the same root.
    """
    again = second.states
    order = {incident.root: number for number, incident in enumerate(first.incidents)}
    kept = [d for d in first.drifts if d.target not in again]
    unsure = order.keys() & again.keys()
    incidents = [i for i in first.incidents if i.root not in unsure]
    incidents += [i for i in second.incidents if i.root in unsure]
    return replace(
        first,
        states={**first.states, **again},
        drifts=(*kept, *(d for d in second.drifts if d.kind is not DriftKind.ORPHAN)),
        pending=(*(d for d in first.pending if d.target not in again), *second.pending),
        incidents=tuple(sorted(incidents, key=lambda incident: order[incident.root])),
    )


def _facts(given: CompareInput, observation: Observation) -> dict[str, TargetFacts]:
    facts: dict[str, TargetFacts] = {}
    by_environment: dict[str, list[Service]] = defaultdict(list)
    for target in given.selected:
        service = given.services[target]
        by_environment[service.metadata.environment].append(service)
    for name, services in by_environment.items():
        seen = observation.environments.get(name)
        if seen is None or seen.engine is None:
            error = _engine_error(seen)
            facts.update({s.target: TargetFacts(None, engine_error=error) for s in services})
        else:
            facts.update(_environment_facts(given, services, seen))
    return facts


def _engine_error(seen: EnvironmentObservation | None) -> str:
    failures = seen.failures if seen is not None else ()
    return next((f.error for f in failures if f.source == "engine"), "")


def _environment_facts(
    given: CompareInput, services: Iterable[Service], seen: EnvironmentObservation
) -> Iterator[tuple[str, TargetFacts]]:
    assert seen.engine is not None  # noqa: S101  # the caller has dealt with an engine that is silent
    probes, metrics = defaultdict(list), defaultdict(list)
    for probe in seen.probes:
        probes[probe.target].append(probe)
    for metric in seen.metrics:
        metrics[metric.target].append(metric)
    alerts = _AlertIndex(
        alert
        for alert in seen.alerts or ()
        if alert.name != ESCALATION_ALERT and not given.identity.owns_alert(alert.labels)
    )
    for service in services:
        target = service.target
        yield (
            target,
            TargetFacts(
                engine=seen.engine.services.get(target),
                engine_error=seen.engine.unseen.get(target, "the engine told nothing about it"),
                probes=tuple(probes[target]),
                metrics=tuple(metrics[target]),
                alerts=alerts.of(service),
                silence=_silence(given, service, seen.silences or ()),
            ),
        )


class _AlertIndex:
    """Alerts by label pair, so that a thousand services and alerts do not multiply."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._by_label: dict[tuple[str, str], list[Alert]] = defaultdict(list)
        for alert in alerts:
            for pair in alert.labels.items():
                self._by_label[pair].append(alert)

    def of(self, service: Service) -> tuple[Alert, ...]:
        """Alerts that one of the service's selectors matches, each once."""
        found: dict[str, Alert] = {}
        for selector in service.spec.alerts:
            wanted = selector.matchers.items()
            candidates = min((self._by_label.get(pair, []) for pair in wanted), key=len)
            for alert in candidates:
                if wanted <= alert.labels.items():
                    found[alert.fingerprint] = alert
        return tuple(found.values())


def _silence(
    given: CompareInput, service: Service, silences: tuple[Silence, ...]
) -> Silence | None:
    """A silence that covers all alerts of the service: a person's maintenance window.

    One that names an alert, or any label that the service's selectors do not have,
    covers only that alert; Alertmanager marks the alert itself then.
    """
    selectors = service.spec.alerts
    for silence in silences:
        named = {matcher.name for matcher in silence.matchers}
        if selectors and all(
            named <= selector.matchers.keys() and given.covers(silence, selector.matchers)
            for selector in selectors
        ):
            return silence
    return None


def _orphans(observation: Observation) -> Iterator[Drift]:
    for name, seen in sorted(observation.environments.items()):
        for native in seen.engine.orphans if seen.engine else ():
            yield Drift(
                f"{name}/{native.name}",
                DriftKind.ORPHAN,
                desired="not declared",
                observed=f"{native.kind} exists",
                message=f"{native.kind} {native.name} is labelled as UICI's and not declared",
                instance=native.name,
            )


def _own_alerts(identity: AgentIdentity, observation: Observation) -> Iterator[Alert]:
    seen: set[str] = set()
    for environment in observation.environments.values():
        for alert in environment.alerts or ():
            told_by_us = alert.name == ESCALATION_ALERT
            if told_by_us or alert.fingerprint in seen or alert.state is not AlertState.ACTIVE:
                continue
            if identity.owns_alert(alert.labels):
                seen.add(alert.fingerprint)
                yield alert


def _breaker(
    drifts: Iterable[Drift], given: CompareInput, states: Mapping[str, TargetState]
) -> dict[str, str]:
    settings: BreakerSettings = given.settings.breaker
    total: dict[str, int] = defaultdict(int)
    for target in states:
        total[given.services[target].metadata.environment] += 1
    engine_says = {d.target for d in drifts if d.kind not in _MONITORED}
    doubtful: dict[str, set[str]] = defaultdict(set)
    for drift in drifts:
        if drift.kind in _MONITORED and drift.target not in engine_says:
            doubtful[given.services[drift.target].metadata.environment].add(drift.target)
    return {
        name: f"{len(targets)} of {total[name]} targets are unwell by monitoring's word alone: "
        "monitoring is more likely broken than all of them"
        for name, targets in doubtful.items()
        if total[name] >= settings.minimum and len(targets) / total[name] >= settings.share
    }


__all__ = ["CompareInput", "Comparison", "TargetJudgement", "compare", "confirm", "unconfirmed_for"]
