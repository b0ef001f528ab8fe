"""Similar incidents of the past: what worked and what did not. Pure.

From the target's own status, and from what was learned about classes of incidents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from flows.comparison.drift import Incident
from flows.learning.relapse import by_itself
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import PastIncident, Step, TargetStatus, TriedPlan

# An incident and the names of its error patterns → what is known of its class, in sentences.
Learned = Callable[[Incident, Sequence[str]], Sequence[str]]

# Any other result (interrupted, unknown, held) tells nothing about the plan.
_VERDICTS: Mapping[str, str] = {
    IncidentResult.RECOVERED: "worked",
    IncidentResult.FAILED: "did not help",
}


def nothing_learned(incident: Incident, patterns: Sequence[str]) -> Sequence[str]:
    """For a world without knowledge."""
    del incident, patterns
    return ()


def tried(incident: Incident, status: TargetStatus | None, spec_digest: str) -> Iterator[str]:
    """Plans that did not help since the desired state became what it is, newest first."""
    attempts = status.attempts if status is not None else None
    if attempts is None or attempts.spec_digest != spec_digest:
        return
    for plan in reversed(attempts.tried):
        yield f"{incident.root}: {_tried(plan)}"


def _tried(plan: TriedPlan) -> str:
    names = ", ".join(dict.fromkeys(step.operation for step in plan.steps))
    why = plan.result.removeprefix(f"{names}: did not help").removeprefix(": ")
    return (
        f"tried on this desired state at {plan.at:%Y-%m-%d %H:%M} and did not help: "
        f"{_steps(plan.steps)} (by {plan.planner}{': ' if why else ''}{why})"
    )


def similar(
    incident: Incident,
    status: TargetStatus | None,
    *,
    patterns: Collection[str],
    spec_digest: str,
    limit: int,
) -> list[str]:
    """Earlier incidents of the same target, the likest first, then the newest.

    A fault came back where it is of the same kinds and patterns on the same spec.
    """
    history = status.history if status is not None else ()
    kinds = {drift.kind.value for drift in incident.drifts if drift.target == incident.root}

    def likeness(past: PastIncident) -> int:
        return 2 * len(kinds & set(past.kinds)) + len(set(patterns) & set(past.patterns))

    alike = [past for past in history if likeness(past)]
    alike.sort(key=lambda past: past.at, reverse=True)
    alike.sort(key=likeness, reverse=True)  # stable: the newest stay first
    own = by_itself(incident)

    def returned(past: PastIncident) -> bool:
        now = (
            own
            and past.spec_digest == spec_digest
            and set(past.kinds) <= kinds
            and set(past.patterns) == set(patterns)
        )
        return past.by_itself and (now or any(_again(past, later) for later in history))

    return [f"{incident.root}: {_told(past, returned=returned(past))}" for past in alike[:limit]]


def _again(past: PastIncident, later: PastIncident) -> bool:
    """Whether a fault of the service's own came back on the same spec."""
    same = (past.incident_class, past.spec_digest) == (later.incident_class, later.spec_digest)
    return later.by_itself and later.at > past.at and same


def _told(past: PastIncident, *, returned: bool) -> str:
    what = ", ".join((*past.kinds, *past.patterns))
    ended = f"{past.result} in {past.seconds:.0f} s" if past.seconds is not None else past.result
    verdict = _VERDICTS.get(past.result, "whether it helped is not known")
    if returned and past.result == IncidentResult.RECOVERED:
        verdict = "worked for a while only, the fault came back"
    return f"{past.at:%Y-%m-%d %H:%M} {what}: {_steps(past.steps)} {verdict} ({ended})"


def _steps(steps: Sequence[Step]) -> str:
    return ", ".join(map(_step, steps)) or "nothing"


def _step(step: Step) -> str:
    words = ", ".join(f"{name}={step.parameters[name]}" for name in sorted(step.parameters))
    return f"{step.operation}({words})" if words else step.operation
