"""Chat Completions as values: the question's body, the answer's envelope, the dialects.

Pure; `flows.llm.client` sends and receives, `flows.llm.abilities` finds out the dialect.
OpenAI-compatible endpoints differ in what they take: strict JSON Schema, only "some JSON",
or neither; two names for the limit of the answer; some models take no temperature. A
refusal tells, and the question is put in the next weaker dialect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request, as the endpoint counts them."""

    prompt: int
    output: int


NOT_BILLED = TokenUsage(0, 0)


class AnswerFormat(StrEnum):
    """How an endpoint is told the shape of the answer; each is weaker than the one before."""

    SCHEMA = "json_schema"
    OBJECT = "json_object"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an endpoint understands. Starts with the strongest and is lowered by refusals."""

    format: AnswerFormat = AnswerFormat.SCHEMA
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    def lowered(self, complaint: str) -> Dialect | None:
        """The next dialect to try after a 400 with this text; None: it is about other things."""
        text = complaint.lower()
        if self.tokens_field == "max_tokens" and "max_completion_tokens" in text:
            return replace(self, tokens_field="max_completion_tokens")
        if any(word in text for word in ("response_format", "json_schema", "json_object")):
            if self.format is AnswerFormat.SCHEMA:
                return replace(self, format=AnswerFormat.OBJECT)
            if self.format is AnswerFormat.OBJECT:
                return replace(self, format=AnswerFormat.PLAIN)
        if self.temperature and "temperature" in text:
            return replace(self, temperature=False)
        return None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for, as it wrote it: outside data. `arguments` should be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """One round of tools: what the model called, and the answer to each call, in order."""

    calls: tuple[ToolCall, ...]
    results: tuple[str, ...]

    def messages(self) -> list[dict[str, Any]]:
        """As Chat Completions write them."""
        told = [
            {
                "id": _encodable(call.id),
                "type": "function",
                "function": {
                    "name": _encodable(call.name),
                    "arguments": _encodable(call.arguments),
                },
            }
            for call in self.calls
        ]
        answers = [
            {"role": "tool", "tool_call_id": _encodable(call.id), "content": _encodable(result)}
            for call, result in zip(self.calls, self.results, strict=True)
        ]
        return [{"role": "assistant", "content": None, "tool_calls": told}, *answers]


class ToolUse(StrEnum):
    """Whether a model may call a tool in this request. The tools are named either way."""

    AUTO = "auto"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked, independent of the dialect. `schema` is of the strict subset.

    `tools` are functions as Chat Completions declare them; `turns` what came of them so far.
    """

    model: str
    temperature: float
    max_output_tokens: int
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any]
    tools: tuple[Mapping[str, Any], ...] = ()
    turns: tuple[ToolTurn, ...] = ()
    tool_use: ToolUse = ToolUse.AUTO

    def body(self, dialect: Dialect) -> dict[str, Any]:
        """The JSON body of the request."""
        body: dict[str, Any] = {
            "model": self.model,
            dialect.tokens_field: self.max_output_tokens,
        }
        if dialect.temperature:
            body["temperature"] = self.temperature
        if dialect.format is AnswerFormat.SCHEMA:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": self.schema_name, "strict": True, "schema": self.schema},
            }
        elif dialect.format is AnswerFormat.OBJECT:
            body["response_format"] = {"type": "json_object"}
        if self.tools:
            body["tools"] = list(self.tools)
            body["tool_choice"] = self.tool_use.value
        body["messages"] = [
            {"role": "system", "content": _encodable(self._system(dialect))},
            {"role": "user", "content": _encodable(self.user)},
            *(message for turn in self.turns for message in turn.messages()),
        ]
        return body

    def told(self, dialect: Dialect) -> tuple[tuple[str, str], ...]:
        """(role, text) of all that the request says, the schema and the tools included."""
        told = [("system", self._system(dialect))]
        if dialect.format is AnswerFormat.SCHEMA:
            told.append(("schema", _compact(self.schema)))
        if self.tools:
            told.append(("tools", _compact(self.tools)))
        told.append(("user", self.user))
        for turn in self.turns:
            calls = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
            told.append(("assistant", _compact(calls)))
            told += [("tool", result) for result in turn.results]
        return tuple(told)

    def _system(self, dialect: Dialect) -> str:
        if dialect.format is AnswerFormat.SCHEMA:
            return self.system
        return (
            f"{self.system}\n\nAnswer with one JSON object and nothing else. "
            f"It must fit this JSON Schema:\n{_compact(self.schema)}"
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """The envelope of an answer. `problem`: why there is none; `usage` None: not told."""

    text: str
    usage: TokenUsage | None
    model: str
    problem: str = ""
    refusal: str = ""  # the model's own words, outside data
    calls: tuple[ToolCall, ...] = ()


class _Lenient(BaseModel):
    # The endpoint may send more than we know; what we read is checked strictly.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Function(_Lenient):
    name: str = ""
    arguments: Any = ""


class _Call(_Lenient):
    id: str = ""
    function: _Function = _Function()


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None

    def calls(self) -> tuple[ToolCall, ...]:
        """Some endpoints give the arguments as an object, and no id."""
        return tuple(
            ToolCall(call.id or f"call-{index}", call.function.name, _text(call.function.arguments))
            for index, call in enumerate(self.tool_calls or ())
        )


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Lenient):
    prompt_tokens: int = Field(ge=0, le=10**9)
    completion_tokens: int = Field(ge=0, le=10**9)


class _Completion(_Lenient):
    choices: tuple[_Choice, ...]
    usage: Any = None
    model: str = ""

    def tokens(self) -> TokenUsage | None:
        try:
            usage = _Usage.model_validate(self.usage)
        except ValidationError:
            return None
        return TokenUsage(usage.prompt_tokens, usage.completion_tokens)


def read_reply(text: str) -> Reply | None:
    """The envelope of an HTTP answer; None: this is not Chat Completions."""
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError:
        return None
    usage = completion.tokens()
    if not completion.choices:
        return Reply("", usage, completion.model, problem="the LLM's answer has no choices")
    choice = completion.choices[0]
    return Reply(
        text=choice.message.content or "",
        usage=usage,
        model=completion.model,
        problem=_problem(choice),
        refusal=choice.message.refusal or "",
        calls=choice.message.calls(),
    )


def _problem(choice: _Choice) -> str:
    if choice.message.refusal:
        return "the LLM refused to answer"
    if choice.finish_reason == "length":
        return "the LLM's answer was cut off; raise maxOutputTokens"
    if choice.finish_reason == "content_filter":
        return "the LLM's answer was withheld by a content filter"
    if not (choice.message.content or "").strip() and not choice.message.tool_calls:
        return "the LLM's answer is empty"
    return ""


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else _compact(arguments)


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _encodable(text: str) -> str:
    """A lone surrogate can't be sent as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
