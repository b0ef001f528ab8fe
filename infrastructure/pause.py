"""The kill switch: a person says "do nothing", in Git. Observation goes on.

Two files say so, in either of two places: one beside desired state, by a commit (kind
Pause), and one on the reports branch, by `uici pause`. A file that can't be read is a pause
too, and one that names an environment that nobody knows is one of everything: whoever wrote
it wanted one. Several hold side by side, none ends another. Pure;
`infrastructure.desired_state` finds the first kind, `flows.git_state` reads and writes the
second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from infrastructure.errors import InvalidInputError, Problem
from infrastructure.model_problems import validate
from infrastructure.service import Document, Moment, Name
from infrastructure.yaml_source import YamlDocument, parse_yaml

PAUSE_KIND = "Pause"
PAUSES_KIND = "Pauses"  # several, on the reports branch
PAUSE_PATH = "pause.json"  # on the reports branch


class Pause(Document):
    """A file of kind Pause. Without environments it holds for all; without end, until removed.

    Attributes:
        reason: for people.
        until: with a time zone; null: until the file is removed.
        environments: null: all.
        by: who wants it.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["Pause"]
    reason: str = Field(min_length=1, max_length=500)
    until: Moment | None = None
    environments: tuple[Name, ...] | None = Field(default=None, min_length=1)
    by: str = ""


class HeldPause(Document):
    """One of several, as `Pause`."""

    reason: str = Field(min_length=1, max_length=500)
    until: Moment | None = None
    environments: tuple[Name, ...] | None = Field(default=None, min_length=1)
    by: str = ""


class Pauses(Document):
    """Several pauses in one file."""

    api_version: Literal["uici/v1"]
    kind: Literal["Pauses"]
    pauses: tuple[HeldPause, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class PauseFile:
    """A pause and the file that holds it, as people name it.

    `damaged`: why it can't be read; `widened`: why it holds for more than it says.
    """

    file: str
    pause: Pause
    damaged: str = ""
    widened: str = ""

    def holds(self, environment: str, now: datetime) -> bool:
        """Whether nothing may be done in an environment now."""
        pause = self.pause
        if pause.until is not None and now >= pause.until:
            return False
        return bool(self.widened) or not pause.environments or environment in pause.environments

    def over(self, now: datetime) -> bool:
        """Whether it has ended by itself."""
        return self.pause.until is not None and now >= self.pause.until

    def within(self, environments: Collection[str]) -> PauseFile:
        """The same, of everything if it names an environment that is none of these."""
        unknown = [e for e in self.pause.environments or () if e not in environments]
        if not unknown:
            return self
        known = ", ".join(environments)
        why = f"there is no {', '.join(unknown)} (known: {known}): it counts as one of everything"
        return replace(self, widened=why)

    def __str__(self) -> str:
        pause = self.pause
        by = f" by {pause.by}" if pause.by else ""
        until = pause.until.astimezone(UTC).isoformat(timespec="minutes") if pause.until else ""
        ends = f" until {until.replace('+00:00', 'Z')}" if until else ""
        more = f" ({self.widened})" if self.widened else ""
        return f"paused{by}{ends}: {pause.reason}{more}"

    def problem(self) -> Problem:
        """The pause as a remark about what is in force."""
        where = None if self.widened else self.pause.environments
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


def read_pauses(file: str, content: bytes, *, max_bytes: int) -> tuple[PauseFile, ...]:
    """The same for a file that may hold several; at least one."""
    first = read_pause(file, content, max_bytes=max_bytes)
    if not first.damaged:
        return (first,)
    try:
        documents = parse_yaml(content, file=file, max_bytes=max_bytes)
        if len(documents) != 1 or not isinstance(documents[0].data, dict):
            return (first,)
        if documents[0].data.get("kind") != PAUSES_KIND:
            return (first,)
        several = validate(Pauses, documents[0])
    except InvalidInputError as exc:
        return (damaged_pause(file, str(exc.problems[0])),)
    return tuple(
        PauseFile(file, Pause(api_version="uici/v1", kind="Pause", **dict(held)))
        for held in several.pauses
    )


def pauses_data(pauses: Sequence[Pause]) -> dict[str, Any]:
    """Pauses as the data of one file, which `read_pauses` reads as the same.

    One alone is written as older versions do; they take several for a damaged file, which
    pauses everything.
    """
    found = [p.model_dump(mode="json", by_alias=True, exclude_none=True) for p in pauses]
    if len(found) == 1:
        return found[0]
    for each in found:
        del each["apiVersion"], each["kind"]
    return {"apiVersion": "uici/v1", "kind": PAUSES_KIND, "pauses": found}


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
