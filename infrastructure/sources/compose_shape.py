"""Whether a compose file has the shape that the Compose Specification gives it.

By the specification's own JSON Schema; its complaints are told at the file's own lines, and
of several alternatives only the one that was meant. `compose_file` asks once a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from infrastructure.model_problems import field_path, suggestion
from infrastructure.sources.compose_units import text
from infrastructure.sources.draft import Findings, point_of
from infrastructure.yaml_source import Location, YamlDocument

_MOST_LISTED = 12  # fields that a message names


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only who has a compose file pays

    schema = resources.files("infrastructure.sources").joinpath("compose-spec.schema.json")
    return Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))


def told_by_schema(document: YamlDocument, findings: Findings) -> bool:
    """Tell everything that the Compose Specification does not allow; whether there was any."""
    found = list(_validator().iter_errors(document.data))
    for error in found:
        for location, message, remedy in _told(error):
            of_key = message.endswith("is not a known field")
            findings.error(point_of(document, location, of_key=of_key), message, remedy)
    return bool(found)


def _told(error: Any) -> Iterator[tuple[Location, str, str]]:
    """Location, message and remedy of one complaint of the schema."""
    error = _deepest(error)
    location = tuple(error.absolute_path)
    path = field_path(location) or "the file"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        patterns = [re.compile(p) for p in error.schema.get("patternProperties", ())]
        for key in error.instance:
            if key not in known and not any(p.search(key) for p in patterns):
                full = (*location, key)
                remedy = _close(key, known) if known else "use letters, digits, '.', '_', '-'"
                yield full, f"{field_path(full)} is not a known field", remedy
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield location, f"{path} lacks {', '.join(missing)}", "add it"
    elif error.validator == "type":
        wanted = error.validator_value
        kinds = ", ".join([wanted] if isinstance(wanted, str) else wanted)
        yield location, f"{path} must be of type {kinds}", ""
    elif error.validator == "enum":
        allowed = ", ".join(text(item) for item in error.validator_value)
        yield location, f"{path} must be one of {allowed}", ""
    elif error.validator == "uniqueItems":
        yield location, f"{path} names something twice", "remove one"
    else:
        yield location, f"{path} has a form that the Compose Specification does not know", ""


def _close(word: str, known: list[str]) -> str:
    """A field that may be meant; all of them only where they are few."""
    remedy = suggestion(word, known)
    return remedy if remedy.startswith("did") or len(known) <= _MOST_LISTED else ""


def _deepest(error: Any) -> Any:
    """Of alternatives, the complaint about the one that was meant: the one of the right type."""
    while error.context:
        here = len(error.absolute_path)
        branches: dict[Any, list[Any]] = {}
        for below in error.context:
            branches.setdefault(below.schema_path[0], []).append(below)
        fitting = [
            found
            for found in branches.values()
            if not any(b.validator == "type" and len(b.absolute_path) == here for b in found)
        ]
        if len(fitting) != 1:
            return error
        error = max(fitting[0], key=lambda below: len(below.absolute_path))
    return error
