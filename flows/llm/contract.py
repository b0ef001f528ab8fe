"""What `flows.llm.client` promises and needs: its answer, its errors, a meter, a breaker.

Neighbours: `flows.llm.budget` has the meter, `flows.llm.breaker` the breaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flows.llm.protocol import TokenUsage, ToolCall
from infrastructure.errors import PermanentError


class UnusableAnswerError(PermanentError):
    """The endpoint works, and its answer is none: a refusal, nothing, cut off."""


class RefusedRequestError(PermanentError):
    """The endpoint does not take such a request (HTTP 400 or 422); another might do."""


class Breaker(Protocol):
    """Knows of questions before this client's; see `flows.llm.breaker`."""

    def before_question(self) -> None:
        """Raises TemporaryError where the endpoint is left alone."""
        ...

    def answered(self) -> None:
        """The endpoint works."""
        ...

    def failed(self, reason: str) -> None:
        """The endpoint does not work; one sentence for people."""
        ...


class NoBreaker:
    """A breaker that never opens."""

    def before_question(self) -> None:
        """Always allowed."""

    def answered(self) -> None:
        """Not kept."""

    def failed(self, reason: str) -> None:
        """Not kept."""


class Meter(Protocol):
    """Asked before each HTTP request, told after it."""

    def before_request(self) -> None:
        """Raises a UiciError when the request may not be made."""
        ...

    def after_request(self, usage: TokenUsage | None) -> None:
        """`usage` None: nobody knows what it cost; assume the worst."""
        ...


class Unmetered:
    """A meter for questions that cost nothing that anyone counts, such as a check."""

    def before_request(self) -> None:
        """Always allowed."""

    def after_request(self, usage: TokenUsage | None) -> None:
        """Not kept."""


@dataclass(frozen=True, slots=True)
class LlmAnswer:
    """What a model said. Tokens are those of the successful request; 0 if not told."""

    text: str
    prompt_tokens: int
    output_tokens: int
    seconds: float
    requests: int
    model: str
    calls: tuple[ToolCall, ...] = ()
