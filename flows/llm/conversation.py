"""One incident's conversation with a model: ask, look up, repair, until a plan or a reason.

The usual incident is one request. A model may look first, in bounded rounds, by tools where
the endpoint has them beside the answer's form, else by `look_first` in its answer; an answer
that does not fit is sent back, in bounded rounds, with what is wrong with it. Every request
and answer is kept for the report. Neighbours: `flows.llm.planner` (makes it),
`flows.llm.isolation` (look-ups), `flows.llm.answer` (what may come back).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from flows.comparison.drift import Incident
from flows.llm.abilities import Abilities, AbilityBook
from flows.llm.answer import SCHEMA_NAME, Draft, Offer, UnfitAnswerError, read_answer
from flows.llm.answer_book import NOTHING_KEPT, AnswerBook, KeptAnswer, question_digest
from flows.llm.contract import LlmAnswer, RefusedRequestError
from flows.llm.exchange import Exchanges
from flows.llm.isolation import MAX_CALLS_AT_ONCE, LookUps
from flows.llm.menu import offered
from flows.llm.prompt import Question, with_repair, with_results
from flows.llm.protocol import AnswerFormat, ChatRequest, ToolCall, ToolTurn, ToolUse
from flows.token_estimate import estimate_tokens
from infrastructure.config_models import AgentLlm, LlmSettings
from infrastructure.errors import PermanentError
from infrastructure.operation_registry import OperationRegistry

_log = structlog.get_logger("uici")

# Less of a result tells nothing.
_MIN_RESULT_TOKENS = 60
# With its frame, the shortest answer to a tool call.
_MIN_ANSWER = 30
_ASKED, _REPAIR, _LOOKED = "plan", "repair", "after look-ups"


class NoPlanError(PermanentError):
    """The conversation ended without a plan; the reason is for people."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What it is about. `offer` checks answers; `menu` is the environment's, for the schema."""

    incident: Incident
    offer: Offer
    menu: Offer
    registry: OperationRegistry
    redact: Callable[[str], str]


