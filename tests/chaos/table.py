"""Sums of outcomes: what is printed, what docs/CHAOS.md says, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.fault import Right
from tests.chaos.play import Outcome

COLUMNS = (
    "fault",
    "right",
    "n",
    "detected",
    "as it should",
    "false alarms",
    "wrong actions",
    "s median",
    "s most",
    "operations (by how many)",
    "tokens",
)
_RECOVERED_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Aim:
    """What was to be reached, and whether it was."""

    name: str
    reached: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.reached}"


def aims(outcomes: Sequence[Outcome]) -> list[Aim]:
    """The aims of the issue, over what was really injected."""
    real = [o for o in outcomes if o.injected]
    repairs = [o for o in real if o.right is Right.REPAIR]
    tells = [o for o in real if o.right is Right.TELL]
    quiet = [o for o in real if o.right in (Right.LEAVE, Right.CONTROL)]
    to_see = [*repairs, *tells]
    seen, recovered = _count(o.detected for o in to_see), _count(o.good for o in repairs)
    told, left = _count(o.good for o in tells), _count(o.good for o in quiet)
    alarms, wrong = sum(len(o.false) for o in real), sum(len(o.wrong) for o in real)
    errors = sum(len(o.errors) for o in outcomes)
    lost = len(outcomes) - len(real)
    share = recovered / len(repairs) if repairs else 1.0
    return [
        Aim("faults that were made and seen", f"{len(real)} of {len(outcomes)}", not lost),
        Aim("detected", _of(seen, to_see), seen == len(to_see)),
        Aim("false positives", str(alarms), alarms == 0),
        Aim("wrong or forbidden actions", str(wrong), wrong == 0),
        Aim(
            f"verified recovery, at least {_RECOVERED_SHARE:.0%}",
            _of(recovered, repairs),
            share >= _RECOVERED_SHARE,
        ),
        Aim("of the rest, people were told", _of(told, tells), told == len(tells)),
        Aim("left alone what is to be left alone", _of(left, quiet), left == len(quiet)),
        Aim("runs that ended badly, or stages that stayed unquiet", str(errors), errors == 0),
    ]


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    """A row a kind, in the order of what is right and of their names; the sum last."""
    order = list(Right)
    kinds = sorted({(order.index(o.right), o.kind) for o in outcomes})
    for place, kind in kinds:
        same = [o for o in outcomes if o.kind == kind]
        yield (kind, order[place].value, *_cells(same))
    yield ("total", "", *_cells(outcomes))


def _cells(same: Sequence[Outcome]) -> tuple[str, ...]:
    real = [o for o in same if o.injected]
    to_see = [o for o in real if o.right in (Right.REPAIR, Right.TELL)]
    times = [o.seconds for o in to_see if o.good and o.seconds is not None]
    return (
        str(len(real)),
        _of(_count(o.detected for o in to_see), to_see) if to_see else "–",
        _of(_count(o.good for o in real), real),
        str(sum(len(o.false) for o in real)),
        str(sum(len(o.wrong) for o in real)),
        f"{median(times):.1f}" if times else "–",
        f"{max(times):.1f}" if times else "–",
        _operations(real),
        str(sum(o.tokens for o in same)),
    )


def _operations(same: Iterable[Outcome]) -> str:
    counted: dict[str, int] = {}
    for outcome in same:
        for operation in outcome.operations:
            verb = operation.partition(" ")[0]
            counted[verb] = counted.get(verb, 0) + 1
    return ", ".join(f"{verb} {counted[verb]}" for verb in sorted(counted)) or "none"


def _count(marks: Iterable[bool]) -> int:
    return sum(1 for mark in marks if mark)


def _of(count: int, all_of: Sequence[object]) -> str:
    return f"{count}/{len(all_of)}"


def line(outcome: Outcome) -> str:
    """One fault as it is told while it goes on."""
    mark = "ok    " if outcome.passed else "FAILED"
    took = f"{outcome.seconds:5.1f} s" if outcome.seconds is not None else "   –   "
    done = ", ".join(outcome.operations) or "nothing"
    return f"{outcome.index:4} {mark} {took} {outcome.kind} ({outcome.about}): {done}"


def complaints(outcome: Outcome) -> Iterator[str]:
    """Why it did not pass."""
    if not outcome.injected:
        yield "the oracle never saw the fault: it counts for nothing"
    elif not outcome.good:
        yield f"not {outcome.right.value}"
    yield from (f"wrong action: {text}" for text in outcome.wrong)
    yield from (f"false alarm: {text}" for text in outcome.false)
    yield from outcome.errors
    if outcome.said:
        yield f"agent and world: {outcome.said}"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of docs/CHAOS.md."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(outcomes)]
    return "\n".join(lines)
