"""What a person would run next, and what they may do in Git: the end of a run's page. Pure.

Neighbours: `flows.reporting.markdown` (the page), `flows.reporting.sentences` (the words).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from flows.comparison.drift import Drift
from flows.plan import News
from flows.reporting.asked_people import asked_until, request_of
from flows.reporting.ending import differing, proposal_words
from flows.reporting.sentences import needs_approval, not_well, only_tells, worst_first
from flows.reporting.text import short_name
from flows.reporting.values import IncidentReport, IncidentResult, RunReport
from flows.reporting.wrong import by_hand
from infrastructure.drift_kinds import DriftKind

_ROWS = 50
_TARGETS = 3
_ID = 12  # characters of an engine's id that people compare

_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SHELL_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")
# `unix:///path`, `tcp://host:port`, `ssh://user@host`: nothing that a shell acts upon, and no
# password, because the page goes to Git.
_HOST = re.compile(r"(?:unix|tcp|ssh)://(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_./:-]{1,200}")

Put = Callable[..., str]


def next_lines(report: RunReport, put: Put) -> Iterator[str]:
    """Commands that a person would run now."""
    incidents = worst_first(report.incidents)
    lines = [line for i in incidents[:_TARGETS] for line in _commands(report, i)]
    alone = dict.fromkeys(d.target for drifts in differing(report).values() for d in drifts)
    shown = [target for target in alone if _SHELL_WORD.fullmatch(target)]
    lines += [f"- `uici explain {target}`" for target in shown[:_TARGETS]]
    lines += ["- `uici plan`"] if alone else []
    if report.failures:
        lines.append("- `uici doctor`")
    yield from dict.fromkeys(lines)
    for note in report.proposals[:_ROWS]:
        where = f": {put(note.pull_request)}" if note.pull_request else ""
        yield f"- A proposal waits: {put(proposal_words(note), 300)}{where}"
    yield from dict.fromkeys(_keeping(i, put) for i in incidents if _drifted(i) or _suspect(i))


def _drifted(incident: IncidentReport) -> bool:
    return any(drift.kind is DriftKind.CONFIG_DRIFT for drift in incident.incident.drifts)


def _suspect(incident: IncidentReport) -> bool:
    """Whether a commit may be the cause of a fault that no repair has ended."""
    change = incident.evidence.git_change
    may_be = change is not None and change.news is not News.AHEAD
    return may_be and incident.result is not IncidentResult.RECOVERED


def _keeping(incident: IncidentReport, put: Put) -> str:
    """How a person keeps, or takes back, what has changed."""
    silence = "" if incident.not_sent else " or silence it in Alertmanager"
    stop = f"to stop UICI here, set spec.suspend in Git{silence}."
    change = incident.evidence.git_change
    if change is None:
        return f"- To keep a change that was made by hand, make it in Git; {stop}"
    what = put(change.to_revert) if change.commit else "the change"
    if change.news is not News.AHEAD:
        by = f" by {put(change.author)}" if change.author else ""
        return f"- If {what}{by} is the cause, revert it in Git; {stop}"
    return f"- To take it back, revert {what} in Git; {stop}"


def _commands(report: RunReport, told: IncidentReport) -> Iterator[str]:
    target = told.incident.root
    if request := request_of(told):
        steps = ", ".join(dict.fromkeys(v.step.operation for v in needs_approval(told)))
        until = f"until {asked_until(told)}"
        yield f"- `uici approve {request}` allows {steps} of {target} once, {until}"
        yield f"- `uici reject {request}` refuses it"
    containers, docker = _containers(report, told), _docker(report, told)
    for name in containers:
        yield f"- `{docker} logs --since 15m {name}`"
        yield f"- `{docker} inspect {name}`"
    if _SHELL_WORD.fullmatch(target):
        if not containers and any(
            drift.kind is not DriftKind.MISSING for drift in told.incident.drifts
        ):
            yield f"- `uici run get_logs {target}`"
        yield f"- `uici status -t {target}`"
        yield from _of_dependents(told, docker if containers else "")
        if not by_hand(told) and (told.result is IncidentResult.ESCALATED or only_tells(told)):
            remedy = remedy_for(d for d in told.incident.drifts if d.target == target)
            yield (
                f"- When the cause is mended: `uici run {remedy} {target}` tries at once;"
                " after a recovery, or a change of its spec in Git, attempts count anew."
            )


def _docker(report: RunReport, told: IncidentReport) -> str:
    """The docker command for the incident's engine: of another one it would tell nonsense."""
    host = report.engine_hosts.get(told.incident.environment, "")
    return f"docker -H {host}" if _HOST.fullmatch(host) else "docker"


def _of_dependents(told: IncidentReport, docker: str) -> Iterator[str]:
    """About those that were hit, too, and are still sick. `docker`: empty: no containers."""
    sick = not_well(told)
    for target in told.incident.targets[1:]:
        if short_name(target) not in sick or not _SHELL_WORD.fullmatch(target):
            continue
        its = (d.instance for d in told.incident.drifts if d.target == target and d.instance)
        names = [name for name in dict.fromkeys(its) if _SHELL_WORD.fullmatch(name)]
        if docker:
            yield from (f"- `{docker} logs --since 15m {name}`" for name in names[:_TARGETS])
        yield f"- `uici explain {target}`"


def remedy_for(drifts: Iterable[Drift]) -> str:
    """The operation that a person would try once the cause of a target's drifts is mended."""
    kinds = {drift.kind for drift in drifts}
    mends = {
        DriftKind.MISSING: "create",
        DriftKind.STOPPED: "start",
        DriftKind.CONFIG_DRIFT: "recreate",
    }
    return next((operation for kind, operation in mends.items() if kind in kinds), "restart")


def _containers(report: RunReport, told: IncidentReport) -> list[str]:
    """Names for the docker command; none where the engine's objects are no containers."""
    place = told.incident.environment
    same = [i for i in report.incidents if i.incident.environment == place]
    ids = [
        native
        for incident in same
        if incident.execution
        for outcome in incident.execution.outcomes
        for native in outcome.native_ids
    ]
    if not ids or not all(_CONTAINER_ID.fullmatch(native) for native in ids):
        return []
    root = told.incident.root
    drifting = [d.instance for d in told.incident.drifts if d.target == root and d.instance]
    acted = told.execution.outcomes if told.execution else ()
    made = [native[:_ID] for outcome in acted for native in outcome.native_ids[-1:]]
    found = [n for n in dict.fromkeys(drifting or made) if _SHELL_WORD.fullmatch(n)]
    return found[:_TARGETS]
