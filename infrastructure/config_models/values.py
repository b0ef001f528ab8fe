"""Values that several files of the configuration are written in."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from infrastructure.quantities import Duration
from infrastructure.service import PATTERN_WORDS, Backoff, Document

_IDENTIFIER = r"^[a-z][a-z0-9_]*$"
_URL = r"^https?://\S+$"
_COMMIT_URL = r"^https?://[^\s{}]+\{sha\}[^\s{}]*$"
PATTERN_WORDS |= {
    _IDENTIFIER: "be lower-case letters, digits and '_', with a letter first",
    _URL: "be an address such as http://127.0.0.1:9090",
    _COMMIT_URL: "be an address with {sha} such as https://git.example.com/o/n/commit/{sha}",
}

Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER, max_length=63)]
Url = Annotated[str, StringConstraints(pattern=_URL)]
CommitUrl = Annotated[str, StringConstraints(pattern=_COMMIT_URL)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from exc
    return pattern


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("write a duration longer than 0s")
    return value


Period = Annotated[Duration, AfterValidator(_positive)]
Regex = Annotated[str, AfterValidator(_compiles), Field(json_schema_extra={"format": "regex"})]


class Retry(Document):
    """Bounded attempts with exponential, fully jittered back-off.

    Attributes:
        attempts: how often at most, the first time included.
        backoff: the wait between two.
    """

    attempts: int = Field(ge=1, le=20)
    backoff: Backoff
