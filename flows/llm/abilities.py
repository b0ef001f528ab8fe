"""What an endpoint can do with a model: found out once by small questions, kept on disk.

Words of documentation and of error messages are not enough: some endpoints take a strict
schema and answer prose all the same. So a question is put whose right answer only the
schema tells; and a second one, where look-ups are wanted, that a tool answers. What was
found holds for `llm.abilities.keepFor`, or until it proves wrong. The file is a memory,
not a truth: damaged or gone, it is found out anew. Neighbours: `flows.llm.client` (asks),
`flows.llm.conversation` (adapts), `uici doctor` (shows).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import Field, ValidationError

from flows.llm.budget import BudgetSpentError, IncidentMeter, LlmBudget
from flows.llm.client import LlmClient
from flows.llm.contract import LlmAnswer, Meter, RefusedRequestError, UnusableAnswerError
from flows.llm.kept_file import locked, replace_file
from flows.llm.protocol import AnswerFormat, ChatRequest, Dialect
from infrastructure.config_models import AgentLlm, LlmSettings
from infrastructure.errors import PermanentError, TemporaryError
from infrastructure.service import Document

_log = structlog.get_logger("uici")

CHECK_NAME = "ability_check"
# More than the check's questions have, schema and tool included.
_CHECK_TOKENS = 400
# The question does not tell it; who answers it has kept the schema.
_WORD = "teal"
_CHECK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": [_WORD]}},
    "required": ["word"],
    "additionalProperties": False,
}
_CHECK_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": CHECK_NAME,
        "description": "Notes a word.",
        "strict": True,
        "parameters": {**_CHECK_SCHEMA, "properties": {"word": {"type": "string"}}},
    },
}
_SYSTEM = "This checks how you answer."
_SPEAK = "Greet me in one sentence."
_CALL = f"Call the tool {CHECK_NAME} with the word {_WORD}."
# Endpoints whose configuration changes are few; more would be somebody's mistake.
_MAX_KEPT = 50


@dataclass(frozen=True, slots=True)
class Abilities:
    """What is known. `seconds`: how long the check's answer took; None: nobody asked."""

    dialect: Dialect
    tools: bool
    found_at: datetime | None = None
    seconds: float | None = None

    @property
    def words(self) -> str:
        """For people."""
        formats = {
            AnswerFormat.SCHEMA: "strict JSON Schema",
            AnswerFormat.OBJECT: "JSON, the schema in the prompt",
            AnswerFormat.PLAIN: "plain text, the schema in the prompt",
        }
        return f"{formats[self.dialect.format]}; {'tools' if self.tools else 'no tools'}"


class _Entry(Document):
    endpoint: str
    model: str
    format: AnswerFormat
    tools: bool | None  # None: nobody wanted to know
    tokens_field: Literal["max_tokens", "max_completion_tokens"]
    temperature: bool
    found_at: datetime
    seconds: float = Field(ge=0, allow_inf_nan=False)


class _File(Document):
    entries: tuple[_Entry, ...]


def checking(budget: LlmBudget, llm: AgentLlm, about: str) -> IncidentMeter:
    """Pays for finding out abilities, from the budgets of run and day."""
    name = f"abilities for {about}"
    meter = budget.meter(name, model=llm.model, max_output_tokens=llm.max_output_tokens)
    meter.expect(_CHECK_TOKENS)
    return meter


