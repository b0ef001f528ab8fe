"""The guard's rules, in the order in which they are asked. Each can only stop a step.

A rule is a function from a step under judgement to the reason to deny it, or None. Names
are an interface (reports, metrics, docs/how-to/guard.md): they stay.
"""

from __future__ import annotations

import re
from datetime import datetime

from flows.guarding.bounds import restores_desired_state
from flows.guarding.frequency import (
    attempts_left,
    cooled_down,
    replicas_left,
    within_blast_radius,
)
from flows.guarding.verdict import Rule, Subject
from flows.guarding.windows import Closed, standing
from flows.plan import PlannerKind
from infrastructure.errors import UiciError
from infrastructure.operations import OperationCall
from infrastructure.quantities import format_duration
from infrastructure.service import Mode, Overrun

# ── for every step, reads included ──────────────────────────────────────────────


def _in_desired_state(subject: Subject) -> str | None:
    target = subject.step.target
    if target not in subject.given.services or target not in subject.given.policies:
        return f"{target} is not in desired state"
    left = target in subject.given.orphans
    if _prunes(subject) and not left:
        return f"{target} is in desired state, and {subject.step.operation} is for what left it"
    if left and not _prunes(subject):
        return f"{target} is not in desired state: it may be removed, and nothing else"
    return None


def _prunes(subject: Subject) -> bool:
    try:
        return subject.operation.prunes
    except UiciError:  # no such operation, as another rule says
        return False


def _in_incident(subject: Subject) -> str | None:
    if subject.step.target not in subject.incident.targets:
        return f"{subject.step.target} is not part of this incident"
    return None


def _not_the_agent(subject: Subject) -> str | None:
    identity, step = subject.given.identity, subject.step
    name = step.target.partition("/")[2]
    if identity.protects_name(name):
        return f"{name} is the agent itself or something it lives on"
    for native in subject.given.natives.get(step.target, ()):
        reason = identity.reason(native)
        if reason is not None:
            return f"{native.kind} {native.name} is protected: {reason}"
    return None


def _capable(subject: Subject) -> str | None:
    environment = subject.environment
    if subject.step.operation not in subject.given.capabilities(environment):
        return f"{environment} has no operation {subject.step.operation}"
    step = subject.step
    refusal = subject.given.refusal(OperationCall(step.operation, step.target, step.parameters))
    return None if refusal is None else f"{step.target} can't do {step.operation}: {refusal}"


def _fits_schema(subject: Subject) -> str | None:
    try:
        subject.given.catalogue.validate(subject.step.operation, subject.step.parameters)
    except UiciError as exc:
        return str(exc)
    return None


# ── for steps that change the world ─────────────────────────────────────────────


def _not_paused(subject: Subject) -> str | None:
    return subject.given.paused.get(subject.environment)


def _knows_itself(subject: Subject) -> str | None:
    return subject.given.blind.get(subject.environment)


def _may_be_pruned(subject: Subject) -> str | None:
    return subject.given.orphans.get(subject.step.target)


def _breaker_closed(subject: Subject) -> str | None:
    return subject.given.breaker.get(subject.environment)


def _not_held(subject: Subject) -> str | None:
    return subject.given.held.get(subject.step.target)


def _mode_enforces(subject: Subject) -> str | None:
    mode = subject.policy.mode
    return None if mode is Mode.ENFORCE else f"the target's mode is {mode.value}, not enforce"


def _sure_enough(subject: Subject) -> str | None:
    """What a model proposes without being sure of it is left to the next planner."""
    plan, wanted = subject.plan, subject.given.min_confidence
    if plan.planner is not PlannerKind.LLM or plan.confidence >= wanted:
        return None
    return (
        f"the model is {plan.confidence:.0%} sure of its plan, guard.minConfidence is {wanted:.0%}"
    )


def _not_frozen(subject: Subject) -> str | None:
    state = standing(subject.policy, subject.given.now)
    return str(state) if isinstance(state, Closed) and state.frozen else None


def _window_open(subject: Subject) -> str | None:
    """Open now, and long enough for this step and those before it unless it may overrun."""
    state = standing(subject.policy, subject.given.now)
    if isinstance(state, Closed):
        return None if state.frozen else str(state)
    if state.until is None or subject.policy.overrun is Overrun.FINISH:
        return None
    needs, left = subject.before + subject.operation.timeout, state.until - subject.given.now
    if needs <= left:
        return None
    return (
        f"its window closes in {format_duration(left)} and the plan may take"
        f" {format_duration(needs)} up to here: nothing is begun that may not end in time"
    )


def begin_by(subject: Subject) -> datetime | None:
    """After which moment an allowed step is not to be begun; None: at any time."""
    state = standing(subject.policy, subject.given.now)
    if isinstance(state, Closed) or state.until is None:
        return None
    if subject.policy.overrun is Overrun.STOP:
        return state.until - subject.operation.timeout
    return state.until if subject.position == 0 else None


_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _stays_inside(subject: Subject) -> str | None:
    """A command in a neighbour is no way to the engine, nor to the agent."""
    words, given = subject.operation.runs, subject.given
    if words is None:
        return None
    access = given.engine_access.get(subject.step.target)
    if access is not None:
        return f"{subject.step.target} holds its engine ({access}), and so the agent"
    said = [str(word) for word in subject.step.parameters.get(words) or ()]
    for name in (found for word in said for found in _WORD.findall(word)):
        if given.identity.protects_name(name) or given.identity.protects_id(name):
            return f"the command speaks of {name}, the agent or something it lives on"
    return None


IDENTITY_RULES: tuple[tuple[str, Rule], ...] = (
    ("in-desired-state", _in_desired_state),
    ("in-incident", _in_incident),
    ("self-exclusion", _not_the_agent),
    ("capability", _capable),
    ("schema", _fits_schema),
)
CHANGE_RULES: tuple[tuple[str, Rule], ...] = (
    ("paused", _not_paused),
    ("unknown-identity", _knows_itself),
    ("prune", _may_be_pruned),
    ("breaker", _breaker_closed),
    ("held", _not_held),
    ("mode", _mode_enforces),
    ("confidence", _sure_enough),
    ("freeze", _not_frozen),
    ("window", _window_open),
    ("attempts", attempts_left),
    ("cool-down", cooled_down),
    ("blast-radius", within_blast_radius),
    ("replica-share", replicas_left),
    ("reaches-agent", _stays_inside),
    ("desired-state-bounds", restores_desired_state),
)

# Denials that end by themselves; the next run tries again without telling anybody.
PASSING_RULES = frozenset(
    {
        "paused",
        "freeze",
        "window",
        "cool-down",
        "blast-radius",
        "held",
        "breaker",
        "mode",
        "attempts",
    }
)
