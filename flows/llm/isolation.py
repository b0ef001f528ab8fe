"""Isolation: what a model looks up before it plans, by read-only operations, within bounds.

The dossier is there already, so most incidents need none of this. Whatever a model asks
for, however it writes it, becomes a text for it: the operation's output, cleaned and
framed like everything from outside, or in one sentence why not. Only the incident's
targets and what they need can be looked at; the same call is answered from memory; who
only repeats itself is told to decide. Neighbours: `flows.llm.conversation`,
`flows.guard` (what `read` goes through).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from flows.llm.answer import Offer, WantedRead
from flows.llm.prompt import Keep, framed, neutralise, outside
from flows.llm.protocol import ToolCall
from infrastructure.config_models import IsolationSettings
from infrastructure.errors import PermanentError, UiciError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus

_log = structlog.get_logger("uici")

# Carries out a read within so many seconds; a failure is in its outcome or a UiciError.
ReadOperation = Callable[[OperationCall, float], OperationOutcome]

_MAX_NAME = 60
# A model that writes more calls into one answer is not looking for anything.
MAX_CALLS_AT_ONCE = 20
_AGAIN = "as above: it was asked for twice"
# Newest lines are what is wanted of a log.
_ENDS_MATTER = frozenset({"get_logs", "get_events"})


@dataclass(frozen=True, slots=True)
class _Wish:
    """One call as it was asked for; `call` None: `refusal` says why not."""

    title: str
    call: OperationCall | None
    refusal: str = ""


@dataclass(slots=True)
class LookUps:
    """The look-ups about one incident. One thread."""

    offer: Offer
    registry: OperationRegistry
    read: ReadOperation
    settings: IsolationSettings
    redact: Callable[[str], str]
    marker: str
    clock: Callable[[], float] = time.monotonic
    rounds: int = 0
    calls: int = 0
    refused: int = 0
    looped: bool = False
    done: list[str] = field(default_factory=list)
    _seconds: float = 0.0
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether the model may ask for more."""
        limits = self.settings
        return (
            bool(self.offer.reads)
            and not self.looped
            and self.rounds < limits.rounds
            and self.calls < limits.calls
            and self._left > 0
        )

    @property
    def _left(self) -> float:
        return self.settings.timeout.total_seconds() - self._seconds

    @property
    def remark(self) -> str:
        """What to tell the model after a round."""
        if self.looped:
            return "You asked for the same again. Decide now, with what you have."
        if not self.open:
            return "Nothing more can be looked up. Decide now, with what you have."
        return "Decide now, if that is enough."

    @property
    def finding(self) -> str:
        """The phase's record for people."""
        if not self.done and not self.refused:
            return "nothing was looked up: the dossier sufficed"
        told = [f"looked up {', '.join(self.done)}"] if self.done else []
        told += [f"{self.refused} look-ups refused"] if self.refused else []
        told += ["it only repeated itself, and was told to decide"] if self.looped else []
        return "; ".join(told)

    def wanted(self, reads: Sequence[WantedRead], tokens: int) -> list[tuple[str, str]]:
        """(title, text) of each look-up of an answer; all together have so many `tokens`."""
        wishes = [self._of_answer(read) for read in reads[:MAX_CALLS_AT_ONCE]]
        answers = self._round(wishes, tokens)
        # A title may hold the model's words, and these the marker, which it was told.
        return [(wish.title.replace(self.marker, "…"), text) for wish, text in answers]

    def called(self, calls: Sequence[ToolCall], tokens: int) -> list[str]:
        """The answer to each tool call, in order; all together have so many `tokens`.

        Those after the first `MAX_CALLS_AT_ONCE` have none.
        """
        wishes = [self._of_tool(call) for call in calls[:MAX_CALLS_AT_ONCE]]
        return [text for _, text in self._round(wishes, tokens)]

    def _round(self, wishes: Sequence[_Wish], tokens: int) -> list[tuple[_Wish, str]]:
        self.rounds += 1
        share = min(self.settings.result_tokens, tokens // max(1, len(wishes)))
        known = set(self._known)
        keys = [_key(wish.call) for wish in wishes if wish.call is not None]
        # Refused wishes count as nothing new: asking for them again is a loop, too.
        self.looped = self.rounds > 1 and not set(keys) - known
        return [
            (wish, self._answer(wish, share) if first else self._framed(_AGAIN, share, Keep.HEAD))
            for wish, first in _first_time(wishes)
        ]

    def _answer(self, wish: _Wish, tokens: int) -> str:
        if wish.call is None:
            self.refused += 1
            return self._framed(wish.refusal, tokens, Keep.HEAD)
        key = _key(wish.call)
        if key in self._known:
            return self._known[key]
        if self.calls >= self.settings.calls or self._left <= 0:
            self.refused += 1
            return self._framed("refused: nothing more can be looked up", tokens, Keep.HEAD)
        self.calls += 1
        text = self._run(wish.call)
        keep = Keep.TAIL if wish.call.operation in _ENDS_MATTER else Keep.HEAD
        self._known[key] = self._framed(text, tokens, keep)
        return self._known[key]

    def _run(self, call: OperationCall) -> str:
        started = self.clock()
        try:
            outcome = self.read(call, self._left)
        except UiciError as exc:
            self.refused += 1
            return f"refused: {exc}"
        finally:
            self._seconds += self.clock() - started
        self.done.append(f"{call.operation} of {call.target}")
        _log.info("llm_looked_up", operation=call.operation, target=call.target)
        if outcome.status is not OutcomeStatus.SUCCEEDED:
            return f"failed: {outcome.error or outcome.status.value}"
        return _text(outcome.output) or "nothing"

    def _framed(self, text: str, tokens: int, keep: Keep) -> str:
        fit = outside(text, self.redact, tokens, keep=keep, marker=self.marker)
        return framed(fit or "no room for it", self.marker)

    def _of_answer(self, read: WantedRead) -> _Wish:
        if read.operation not in self.offer.reads:
            return self._refusal(read.operation, "is not on offer", self.offer.reads)
        parameters: dict[str, Any] = {}
        if read.about:
            name = _about(self.registry, read.operation)
            parameters = {name: read.about} if name else {}
        return self._wish(read.operation, read.target, parameters)

    def _of_tool(self, call: ToolCall) -> _Wish:
        if call.name not in self.offer.reads:
            return self._refusal(call.name, "is no tool here", self.offer.reads)
        try:
            given = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return _Wish(call.name, None, "refused: its arguments are no JSON object")
        target = given.pop("target", "")
        return self._wish(call.name, target if isinstance(target, str) else "", given)

    def _wish(self, operation: str, target: str, parameters: Mapping[str, Any]) -> _Wish:
        if target not in self.offer.places:
            return self._refusal(target, "is not part of this incident", self.offer.places)
        try:
            checked = self.registry.from_model(operation, dict(parameters))
        except PermanentError as exc:
            return _Wish(f"{operation} of {target}", None, f"refused: {exc}")
        call = OperationCall(operation, target, checked)
        about = ", ".join(f"{key} {value}" for key, value in parameters.items() if value)
        title = f"{operation} of {target}" + (f" ({_name(about)})" if about else "")
        return _Wish(title, call)

    def _refusal(self, words: str, why: str, instead: Sequence[str]) -> _Wish:
        told = f"refused: '{_name(words)}' {why}; choose one of {', '.join(instead)}"
        return _Wish(_name(words) or "a look-up", None, told)


def _name(words: str) -> str:
    """A model's own words in a title of ours: one line, short, no marker of any kind."""
    return " ".join(neutralise(words[: _MAX_NAME * 4]).split())[:_MAX_NAME]


def _key(call: OperationCall) -> str:
    return json.dumps([call.operation, call.target, dict(call.parameters)], sort_keys=True)


def _first_time(wishes: Sequence[_Wish]) -> Iterator[tuple[_Wish, bool]]:
    """Each wish, and whether the same call does not stand before it."""
    seen: set[str] = set()
    for wish in wishes:
        key = None if wish.call is None else _key(wish.call)
        yield wish, key is None or key not in seen
        if key is not None:
            seen.add(key)


def _about(registry: OperationRegistry, operation: str) -> str | None:
    """The parameter that a text is meant for: the required one, or one that takes any text."""
    schema = registry.get(operation).parameters
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        free = inner.get("type") == "string" and not {"enum", "pattern"} & set(inner)
        if free and (name in required or not required):
            return str(name)
    return None


def _text(output: Any) -> str:
    """Text as it is, lines as lines, everything else as JSON."""
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(isinstance(line, str) for line in output):
        return "\n".join(output)
    if isinstance(output, Mapping) and all(_is_lines(value) for value in output.values()):
        return "\n".join(f"{name}:\n{_text(value)}" for name, value in output.items())
    return json.dumps(output, ensure_ascii=False, default=str)


def _is_lines(value: Any) -> bool:
    return isinstance(value, str | list) and bool(value)