@dataclass(slots=True)
class Conversation:
    """See the module. One thread."""

    exchanges: Exchanges
    book: AbilityBook
    abilities: Abilities
    topic: Topic
    llm: AgentLlm
    settings: LlmSettings
    looking: LookUps
    answers: AnswerBook = NOTHING_KEPT
    known: KeptAnswer | None = None  # the answer that was not asked for again
    repairs: int = 0
    _turns: tuple[ToolTurn, ...] = ()

    @staticmethod
    def fixed_tokens(topic: Topic, abilities: Abilities) -> int:
        """Tokens of schema and tools: endpoints count them as part of the prompt."""
        schema, tools = offered(topic.registry, topic.menu, tools=abilities.tools)
        parts: list[Any] = [schema, *tools]
        return sum(estimate_tokens(json.dumps(part, separators=(",", ":"))) for part in parts)

    def hold(self, question: Question) -> Draft:
        """Ask until there is a checked answer with a plan, or with nothing to do.

        Raises:
            NoPlanError: the last answer did not fit, either.
            UiciError: the endpoint could not be asked, or the budget is spent.
        """
        purpose, now = _ASKED, question
        while True:
            answer = self._ask(now, purpose)
            try:
                if answer.calls:
                    self._tools(answer, question)
                    purpose = _LOOKED
                    continue
                draft = self._read(answer.text)
                if draft.steps or not draft.look_first:
                    if draft.steps:  # that there is nothing to do is remembered elsewhere
                        self._keep(question, purpose, answer)
                    return draft
                question = now = self._look(draft, question)
                purpose = _LOOKED
            except UnfitAnswerError as exc:
                now, purpose = self._repaired(question, exc), _REPAIR

    def _ask(self, question: Question, purpose: str) -> LlmAnswer:
        try:
            return self._request(question, purpose)
        except RefusedRequestError:
            if not self.abilities.tools:
                raise
        # The endpoint took tools when it was asked, or somebody says so, and does not now.
        self._without_tools()
        return self._request(question, purpose)

    def _without_tools(self) -> None:
        self.abilities = self.book.without_tools()
        self._turns = ()

    def _request(self, question: Question, purpose: str) -> LlmAnswer:
        extra = self.fixed_tokens(self.topic, self.abilities)
        turns = sum(estimate_tokens(json.dumps(turn.messages())) for turn in self._turns)
        request = self._as_request(question)
        if purpose == _ASKED and self.known is None:
            self.known = self.answers.find(self._digest(question))
            if self.known is not None:
                at = self.known.at.isoformat(timespec="seconds")
                return self.exchanges.known(
                    request, self.known.text, purpose=f"{purpose}, answered at {at}"
                )
        return self.exchanges.ask(
            request,
            purpose=purpose,
            prompt_tokens=question.tokens + extra + turns,
        )

    def _digest(self, question: Question) -> str:
        client = self.exchanges.client
        request = self._as_request(question)
        return question_digest(request, client.endpoint, client.dialect, question.marker)

    def _keep(self, question: Question, purpose: str, answer: LlmAnswer) -> None:
        """An answer to the first question that is a plan; not one with a secret in it."""
        first = purpose == _ASKED and self.known is None
        if first and self.topic.redact(answer.text) == answer.text:
            self.answers.keep(self._digest(question), answer.text)

    def _as_request(self, question: Question) -> ChatRequest:
        topic, tools = self.topic, self.abilities.tools
        schema, functions = offered(topic.registry, topic.menu, tools=tools)
        return ChatRequest(
            model=self.llm.model,
            temperature=self.llm.temperature,
            max_output_tokens=self.llm.max_output_tokens,
            system=question.system,
            user=question.user,
            schema_name=SCHEMA_NAME,
            schema=schema,
            tools=functions,
            turns=self._turns,
            tool_use=ToolUse.AUTO if self.looking.open else ToolUse.NONE,
        )

    def _read(self, text: str) -> Draft:
        topic = self.topic
        try:
            return read_answer(
                text, topic.incident, topic.offer, registry=topic.registry, redact=topic.redact
            )
        except UnfitAnswerError:
            if self.exchanges.client.dialect.format is AnswerFormat.SCHEMA and not _is_object(text):
                # It took the strict schema and wrote prose: from now on the prompt says it.
                self.abilities = self.book.without_schema()
            raise

    def _look(self, draft: Draft, question: Question) -> Question:
        room = self._room(question)
        if not self.looking.open or room < _MIN_RESULT_TOKENS:
            raise UnfitAnswerError("nothing more can be looked up; give the plan")
        results = self.looking.wanted(draft.look_first, room)
        while True:
            told = with_results(question, results, self.looking.remark)
            # Titles and frames take room, too.
            if told.tokens - question.tokens <= room or not results:
                return told
            results.pop()

    def _tools(self, answer: LlmAnswer, question: Question) -> None:
        room = self._room(question)
        if not self.looking.open or room < _MIN_RESULT_TOKENS:
            raise UnfitAnswerError("no more tools can be called; answer with the plan")
        calls = self._affordable(answer.calls, room)
        if not calls:
            raise UnfitAnswerError("its tool calls are too long; answer with the plan")
        bare = _turn_tokens(calls, [""] * len(calls))
        results = self.looking.called(calls, max(0, room - bare))
        results[-1] += f"\n{self.looking.remark}"
        while _turn_tokens(calls, results) > room:
            # Frames and escapes take room, too. A call that is not told needs no answer.
            calls, results = calls[:-1], results[:-1]
            if not calls:
                raise UnfitAnswerError("no room for look-ups is left; answer with the plan")
        self._turns = (*self._turns, ToolTurn(calls, tuple(results)))

    def _affordable(self, calls: Sequence[ToolCall], room: int) -> tuple[ToolCall, ...]:
        """The first calls that leave room for something to be said to each."""
        kept = tuple(calls[:MAX_CALLS_AT_ONCE])
        while kept and _turn_tokens(kept, [""] * len(kept)) + _MIN_ANSWER * len(kept) > room:
            kept = kept[:-1]
        return kept

    def _room(self, question: Question) -> int:
        """Tokens that are left of `maxPromptTokens` for what is looked up."""
        used = sum(estimate_tokens(json.dumps(turn.messages())) for turn in self._turns)
        fixed = self.fixed_tokens(self.topic, self.abilities)
        return self.llm.max_prompt_tokens - question.tokens - fixed - used

    def _repaired(self, question: Question, error: UnfitAnswerError) -> Question:
        _log.info("llm_answer_refused", incident=self.topic.incident.fingerprint, error=str(error))
        if self.repairs >= self.settings.repair_rounds:
            raise NoPlanError(f"the LLM's answer was refused: {error}")
        self.repairs += 1
        return with_repair(question, str(error))


def _turn_tokens(calls: Sequence[ToolCall], results: Sequence[str]) -> int:
    turn = ToolTurn(tuple(calls), tuple(results))
    return estimate_tokens(json.dumps(turn.messages()))


def _is_object(text: str) -> bool:
    """Whether an answer is what every JSON mode gives, however wrong."""
    try:
        return isinstance(json.loads(text), Mapping)
    except (ValueError, RecursionError):
        return False
