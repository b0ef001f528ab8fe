"""The coding agent's model: asked once for a cause, for a value within bounds and for words.

It has no power: whatever it returns, the field is the cause's own, the value lies within
the rule's bounds or is the rule's own, and its words are for the reviewer. What it is told
stands between random markers, neutralised and redacted, within the agent's token limit.
Without a model, or when it fails, the rule alone proposes, and the proposal says so. The
endpoint is the planner's: its circuit breaker and what is known of its abilities hold here,
too, and each request and answer is kept with the proposal's note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from flows.llm.abilities import AbilityBook, checking
from flows.llm.answer import json_part
from flows.llm.assembly import LlmFiles, open_client
from flows.llm.budget import DayLedger, IncidentMeter, LlmBudget, OnRequest, nobody
from flows.llm.exchange import Exchanges
from flows.llm.prompt import (
    Keep,
    Prompt,
    data_begins,
    data_ends,
    load_prompt,
    neutralise,
    new_marker,
    outside,
    titled,
)
from flows.llm.protocol import AnswerFormat, ChatRequest
from flows.proposals.cause import Cause
from flows.proposals.text import Advice, plain
from flows.proposals.value import Seen, Value, within_bounds
from flows.token_estimate import estimate_tokens
from infrastructure.config_models import Agent, LlmSettings, Platform, ProposalSettings
from infrastructure.errors import UiciError
from infrastructure.service import Service

_log = structlog.get_logger("uici")

SCHEMA_NAME = "proposal"

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    pointer: Text
    new: Text


class _Answer(BaseModel):
    """What the model returns. Its texts are for people only."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    diagnosis: Text
    change: _Change | None
    why: Text
    risk: Text


@dataclass(frozen=True, slots=True)
class AdviceRequest:
    """What advice is wanted about: the cause, the rule's own answer, and the file as it is."""

    cause: Cause
    service: Service
    rule: Value
    seen: Seen
    file: str


class Adviser:
    """Asks a model, or says why not. Make one a run."""

    def __init__(
        self,
        platform: Platform,
        agent_name: str,
        agent: Agent,
        *,
        redact: Callable[[str], str],
        config_directory: Path,
        data_directory: Path,
        now: Callable[[], datetime],
        on_request: OnRequest = nobody,
    ) -> None:
        """Touch nothing yet; a run without a cause costs nothing.

        Args:
            platform: platform.yml.
            agent_name: the coding agent's name.
            agent: its model, prompt and budgets.
            redact: cuts secrets out of a text.
            config_directory: where the prompt's file is named from.
            data_directory: the day's counters are kept in its folder `llm`.
            now: aware time.
            on_request: told of each request to the endpoint.
        """
        self._llm: LlmSettings = platform.llm
        self._settings: ProposalSettings = platform.proposals
        self._agent = agent
        self._redact = redact
        self._prompt_path = config_directory / agent.llm.prompt
        self._files = LlmFiles.of(data_directory, agent_name)
        self._now = now
        self._budget = LlmBudget(
            agent.budgets,
            platform.llm.prices,
            ledger=DayLedger(self._files.day, now),
            on_request=on_request,
        )

    def advise(self, wanted: AdviceRequest) -> Advice:
        """A value within bounds and words for the reviewer; never raises for the outside."""
        client = open_client(self._llm, self._files, self._redact, self._now)
        if client.missing:
            return Advice(f"not asked, the rule alone proposes: {client.missing}")
        llm = self._agent.llm
        meter = self._budget.meter(
            wanted.cause.slug, model=llm.model, max_output_tokens=llm.max_output_tokens
        )
        timeout = self._llm.timeout.total_seconds()
        exchanges = Exchanges(client, meter, self._redact, timeout)
        book = AbilityBook(
            self._files.abilities, client, model=llm, settings=self._llm, now=self._now
        )
        try:
            prompt = load_prompt(self._prompt_path)
            answer = self._ask(exchanges, book, prompt, wanted)
        except (UiciError, ValidationError) as exc:
            reason = "its answer does not fit the schema"
            reason = str(exc) if isinstance(exc, UiciError) else reason
            _log.info("proposal_advice_failed", cause=wanted.cause.slug, reason=reason)
            told = f"no use, the rule alone proposes: {self._redact(reason)}"
            cost = _cost(meter, llm.model, "") if meter.requests else ""
            return Advice(told, cost=cost, exchanges=tuple(exchanges.done))
        cost = _cost(meter, llm.model, prompt.version)
        advice = self._advice(answer, wanted, cost)
        return replace(advice, exchanges=tuple(exchanges.done))

    def _ask(
        self, exchanges: Exchanges, book: AbilityBook, prompt: Prompt, wanted: AdviceRequest
    ) -> _Answer:
        llm, schema = self._agent.llm, answer_schema(wanted.cause.pointer)
        tokens = estimate_tokens(prompt.text + json.dumps(schema))
        room = llm.max_prompt_tokens - tokens
        user = question(wanted, marker=new_marker(), redact=self._redact, room=room)
        # Pays for finding out abilities, where no run of the planner has.
        book.get(lambda: checking(self._budget, llm, wanted.cause.slug))
        request = ChatRequest(
            model=llm.model,
            temperature=llm.temperature,
            max_output_tokens=llm.max_output_tokens,
            system=prompt.text,
            user=user,
            schema_name=SCHEMA_NAME,
            schema=schema,
        )
        expected = tokens + estimate_tokens(user)
        text = exchanges.ask(request, purpose="proposal", prompt_tokens=expected).text
        try:
            return _Answer.model_validate_json(json_part(text))
        except ValidationError:
            if exchanges.client.dialect.format is AnswerFormat.SCHEMA and "{" not in text:
                book.without_schema()  # it took the strict schema and wrote prose
            raise

    def _advice(self, answer: _Answer, wanted: AdviceRequest, cost: str) -> Advice:
        words = self._redact(neutralise(f"{answer.diagnosis} {answer.why}"))
        risk = self._redact(neutralise(answer.risk))
        if answer.change is None:
            told = f"would change nothing, the rule proposes all the same. It says: {words}"
            return Advice(told, risk=risk, cost=cost)
        value = None
        if answer.change.pointer == wanted.cause.pointer:
            value = within_bounds(
                wanted.cause.pointer,
                answer.change.new,
                wanted.service,
                self._settings,
                wanted.seen,
            )
        if value is None:
            told = f"its value was out of bounds, the rule's own stands. It says: {words}"
            return Advice(told, risk=risk, cost=cost)
        return Advice(f"it says: {words}", value=value, risk=risk, cost=cost)


