"""How often and how much: attempts, back-off, cool-down, blast radius. Rules of the guard.

What happened before this run is read from the statuses in Git: a restart of the agent
forgets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from flows.guarding.verdict import Acted, GuardInput, Subject
from flows.reporting.status import Attempts, TargetStatus
from infrastructure.config_models import BlastRadius, EnvironmentBlastRadius, Policy
from infrastructure.errors import UiciError
from infrastructure.operations import OperationCall, Risk
from infrastructure.quantities import format_duration
from infrastructure.service import Service

_SKEW = timedelta(minutes=5)  # between the clocks of agents
_HOUR = timedelta(hours=1)


def acted_before(statuses: Mapping[str, TargetStatus]) -> dict[str, tuple[Acted, ...]]:
    """What was done to each target, as far as its status remembers; oldest first.

    An attempt of which no incident tells (its run died) counts as an unknown operation.
    """
    found: dict[str, tuple[Acted, ...]] = {}
    for target, status in statuses.items():
        acted = {Acted(p.at, step.operation) for p in status.history for step in p.steps}
        tried = status.attempts.tried if status.attempts else ()
        acted |= {Acted(p.at, step.operation) for p in tried for step in p.steps}
        last = status.attempts.last_at if status.attempts else None
        if last is not None and not any(each.at >= last for each in acted):
            acted.add(Acted(last, ""))
        if acted:
            found[target] = tuple(sorted(acted, key=lambda each: (each.at, each.operation)))
    return found


def attempts_left(subject: Subject) -> str | None:
    """See `attempts_gate`."""
    return attempts_gate(
        subject.service,
        subject.policy,
        subject.given.attempts.get(subject.step.target),
        subject.given.now,
    )


def attempts_gate(
    service: Service, policy: Policy, attempts: Attempts | None, now: datetime
) -> str | None:
    """Why a target may not be tried now: its attempts are spent, or its back-off runs."""
    if policy.max_attempts == 0:
        return "no attempts are allowed"
    if attempts is None or attempts.spec_digest != service.spec_digest:
        return None
    if attempts.count >= policy.max_attempts:
        return f"{attempts.count} of {policy.max_attempts} attempts have failed"
    # An attempt that lies ahead was made by a clock that was set back since: how long ago it
    # was is not known, and years of back-off would need a person.
    if now < attempts.not_before and attempts.last_at <= now + _SKEW:
        return f"backing off until {attempts.not_before.isoformat(timespec='seconds')}"
    return None


def cooled_down(subject: Subject) -> str | None:
    """The same operation rests on the same target after it was done there.

    What lies ahead was done by a clock that was set back since, as in `attempts_gate`.
    """
    given, rest = subject.given, subject.policy.cool_down
    done = [
        each.at
        for each in given.acted.get(subject.step.target, ())
        if each.operation in (subject.step.operation, "") and each.at <= given.now + _SKEW
    ]
    if not done or given.now >= max(done) + rest:
        return None
    again = (max(done) + rest).isoformat(timespec="seconds")
    return f"{subject.step.operation} rests for {format_duration(rest)} here, until {again}"


def within_blast_radius(subject: Subject) -> str | None:
    """Of a run, of an hour, and of each of them in the target's environment."""
    given, limits = subject.given, subject.given.blast_radius
    if subject.position >= limits.steps_per_incident:
        return f"the plan has more than {limits.steps_per_incident} steps"
    everywhere = _beyond(subject, limits, given.used_targets, given.used_steps, "")
    if everywhere is not None:
        return everywhere
    environment = subject.environment
    own = given.environment_blast.get(environment)
    if own is None:
        return None
    used = frozenset(t for t in given.used_targets if _is_in(t, environment))
    steps = given.used_steps_in.get(environment, 0)
    return _beyond(subject, own, used, steps, environment)


def _beyond(
    subject: Subject,
    limits: BlastRadius | EnvironmentBlastRadius,
    used_targets: frozenset[str],
    used_steps: int,
    environment: str,
) -> str | None:
    """The limit that this step would pass. `environment` empty: all of them count."""
    where = f" in {environment}" if environment else ""
    targets, steps = used_targets | {subject.step.target}, used_steps + subject.position
    if limits.targets_per_run is not None and len(targets) > limits.targets_per_run:
        return f"this run has reached {limits.targets_per_run} targets{where}, its limit"
    if limits.steps_per_run is not None and steps >= limits.steps_per_run:
        return f"this run has reached {limits.steps_per_run} steps{where}, its limit"
    lately = _lately(subject.given, environment)
    targets |= lately.keys()
    if limits.targets_per_hour is not None and len(targets) > limits.targets_per_hour:
        return f"{limits.targets_per_hour} targets{where} were changed within an hour, the limit"
    steps += sum(lately.values())
    if limits.steps_per_hour is not None and steps >= limits.steps_per_hour:
        return f"{limits.steps_per_hour} steps{where} were made within an hour, the limit"
    return None


def _lately(given: GuardInput, environment: str) -> dict[str, int]:
    """Target → changing steps of the last hour; a moment in the future counts, too."""
    return {
        target: count
        for target, acted in given.acted.items()
        if (not environment or _is_in(target, environment))
        and (count := _changes(given, (a for a in acted if a.at > given.now - _HOUR)))
    }


def _changes(given: GuardInput, acted: Iterable[Acted]) -> int:
    return sum(_changing(given, each.operation) for each in acted)


def _changing(given: GuardInput, operation: str) -> bool:
    """Whether an operation changes something; one that nobody knows may have."""
    try:
        return given.catalogue.get(operation).risk is not Risk.READ
    except UiciError:
        return True


def _is_in(target: str, environment: str) -> bool:
    return target.partition("/")[0] == environment


def replicas_left(subject: Subject) -> str | None:
    """Replicas that are up stay up where the operation has a way to go one by one."""
    share, step, operation = subject.policy.replica_share, subject.step, subject.operation
    replicas, at_once = subject.service.spec.replicas, operation.all_at_once
    if share >= 1 or replicas <= 1 or at_once is None:
        return None
    given = subject.given
    value = given.catalogue.validate(step.operation, step.parameters).get(at_once.parameter)
    if value not in at_once.values:
        return None
    instead = {**step.parameters, at_once.parameter: at_once.instead}
    if given.refusal(OperationCall(step.operation, step.target, instead)) is not None:
        return None  # this target can't, and its engine says so
    return (
        f"it takes down all {replicas} replicas at once, and {share:.0%} are allowed:"
        f" use {at_once.parameter}={at_once.instead}"
    )
