"""Answers of a model, kept for a while: the same question word for word is not asked twice.

`uici plan` may be run any number of times on an incident that does not change, and a run that
acts after it carries out what was shown. A question is the same when everything that is sent
is, but for its random marker; what was looked up or repaired is asked anew. A kept answer is
checked like a fresh one. The file is a memory, not a truth: damaged or gone, the model is
asked. Neighbours: `flows.llm.conversation` (uses it), `flows.llm.kept_file`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import Field, StringConstraints, ValidationError

from flows.llm.kept_file import locked, replace_file
from flows.llm.protocol import ChatRequest, Dialect
from infrastructure.service import Document, Moment

_log = structlog.get_logger("uici")

# Bounds of the file: a plan is short, and incidents at one time are few.
_MAX_KEPT = 50
_MAX_TEXT = 20_000


class KeptAnswer(Document):
    """What was answered, and when. `question` is its digest."""

    question: str
    at: Moment
    text: Annotated[str, StringConstraints(max_length=_MAX_TEXT)]


class _File(Document):
    answers: tuple[KeptAnswer, ...] = Field(default=(), max_length=_MAX_KEPT)


class AnswerBook:
    """One file for all processes of this machine. Safe to use from several threads."""

    def __init__(
        self, path: Path | None, *, keep_for: timedelta, now: Callable[[], datetime]
    ) -> None:
        """Touch nothing yet.

        Args:
            path: the JSON file; its folder is made when needed. None: nothing is kept.
            keep_for: llm.keepAnswersFor; 0: nothing is kept.
            now: aware time.
        """
        self._path = path if keep_for > timedelta(0) else None
        self._keep_for = keep_for
        self._now = now

    def find(self, question: str) -> KeptAnswer | None:
        """The answer to a question by its digest; None: it has to be asked."""
        return next((kept for kept in self._fresh() if kept.question == question), None)

    def keep(self, question: str, text: str) -> None:
        """Keep an answer that was of use; one that can't be written is asked for again."""
        if self._path is None or len(text) > _MAX_TEXT:
            return
        kept = KeptAnswer(question=question, at=self._now(), text=text)
        try:
            with locked(self._path):
                others = [each for each in self._fresh() if each.question != question]
                answers = (kept, *others[: _MAX_KEPT - 1])
                replace_file(self._path, _File(answers=answers).model_dump_json(by_alias=True))
        except OSError as exc:
            _log.warning("llm_answer_not_kept", file=str(self._path), error=str(exc))

    def _fresh(self) -> list[KeptAnswer]:
        """Those whose time is not over; one from the future is of another clock."""
        if self._path is None:
            return []
        try:
            answers = _File.model_validate_json(self._path.read_bytes()).answers
        except (OSError, ValidationError):
            return []
        now = self._now()
        return [each for each in answers if now - self._keep_for < each.at <= now]


NOTHING_KEPT = AnswerBook(None, keep_for=timedelta(0), now=datetime.now)


def question_digest(request: ChatRequest, endpoint: str, dialect: Dialect, marker: str) -> str:
    """SHA-256 over all that is sent, to whom, but for the marker."""
    said = [[role, text.replace(marker, "")] for role, text in request.told(dialect)]
    settings = [endpoint, request.model, request.temperature, request.max_output_tokens]
    text = json.dumps([settings, request.tool_use.value, said])
    return hashlib.sha256(text.encode()).hexdigest()