def answer_schema(pointer: str) -> Mapping[str, Any]:
    """JSON Schema, of the strict subset: this one field, or no change."""
    change = {
        "type": "object",
        "additionalProperties": False,
        "required": ["pointer", "new"],
        "properties": {
            "pointer": {"type": "string", "enum": [pointer]},
            "new": {"type": "string"},
        },
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["diagnosis", "change", "why", "risk"],
        "properties": {
            "diagnosis": {"type": "string"},
            "change": {"anyOf": [change, {"type": "null"}]},
            "why": {"type": "string"},
            "risk": {"type": "string"},
        },
    }


def question(wanted: AdviceRequest, *, marker: str, redact: Callable[[str], str], room: int) -> str:
    """The user message: the fixed part, then outside data between markers, cut to the room."""
    cause, rule = wanted.cause, wanted.rule
    opening = (
        f"{data_begins(marker)}"
        f"Target: {cause.target}\n"
        f"Cause by the rules: {cause.kind.value}, {len(cause.incidents)} times\n"
        f"Field that may be changed: {cause.pointer}\n"
        f"Value now: {rule.old}. The rule would write {rule.new} ({rule.how}).\n"
    )
    closing = data_ends(marker, "Return the change as JSON.")
    history = "\n".join(
        plain(
            f"{incident.at:%Y-%m-%dT%H:%M:%SZ} {' '.join(incident.kinds)}"
            f" {' '.join(incident.patterns)} {incident.result}"
        )
        for incident in cause.incidents
    )
    left = room - estimate_tokens(opening + closing) - 2 * estimate_tokens(titled("", "", marker))
    parts = []
    for name, text in (("History", history), ("Declaration", wanted.file)):
        told = outside(text, redact, max(0, left // 2), keep=Keep.HEAD, marker=marker)
        parts.append(titled(name, told, marker))
    return opening + "".join(parts) + closing


def _cost(meter: IncidentMeter, model: str, version: str) -> str:
    dollars = f", {meter.dollars:.6f} dollars" if meter.dollars is not None else ""
    prompt = f", {version}" if version else ""
    count = f"{meter.requests} request" + ("" if meter.requests == 1 else "s")
    used = meter.used
    return f"{model}, {count}, {used.prompt} + {used.output} tokens{dollars}{prompt}"
