"""Chat Completions as values: the question's body, the answer's envelope, the dialects.

Pure; `flows.llm.client` sends and receives. OpenAI-compatible endpoints differ in what
they take: strict JSON Schema, only "some JSON", or neither; two names for the limit of
the answer; some models take no temperature. A refusal tells, and the question is put in
the next weaker dialect.
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
class Question:
    """What is asked, independent of the dialect. `schema` is of the strict subset."""

    model: str
    temperature: float
    max_output_tokens: int
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any]

    def body(self, dialect: Dialect) -> dict[str, Any]:
        """The JSON body of the request."""
        system = self.system
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
        else:
            system += (
                "\n\nAnswer with one JSON object and nothing else. It must fit this JSON Schema:\n"
                + json.dumps(self.schema, separators=(",", ":"))
            )
        if dialect.format is AnswerFormat.OBJECT:
            body["response_format"] = {"type": "json_object"}
        body["messages"] = [
            {"role": "system", "content": _encodable(system)},
            {"role": "user", "content": _encodable(self.user)},
        ]
        return body


@dataclass(frozen=True, slots=True)
class Reply:
    """The envelope of an answer. `problem`: why there is no text; `usage` None: not told."""

    text: str
    usage: TokenUsage | None
    model: str
    problem: str = ""
    refusal: str = ""  # the model's own words, outside data


class _Lenient(BaseModel):
    # The endpoint may send more than we know; what we read is checked strictly.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None


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
    )


def _problem(choice: _Choice) -> str:
    if choice.message.refusal:
        return "the LLM refused to answer"
    if choice.finish_reason == "length":
        return "the LLM's answer was cut off; raise maxOutputTokens"
    if choice.finish_reason == "content_filter":
        return "the LLM's answer was withheld by a content filter"
    if not (choice.message.content or "").strip():
        return "the LLM's answer is empty"
    return ""


def _encodable(text: str) -> str:
    """A lone surrogate can't be sent as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
