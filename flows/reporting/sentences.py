"""The sentences about an incident: what was done about it, what came of it, what is left.

A person on call reads them first, so they say no more than is known: nothing is called
settled while something is broken, unseen or not looked at again. Pure. Neighbours:
`flows.reporting.wrong` (what was wrong), `flows.reporting.ending` (the whole run),
`flows.reporting.markdown` (the page), `flows.report` (commit messages).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from flows.escalation import ESCALATE
from flows.guard import Decision, Verdict
from flows.plan import Plan, PlannerKind
from flows.reporting.asked_people import approvers, request_of
from flows.reporting.text import (
    Redact,
    begins_known,
    begun,
    changing,
    fault_seconds,
    first_words,
    plain,
    seconds,
    short_name,
)
from flows.reporting.values import IncidentReport, IncidentResult
from flows.reporting.wrong import by_hand, wrong
from flows.verify import CheckState
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome

_NAMES = 3
_REASON = 140
_NO_LLM = "no LLM configured"

NEEDED = "a person is needed"
TELL = ESCALATE
_MODEL_SAYS = "the model says"
_RESULT_WORDS = {
    IncidentResult.RECOVERED: "recovered",
    IncidentResult.FAILED: "not recovered",
    IncidentResult.WAITING: "waiting",
    IncidentResult.HELD: "held",
    IncidentResult.ESCALATED: "people told",
    IncidentResult.UNKNOWN: "outcome unknown",
    IncidentResult.NOTHING_TO_DO: "left alone: the model sees nothing to do",
    IncidentResult.INTERRUPTED: "interrupted",
}
# What a person has to know first stands first.
_WORST_FIRST = (
    IncidentResult.ESCALATED,
    IncidentResult.UNKNOWN,
    IncidentResult.WAITING,
    IncidentResult.FAILED,
    IncidentResult.HELD,
    IncidentResult.INTERRUPTED,
    IncidentResult.NOTHING_TO_DO,
    IncidentResult.RECOVERED,
)
_RISK = re.compile(r"\brisk ([a-z]+)\b")
_ALLOWED = re.compile(r"risk ([a-z]+) runs alone up to ([a-z]+)")


def done(report: IncidentReport) -> str:
    """What was done: the operations that were begun, without mere reads unless alone.

    Telling people is none: how it ended says that they were told.
    """
    outcomes = changing(report) or begun(report)
    names = dict.fromkeys(o.call.operation for o in outcomes)
    acted = [name for name in names if name != TELL]
    return ", ".join(acted) or ("" if names else "nothing done")


def came_of_it(report: IncidentReport, short: Redact = str) -> str:
    """How it ended; the time since the fault only where its beginning is known.

    Args:
        report: of the incident.
        short: makes the reason why it failed, of any length, short; a reason that was redacted
            first, because half a secret is not recognised.
    """
    words, why = outcome_words(report), _why(report)
    if why:
        words += f": {short(without_target(why, report.incident.root))}"
    if report.result is IncidentResult.ESCALATED:
        return words + nobody_alerted(report)
    took = fault_seconds(report)
    if took is not None and begins_known(report):
        words += f" in {seconds(took)}"
    elif took is not None:
        words += f", the repair took {seconds(took)}"
    return words + ("" if why else _sick_words(report, short))


def outcome_words(report: IncidentReport) -> str:
    """How it ended, and not why."""
    if report.result is IncidentResult.WAITING and needs_approval(report):
        return "not allowed alone"
    if report.result is IncidentResult.ESCALATED and report.not_sent:
        return NEEDED
    return "denied" if _denied(report) else _RESULT_WORDS[report.result]


def _denied(report: IncidentReport) -> bool:
    """Whether the guard has refused what a person asked for."""
    return by_hand(report) and any(v.decision is Decision.DENIED for v in report.verdicts)


def _why(report: IncidentReport) -> str:
    """Why it ended so, where that is the news."""
    if report.result is IncidentResult.ESCALATED:
        return _why_told(report)
    failed = report.result is IncidentResult.FAILED and not _denied(report)
    return _why_failed(report) if failed else ""


def nobody_alerted(report: IncidentReport) -> str:
    """What follows on the fault: that nobody was sent word of it, and why; empty: somebody was."""
    return f"; nobody was alerted ({report.not_sent})" if report.not_sent else ""


def _sick_words(report: IncidentReport, short: Redact) -> str:
    """Those that the fault has hit, too, and that nothing was done about yet."""
    sick = list(not_well(report).items())
    if not sick:
        return ""
    (name, how), first = sick[0], f"{short_name(report.incident.root)} was repaired first"
    if len(sick) > 1:
        return f"; {names([each for each, _ in sick])} not well yet ({first})"
    how = how.removeprefix(f"{name} is ").removeprefix(f"{name}: ")
    return f"; {name} not well yet: {short(how)} ({first})"


def _why_told(report: IncidentReport) -> str:
    """Why only a person can go on."""
    if any(v.decision is Decision.DENIED for v in report.verdicts):
        return report.summary
    return diagnosis_words(report.plan)


def _why_failed(report: IncidentReport) -> str:
    """What the engine said to the operation, else which check still fails."""
    if report.execution is None or only_tells(report):
        return report.summary
    error = next((error_words(o) for o in report.execution.outcomes if o.error), "")
    checks = report.verification.checks if report.verification else ()
    failed = (f"{c.name}: {c.detail}" for c in checks if c.state is CheckState.FAILED)
    return error or next(failed, "")


def error_words(outcome: OperationOutcome) -> str:
    """Its error, without saying again what was done to what."""
    call = outcome.call
    return outcome.error.removeprefix(f"{call.operation} {call.target}: ")


def not_well(report: IncidentReport) -> Mapping[str, str]:
    """Short names of those that the root's fault has hit and that are still sick, and how."""
    checks = report.verification.checks if report.verification else ()
    return {
        short_name(check.target): check.detail
        for check in checks
        if check.name == "dependent" and check.state is not CheckState.PASSED
    }


