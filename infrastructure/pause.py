"""The kill switch: a person says "do nothing", in Git. Observation goes on.

Two files say so, in either of two places: one beside desired state, by a commit (kind
Pause), and one on the reports branch, by `uici pause`. A file that can't be read is a pause
too: whoever wrote it wanted one. Pure; `infrastructure.desired_state` finds the first kind,
`flows.git_state` reads and writes the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from infrastructure.errors import InvalidInputError, Problem
from infrastructure.model_problems import validate
from infrastructure.service import Document, Moment, Name
from infrastructure.yaml_source import YamlDocument, parse_yaml

PAUSE_KIND = "Pause"
PAUSE_PATH = "pause.json"  # on the reports branch


class Pause(Document):
    """A file of kind Pause. Without environments it holds for all; without end, until removed."""

    api_version: Literal["uici/v1"]
    kind: Literal["Pause"]
    reason: str = Field(min_length=1, max_length=500)
    until: Moment | None = None
    environments: tuple[Name, ...] | None = Field(default=None, min_length=1)
    by: str = ""


@dataclass(frozen=True, slots=True)
class PauseFile:
    """A pause and the file that holds it, as people name it. `damaged`: why it can't be read."""

    file: str
    pause: Pause
    damaged: str = ""

    def holds(self, environment: str, now: datetime) -> bool:
        """Whether nothing may be done in an environment now."""
        pause = self.pause
        if pause.until is not None and now >= pause.until:
            return False
        return pause.environments is None or environment in pause.environments

    def __str__(self) -> str:
        pause = self.pause
        by = f" by {pause.by}" if pause.by else ""
        until = pause.until.astimezone(UTC).isoformat(timespec="minutes") if pause.until else ""
        ends = f" until {until.replace('+00:00', 'Z')}" if until else ""
        return f"paused{by}{ends}: {pause.reason}"

    def problem(self) -> Problem:
        """The pause as a remark about what is in force."""
        where = self.pause.environments
        of = f" in {', '.join(where)}" if where else ""
        remedy = "uici resume ends it" if self.file == PAUSE_PATH else f"remove {self.file}"
        return Problem(self.file, 0, 0, f"nothing is changed{of}: {self}", remedy)


def read_pause(file: str, content: bytes, *, max_bytes: int) -> PauseFile:
    """What a pause file says; never an error.

    Args:
        file: its path, for messages.
        content: YAML, of which JSON is a part.
        max_bytes: a longer file is damaged.
    """
    try:
        documents = parse_yaml(content, file=file, max_bytes=max_bytes)
    except InvalidInputError as exc:
        return damaged_pause(file, str(exc.problems[0]))
    if len(documents) != 1:
        return damaged_pause(file, f"it has {len(documents) or 'no'} documents instead of one")
    return pause_of(documents[0])


def pause_of(document: YamlDocument) -> PauseFile:
    """A document as a pause."""
    try:
        return PauseFile(document.file, validate(Pause, document))
    except InvalidInputError as exc:
        return damaged_pause(document.file, str(exc.problems[0]))


def damaged_pause(file: str, why: str) -> PauseFile:
    """A pause of everything: what somebody wanted to pause can't be told."""
    first = " ".join(why.split())[:300]
    reason = f"{file} can't be read, which counts as a pause of everything: {first}"
    pause = Pause(api_version="uici/v1", kind="Pause", reason=reason)
    return PauseFile(file, pause, damaged=first)


def pauses_in(
    files: Iterable[PauseFile], environments: Iterable[str], now: datetime
) -> dict[str, str]:
    """Environment → why nothing may be done there now; the first file that says so."""
    known = tuple(files)
    found: dict[str, str] = {}
    for environment in environments:
        holding = next((file for file in known if file.holds(environment, now)), None)
        if holding is not None:
            found[environment] = str(holding)
    return found
