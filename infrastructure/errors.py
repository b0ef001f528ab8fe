"""Every error that UICI raises on purpose.

The *type* says what the loop must do next: try again later, give up, or stop
because nobody knows whether the world was changed. Adapters (executors, monitoring,
git, LLM) map their SDK's exceptions to these with `raise … from exc`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class UiciError(Exception):
    """Root of all errors raised by UICI. Its message is one line, stable between runs."""


class TemporaryError(UiciError):
    """The same call may succeed later: time-outs, refused connections, 5xx, conflicts."""


class PermanentError(UiciError):
    """The same call will fail again until somebody changes something."""


class TakenBackError(PermanentError):
    """It failed and was undone: all is as before, but meanwhile it was not.

    `output`: what the failed attempt has said, as far as it could be kept.
    """

    def __init__(self, message: str, *, output: str | None = None) -> None:
        super().__init__(message)
        self.output = output


class NotFoundError(PermanentError):
    """The object does not exist (any more)."""


class ConflictError(TemporaryError):
    """Somebody else changed the object first; re-observe, then decide again."""


class DeadlineExceededError(TemporaryError):
    """A read did not finish in its time. Nothing was changed."""


class OutcomeUnknownError(UiciError):
    """A change was sent and nobody knows whether it happened.

    Never retried blindly: the next run observes first. `remedy` is the sentence
    that tells a person what to look at.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class ProtectedObjectError(PermanentError):
    """The call would touch the agent itself or what it lives on. Always refused."""


class UnsupportedOperationError(PermanentError):
    """The environment has no translation for this operation."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a user's file, with the place and the next step.

    `line` and `column` count from 1; 0 means that the file as a whole is meant.
    """

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class InvalidInputError(UiciError):
    """One or more mistakes in what a user wrote; all of them at once, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