class AbilityBook:
    """The abilities of one endpoint with one model. Safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        client: LlmClient,
        *,
        model: AgentLlm,
        settings: LlmSettings,
        now: Callable[[], datetime],
    ) -> None:
        """Touch nothing yet.

        Args:
            path: the JSON file; its folder is made when needed.
            client: the endpoint.
            model: the model and its limits.
            settings: what is configured, and for how long an answer holds.
            now: aware time.
        """
        self._path = path
        self._client = client
        self._model = model
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._known: Abilities | None = None

    @property
    def _tools_wanted(self) -> bool:
        return self._settings.abilities.tools == "auto" and self._settings.isolation.rounds > 0

    def get(self, meter: Callable[[], Meter]) -> Abilities:
        """The abilities; from then on the client speaks the dialect that was found.

        Args:
            meter: made only when something has to be asked.

        Raises:
            UiciError: the endpoint could not be asked, or the budget is spent.
        """
        with self._lock:  # who comes second waits and asks nothing
            if self._known is None:
                self._known = self.kept()
                if self._known is None:
                    self._known = self.find_out(meter())
                    self._write(self._known)
                self._client.speak(self._known.dialect)
            return self._known

    def kept(self) -> Abilities | None:
        """What is configured or was found lately; None: it has to be asked."""
        wanted = self._settings.abilities
        if wanted.strict_schema != "auto" and not self._tools_wanted:
            return self._configured(Dialect(), tools=False)
        entry = next((e for e in self._entries() if self._is_mine(e)), None)
        if entry is None or (entry.tools is None and self._tools_wanted):
            return None
        if not entry.found_at <= self._now() < entry.found_at + wanted.keep_for:
            return None
        dialect = Dialect(entry.format, entry.tokens_field, entry.temperature)
        found = self._configured(dialect, tools=bool(entry.tools))
        return Abilities(found.dialect, found.tools, entry.found_at, entry.seconds)

    def find_out(self, meter: Meter) -> Abilities:
        """Ask, one question for the schema and one for tools, where they are to be found out.

        Raises:
            UiciError: the endpoint could not be asked, or the budget is spent.
        """
        wanted = self._settings.abilities
        self._client.speak(self._configured(Dialect(), tools=False).dialect)
        seconds, kept = 0.0, True
        if wanted.strict_schema == "auto":
            seconds, kept = self._keeps_schema(meter)
        dialect = self._client.dialect
        if not kept and dialect.format is AnswerFormat.SCHEMA:
            dialect = Dialect(AnswerFormat.OBJECT, dialect.tokens_field, dialect.temperature)
            self._client.speak(dialect)
        tools = self._tools_wanted and self._calls_tools(meter)
        found = self._configured(self._client.dialect, tools=tools)
        _log.info("llm_abilities_found", endpoint=self._client.endpoint, abilities=found.words)
        return Abilities(found.dialect, found.tools, self._now(), seconds)

    def without_tools(self) -> Abilities:
        """Tools have proved not to work: kept, and used from now on."""
        return self._lowered(tools=False)

    def without_schema(self) -> Abilities:
        """The endpoint took a strict schema and did not keep it: kept, and used from now on."""
        dialect = self._client.dialect
        if dialect.format is AnswerFormat.SCHEMA:
            self._client.speak(
                Dialect(AnswerFormat.OBJECT, dialect.tokens_field, dialect.temperature)
            )
        return self._lowered(tools=None)

    def _lowered(self, tools: bool | None) -> Abilities:
        with self._lock:
            known = self._known or Abilities(self._client.dialect, tools=False)
            self._known = Abilities(
                self._client.dialect,
                known.tools if tools is None else tools,
                self._now(),
                known.seconds,
            )
            _log.warning(
                "llm_abilities_lowered",
                endpoint=self._client.endpoint,
                abilities=self._known.words,
            )
            self._write(self._known)
            return self._known

    def _configured(self, dialect: Dialect, *, tools: bool) -> Abilities:
        """What is found, but for what the configuration says."""
        wanted = self._settings.abilities
        form = dialect.format
        if wanted.strict_schema == "no" and form is AnswerFormat.SCHEMA:
            form = AnswerFormat.OBJECT
        dialect = Dialect(form, dialect.tokens_field, dialect.temperature)
        return Abilities(dialect, tools if wanted.tools == "auto" else wanted.tools == "yes")

    def _keeps_schema(self, meter: Meter) -> tuple[float, bool]:
        try:
            answer = self._asked(self._question(_SPEAK), meter)
        except UnusableAnswerError:
            return 0.0, False
        try:
            return answer.seconds, bool(json.loads(answer.text) == {"word": _WORD})
        except (ValueError, RecursionError):
            return answer.seconds, False

    def _calls_tools(self, meter: Meter) -> bool:
        """In the form that answers are asked in: some endpoints do either, and not both."""
        started = time.monotonic()
        try:
            answer = self._asked(self._question(_CALL, _CHECK_TOOL), meter, attempts=1)
        except (UnusableAnswerError, RefusedRequestError):
            return False
        except BudgetSpentError:
            raise
        except (TemporaryError, PermanentError) as exc:
            # Servers break over what they do not know. One that is down breaks the next, too.
            seconds = round(time.monotonic() - started, 3)
            _log.info("llm_tools_not_found_out", error=str(exc), seconds=seconds)
            return False
        return [call.name for call in answer.calls] == [CHECK_NAME]

    def _question(self, user: str, *tools: dict[str, Any]) -> ChatRequest:
        return ChatRequest(
            model=self._model.model,
            temperature=self._model.temperature,
            # A model that thinks first needs room for it; what it does not use costs nothing.
            max_output_tokens=self._model.max_output_tokens,
            system=_SYSTEM,
            user=user,
            schema_name=CHECK_NAME,
            schema=_CHECK_SCHEMA,
            tools=tools,
        )

    def _asked(
        self, question: ChatRequest, meter: Meter, *, attempts: int | None = None
    ) -> LlmAnswer:
        seconds = self._settings.timeout.total_seconds()
        return self._client.ask(question, timeout=seconds, meter=meter, attempts=attempts)

    def _is_mine(self, entry: _Entry) -> bool:
        return (entry.endpoint, entry.model) == (self._client.endpoint, self._model.model)

    def _entries(self) -> tuple[_Entry, ...]:
        try:
            entries = _File.model_validate_json(self._path.read_bytes()).entries
        except (OSError, ValidationError):
            return ()
        return tuple(entry for entry in entries if entry.found_at.tzinfo is not None)

    def _write(self, found: Abilities) -> None:
        if found.found_at is None:
            return  # it is in the configuration
        entry = _Entry(
            endpoint=self._client.endpoint,
            model=self._model.model,
            format=found.dialect.format,
            tools=found.tools if self._settings.isolation.rounds else None,
            tokens_field=found.dialect.tokens_field,
            temperature=found.dialect.temperature,
            found_at=found.found_at,
            seconds=round(found.seconds or 0.0, 3),
        )
        try:
            with locked(self._path):
                others = [e for e in self._entries() if not self._is_mine(e)]
                text = _File(entries=(entry, *others[: _MAX_KEPT - 1])).model_dump_json(
                    by_alias=True, indent=2
                )
                replace_file(self._path, text + "\n")
        except OSError as exc:  # it is found out again by the next run
            _log.warning("llm_abilities_not_kept", file=str(self._path), error=str(exc))
