"""`uici approve` and `uici reject`: what waits for a person, and what a person says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.approvals.decision import Answer, Way
from flows.approvals.desk import Said, Shown
from flows.approvals.ledger import Ledger
from flows.approvals.merge_file import asked_words, merge_path
from flows.approvals.request import ApprovalRequest
from flows.approvals.standing import Standing
from flows.approvals.wiring import desk_of, view_of
from flows.command_line.hints import in_others_words
from flows.command_line.pause import whoami
from flows.command_line.sentence import Command, Sentence, sentence
from flows.command_line.terminal import say
from flows.repository.contract import DesiredState
from flows.runtime import Runtime
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.quantities import format_duration

_ENDED_SHOWN = 5
_FACTS = 6


@dataclass(frozen=True, slots=True)
class Branches:
    """Where the file of a request can be merged from, and into which folder of desired state."""

    prefix: str
    folder: str


def branches_of(runtime: Runtime) -> Branches | None:
    """As configured; None: requests have no branches."""
    platform = runtime.config.platform
    prefix = platform.approvals.branch_prefix
    return Branches(prefix, platform.git.path) if prefix is not None else None


def said(answer: Answer, reason: str) -> Said:
    """What the person at this terminal says."""
    return Said(answer, whoami(), Way.COMMAND, reason)


def decide(runtime: Runtime, request: str, word: Said) -> str:
    """Write a decision; the sentence for the person.

    Raises:
        UiciError: it can't be decided, or not be written: nothing is decided.
    """
    return desk_of(runtime).say(request, word)[1]


def listing(runtime: Runtime, request: str = "") -> tuple[Shown, ...]:
    """What waits and what has ended lately, or one request."""
    desk = desk_of(runtime)
    return (desk.one(request),) if request else desk.all()


def require_id(request: str, command: str) -> None:
    """Refuse a word that changes something without saying what.

    Raises:
        InvalidInputError: no id was given.
    """
    if not request:
        problem = Problem("uici", 0, 0, f"{command} needs an id", "uici approve lists what waits")
        raise InvalidInputError([problem])


def as_data(shown: Iterable[Shown]) -> dict[str, Any]:
    """As JSON; texts were redacted when they were asked."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Approvals",
        "requests": [
            {
                **each.request.model_dump(mode="json", by_alias=True, exclude_none=True),
                "risk": each.request.risk.value,
                "standing": each.stands.standing.value,
                "because": each.stands.reason,
                "decidedBy": each.stands.by,
            }
            for each in shown
        ],
    }


_NONE_WAITS = "no plan waits for a person's word; what else needs a person: uici status"


def show(shown: Sequence[Shown], now: datetime, branches: Branches | None = None) -> None:
    """For people: all about what waits, a line about what has ended.

    Args:
        shown: what `listing` gave.
        now: decides how long is left.
        branches: where requests can be merged; None: nowhere.
    """
    waiting = [each for each in shown if each.stands.standing in _OPEN]
    ended = [each for each in shown if each.stands.standing not in _OPEN]
    lines: list[str] = [] if waiting else [_NONE_WAITS]
    for each in waiting:
        lines += [*_whole(each, now, branches), ""]
    lines += [_line(each) for each in ended[:_ENDED_SHOWN]]
    _print(lines)


def unsettled(runtime: Runtime, desired: DesiredState, ledger: Ledger) -> tuple[Shown, ...]:
    """Requests that no run has settled yet, and how each stands now; no remote is asked."""
    view = view_of(
        runtime.git,
        desired,
        ledger,
        settings=runtime.config.platform.approvals,
        redactor=runtime.redactor,
        now=runtime.clock.now,
    )
    return tuple(Shown(request, view.stands(request)) for request in ledger.waiting)


def show_unsettled(shown: Iterable[Shown], targets: Iterable[str], now: datetime) -> None:
    """For `uici status`: what is asked at these targets, a line each; nothing if nothing is."""
    wanted = set(targets)
    _print(short(each, now).shown for each in shown if each.request.target in wanted)


def unsettled_data(shown: Iterable[Shown]) -> list[dict[str, Any]]:
    """The same as JSON."""
    return [
        {
            "id": each.request.id,
            "target": each.request.target,
            "operations": [step.operation for step in each.request.plan.steps],
            "risk": each.request.risk.value,
            "requestedAt": each.request.requested_at.isoformat(),
            "expiresAt": each.request.expires_at.isoformat(),
            "pullRequest": each.request.pull_request or "",
            "standing": each.stands.standing.value,
            "because": each.stands.reason,
            "decidedBy": each.stands.by,
        }
        for each in shown
    ]


_OPEN = frozenset({Standing.WAITING, Standing.APPROVED})


def _whole(each: Shown, now: datetime, branches: Branches | None) -> Iterator[str]:
    request = each.request
    yield in_others_words(f"{request.id}  {each.stands.standing.value}: {each.stands.reason}")
    for line in asked_words(request):
        yield f"  {line}".rstrip()
    for fact in request.facts[:_FACTS]:
        yield f"  evidence: {fact}"
    yield f"  Left: {_left(request, now)}"
    yield "  To approve exactly this, once:"
    yield f"    {Command(f'approve {request.id}').shown}"
    if branches is not None and (request.pull_request or request.branch_commit):
        file, branch = merge_path(branches.folder, request.id), f"{branches.prefix}{request.id}"
        where = request.pull_request or "open a pull request for it"
        yield f"    or merge {file} of the branch {branch} unchanged: {where}"
    yield "  To refuse:"
    yield f"    {Command(f'reject {request.id} --reason TEXT').shown}"


def short(each: Shown, now: datetime) -> Sentence:
    """How a request stands, and what comes next: one line."""
    request, found = each.request, each.stands
    what = _what(request)
    again = "the same uici run command, given again," if request.by_hand else "the next run"
    match found.standing:
        case Standing.WAITING:
            left = f" (risk {request.risk.value}, left: {_left(request, now)})"
            return sentence(f"needs approval: {what}: ", Command(f"approve {request.id}"), left)
        case Standing.APPROVED:
            return sentence(f"approved: {what}: {found.reason}: {again} does it")
        case Standing.REJECTED:
            return sentence(f"rejected: {what}: {found.reason}")
        case Standing.EXPIRED:
            return sentence(f"expired: {what}: ", Command(f"approve --renew {request.id}"))
        case Standing.CHANGED:
            asks = f"{again} asks anew if it has to"
            return sentence(f"asked in vain: {what}: {found.reason}: {asks}")
        case _:
            return sentence(f"{found.standing.value}: {what}: {found.reason}")


def _line(each: Shown) -> str:
    request = each.request
    at = request.requested_at.astimezone(UTC).isoformat(timespec="minutes")
    word = each.stands.standing.value
    return in_others_words(
        f"{request.id}  {word}: {_what(request)}, asked at {at}: {each.stands.reason}"
    )


def _what(request: ApprovalRequest) -> str:
    """The target, and what would be done to it: each operation once."""
    done = ", ".join(dict.fromkeys(step.operation for step in request.plan.steps))
    return f"{request.target}: {done}"


def _left(request: ApprovalRequest, now: datetime) -> str:
    left = request.expires_at - now
    return format_duration(left - left % _MINUTE) if left > _MINUTE else "less than a minute"


_MINUTE = timedelta(minutes=1)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