def headline(report: IncidentReport, redact: Redact) -> str:
    """`market-predictor: stopped (exit 137) → start → recovered in 1.2 s`; never cut."""
    name = short_name(report.incident.root)
    others = [short_name(target) for target in report.incident.targets[1:]]
    if others:
        name += f" (also hit: {names(others)})"
    acted = done(report)
    acted += f" (approved by {names(by)})" if acted and (by := approvers(report)) else ""
    way = f"{wrong(report, redact)} → {acted}" if acted else wrong(report, redact)

    def short(reason: str) -> str:
        return first_words(redact(reason), _REASON).rstrip(".")

    text = redact(f"{name}: {way} → {came_of_it(report, short)}")
    return plain(text, len(text) or 1)


def names(found: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" +{len(found) - _NAMES} more" if len(found) > _NAMES else ""
    return ", ".join(found[:_NAMES]) + more


def needs_approval(report: IncidentReport) -> tuple[Verdict, ...]:
    """Steps that UICI may not do alone, one an operation."""
    asked = [v for v in report.verdicts if v.decision is Decision.NEEDS_APPROVAL]
    return tuple({v.step.operation: v for v in asked}.values())


def waits(report: IncidentReport) -> str:
    """What a person has to do, empty when nothing waits for one."""
    why = report.summary
    match report.result:
        case IncidentResult.ESCALATED:
            told = without_target(why or told_people(report.plan), report.incident.root)
            return told.rstrip(".") + nobody_alerted(report) if report.not_sent else told
        case IncidentResult.FAILED if only_tells(report):
            return f"{without_target(told_people(report.plan), report.incident.root)}; {why}"
        case IncidentResult.WAITING if asked := needs_approval(report):
            risk = _RISK.search(asked[0].reason)
            what = ", ".join(v.step.operation for v in asked)
            what += f" it alone (risk {risk[1]})" if risk else " it alone"
            again = ", then the same command does it" if by_hand(report) else ""
            how = f"uici approve {request}" if (request := request_of(report)) else "uici approve"
            return f"UICI may not {what}: {how} {'' if request else 'shows and '}allows it{again}"
        case IncidentResult.UNKNOWN:
            remedies = [outcome.remedy for outcome in begun(report) if outcome.remedy]
            return remedies[0] if remedies else "look whether the last operation took place"
        case _:
            return ""


def told_people(plan: Plan) -> str:
    """What the plan would have people know: its own summary, else its diagnosis."""
    summaries = (step.parameters.get("summary") for step in plan.steps if step.operation == TELL)
    summary = next((str(text) for text in summaries if text), "")
    if not summary:
        return diagnosis_words(plan)
    return f"{_MODEL_SAYS}: {summary}" if plan.planner is PlannerKind.LLM else summary


def diagnosis_words(plan: Plan) -> str:
    """What is held to be wrong; a model's word for it is called so."""
    model = plan.planner is PlannerKind.LLM and plan.diagnosis
    return f"{_MODEL_SAYS}: {plan.diagnosis}" if model else plan.diagnosis


def without_target(text: str, target: str) -> str:
    """A sentence that need not say of what it is: `local/api: api is …` → `is …`."""
    rest = text.removeprefix(target)
    if rest != text and rest[:1] in (" ", ":"):
        text = rest.lstrip(": ") or text
    # A name alone may be a word, such as `a`.
    is_so = f"{short_name(target)} is "
    return text.removeprefix(is_so.removesuffix("is ")) if text.startswith(is_so) else text


def only_tells(report: IncidentReport) -> bool:
    """Whether its plan was only to tell a person."""
    steps = report.plan.steps
    return bool(steps) and all(step.operation == TELL for step in steps)


def remains(report: IncidentReport) -> str:
    """How a fault stands that UICI has not mended, empty when it recovered."""
    match report.result:
        case IncidentResult.RECOVERED:
            return ""
        case IncidentResult.FAILED | IncidentResult.HELD if by_hand(report):
            held = report.summary or "nothing may be done now"
            alone = "UICI does not try again by itself what a person asked for"
            return f"not done: {held if report.result is IncidentResult.HELD else alone}"
        case IncidentResult.FAILED:
            untold = "a person is needed, and could not be told"
            # A plan that did not help is not tried again: what comes is known when it is planned.
            what = "UICI tries what is left to try, else tells a person"
            later = f"{_still(report)}; after its back-off {what}"
            return untold if only_tells(report) else later
        case IncidentResult.HELD | IncidentResult.NOTHING_TO_DO:
            still = f"{_still(report)}, " if report.result is IncidentResult.HELD else ""
            return f"{still}left alone: {report.summary or 'nothing may be done now'}"
        case _ if waits(report):
            return NEEDED
        case _:
            return f"{_still(report)}: {report.summary or 'UICI waits'}"


def _still(report: IncidentReport) -> str:
    """What runs with another configuration is not broken by that; by its repair it may be."""
    kinds = {drift.kind for drift in report.incident.drifts}
    differs = kinds <= {DriftKind.CONFIG_DRIFT, DriftKind.ORPHAN}
    if not kinds or not differs:
        return "still broken"
    checks = report.verification.checks if report.verification else ()
    sick = any(c.state is CheckState.FAILED and c.name not in _OF_GIT for c in checks)
    return "broken now" if sick else "still not as Git says"


_OF_GIT = ("spec", "effect", "dependent")  # checks that do not tell whether it works


def planner(plan: Plan) -> str:
    """Who planned: `runbook start-stopped`, `llm gpt-…`."""
    match plan.planner:
        case PlannerKind.RUNBOOK:
            return f"runbook {plan.runbook}" if plan.runbook else "runbook"
        case PlannerKind.LLM:
            return f"llm {plan.usage.model}" if plan.usage else "llm"
        case PlannerKind.LEARNED:
            return f"learned {plan.learned}" if plan.learned else "learned"
        case PlannerKind.PERSON:
            return "a person"
        case PlannerKind.NONE:
            return "no plan"


def planner_reason(plan: Plan) -> str:
    """Why this planner, without what its name says already.

    That nobody has configured a model is no news, and no reason where there is another.
    """
    own = f"runbook {plan.runbook} "
    parts = [part for part in plan.planner_reason.split("; ") if not part.startswith(_NO_LLM)]
    fresh = [part for part in parts if not part.startswith(f"{own}fits ")]
    return "; ".join(fresh or [part.removeprefix(own) for part in parts]) or _NO_LLM


def verdict_words(verdict: Verdict) -> str:
    """`allowed: risk low, limit high`; a denial with the rule that made it."""
    within = _ALLOWED.fullmatch(verdict.reason)
    if verdict.decision is Decision.ALLOWED:
        reason = f"risk {within[1]}, limit {within[2]}" if within else verdict.reason
        return f"allowed: {reason}"
    words = verdict.decision.value.replace("_", " ")
    return f"{words} ({verdict.rule}): {verdict.reason}"


# ── the whole run ───────────────────────────────────────────────────────────────


def worst_first(incidents: Iterable[IncidentReport]) -> list[IncidentReport]:
    """What a person has to know first stands first."""
    return sorted(incidents, key=lambda incident: _WORST_FIRST.index(incident.result))


def counted(incidents: Iterable[IncidentReport]) -> str:
    """Several incidents, the worst first: `api: waiting; web, cache: 2 recovered`."""
    found: dict[str, list[str]] = {}
    for incident in worst_first(incidents):
        word = incident.result.value.replace("_", " ")
        found.setdefault(word, []).append(short_name(incident.incident.root))
    return "; ".join(
        f"{names(list(dict.fromkeys(roots)))}: {f'{len(roots)} ' if len(roots) > 1 else ''}{word}"
        for word, roots in found.items()
    )
