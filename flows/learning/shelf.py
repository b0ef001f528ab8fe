"""The files of `knowledge/`: read when they are asked for, ignored where they are damaged.

A run without an incident parses none of them. People edit these files, so any content is
possible: what can't be read counts as absent and is told, with its place. Neighbours:
`flows.repository.memory` brings the contents, `flows.report` writes the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.learning.incident_class import class_name
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.knowledge import ClassConditions, Knowledge, LearnedResolution
from infrastructure.model_problems import validate
from infrastructure.observed import empty
from infrastructure.yaml_source import parse_yaml
from infrastructure.yaml_text import to_yaml

KNOWLEDGE_FOLDER = "knowledge"
_ENDING = ".yml"
_HEAD = "# Kept by UICI, yours to edit or delete; your word: disabled or trusted: true, a reason.\n"
_REMEDY = "it is ignored: mend it, or delete it to have it learned anew"


def knowledge_path(name: str) -> str:
    """Path on the reports branch of a class."""
    return f"{KNOWLEDGE_FOLDER}/{name}{_ENDING}"


def class_of_path(path: str) -> str | None:
    """The class that a path on the reports branch is about; None: it is no knowledge."""
    name = path.removeprefix(f"{KNOWLEDGE_FOLDER}/").removesuffix(_ENDING)
    return name if knowledge_path(name) == path and "/" not in name else None


@dataclass(frozen=True, slots=True)
class Shelf:
    """Every file of `knowledge/` at one commit, by class. Safe to use from several threads."""

    files: Mapping[str, bytes] = field(default_factory=empty)
    _read: dict[str, Knowledge | None] = field(default_factory=dict, compare=False, repr=False)
    _problems: dict[str, tuple[Problem, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def get(self, name: str) -> Knowledge | None:
        """What is known of a class; None: nothing, or its file is damaged."""
        if name not in self.files:
            return None
        if name not in self._read:
            try:
                self._read[name] = parse_knowledge(self.files[name], name)
            except InvalidInputError as exc:
                self._problems[name] = exc.problems
                self._read[name] = None
        return self._read[name]

    def all(self) -> dict[str, Knowledge]:
        """Every class that can be read, by name."""
        found = {name: self.get(name) for name in sorted(self.files)}
        return {name: known for name, known in found.items() if known is not None}

    def ignore(self, name: str, why: str) -> None:
        """Note that a file can't be used although it can be read."""
        problem = Problem(knowledge_path(name), 0, 0, why, _REMEDY)
        known = self._problems.get(name, ())
        if problem not in known:
            self._problems[name] = (*known, problem)

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the files, as far as they were looked at."""
        return tuple(sorted({p for found in list(self._problems.values()) for p in found}))


def parse_knowledge(content: bytes, name: str) -> Knowledge:
    """A file as a value.

    Args:
        content: of the file.
        name: its class by its path.

    Raises:
        InvalidInputError: it is not YAML, not one document, not of this kind or class.
    """
    before = _newest.get(name)
    if before is not None and before[0] == content:
        return before[1]
    known = _parsed(content, name)
    if len(_newest) >= _REMEMBERED:
        _newest.clear()
    _newest[name] = content, known
    return known


# Most files are as they were at the last commit, and cost a millisecond and a half each.
# Only the newest text of a class is kept: each repair writes another.
_REMEMBERED = 1024
_newest: dict[str, tuple[bytes, Knowledge]] = {}


def _parsed(content: bytes, name: str) -> Knowledge:
    file = knowledge_path(name)
    documents = parse_yaml(content, file=file, max_bytes=len(content))
    if len(documents) != 1:
        message = f"the file holds {len(documents)} documents in place of one"
        raise InvalidInputError([Problem(file, 0, 0, message, _REMEDY)])
    known = validate(Knowledge, documents[0])
    if known.class_ != name:
        raise InvalidInputError([documents[0].problem(("class",), f"class is not {name}", _REMEDY)])
    if class_name(known.when) != name:
        message = f"its conditions are those of class {class_name(known.when)}"
        raise InvalidInputError([documents[0].problem(("when",), message, _REMEDY)])
    return known


def knowledge_text(known: Knowledge, redact: Callable[[Any], Any] = lambda data: data) -> bytes:
    """The file of a class: YAML, as a person would write it."""
    data = known.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    counts = dict.fromkeys(("successes", "failures", "inARow"), 0)
    data["resolutions"] = [_in_order(counts | each) for each in data["resolutions"]]
    return (_HEAD + to_yaml(redact(data), width=100)).encode()


def _in_order(resolution: dict[str, Any]) -> dict[str, Any]:
    """As the model has it, and the how-to shows it: the long evidence last."""
    names = [each.alias or name for name, each in LearnedResolution.model_fields.items()]
    return {name: resolution[name] for name in names if name in resolution}


def new_class(when: ClassConditions) -> Knowledge:
    """A class of which nothing is known."""
    return Knowledge(
        api_version="uici/v1",
        kind="Knowledge",
        class_=class_name(when),
        when=when,
        resolutions=(),
    )
