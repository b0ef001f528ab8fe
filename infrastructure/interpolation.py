"""`${env:NAME}` and `${file:/path}` in configuration → their values.

The only way in which anything outside of `infrastructure/config/` takes part in the
configuration. What was filled in is remembered, because it may be secret: messages
never repeat it, and redaction has to know it. Neighbour: `infrastructure.config_loader`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.errors import PermanentError, Problem
from infrastructure.model_problems import field_path
from infrastructure.secret_references import read_secret_file
from infrastructure.yaml_source import Location, YamlDocument

# `$${` stands for the characters `${`; a default may hold anything but a closing brace.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<scheme>[A-Za-z]+):(?P<name>[^}]*)\}")
_DEFAULT = ":-"


@dataclass(frozen=True, slots=True)
class Filled:
    """One value that was filled in. `source` is the variable's or the file's name."""

    location: Location
    source: str
    value: str

    def __repr__(self) -> str:
        return f"Filled({field_path(self.location)} from {self.source})"


class Interpolation:
    """One document with its references resolved.

    Attributes:
        document: as written.
        data: the values; equal to the document's where nothing was referred to.
        filled: what came from outside.
        problems: references that lead nowhere. Their places keep the text as written.
    """

    def __init__(self, document: YamlDocument, environ: Mapping[str, str], directory: Path) -> None:
        self.filled: list[Filled] = []
        self.problems: list[Problem] = []
        self.document = document
        self._environ = environ
        self._directory = directory
        self.data = self._resolve((), document.data)
        self._touched = {filled.location for filled in self.filled}

    def hides(self, location: Location) -> bool:
        """Whether the value at this location came from outside."""
        return location in self._touched

    def _resolve(self, location: Location, value: Any) -> Any:
        match value:
            case dict():
                return {k: self._resolve((*location, k), item) for k, item in value.items()}
            case list():
                return [self._resolve((*location, n), item) for n, item in enumerate(value)]
            case str() if "${" in value:
                return _REFERENCE.sub(lambda match: self._replace(location, match), value)
            case _:
                return value

    def _replace(self, location: Location, match: re.Match[str]) -> str:
        scheme, name = match["scheme"], match["name"]
        if scheme is None:
            return "${"
        if scheme == "env":
            value = self._variable(location, name)
        elif scheme == "file":
            value = self._file(location, name)
        else:
            self._complain(
                location,
                f"refers to {scheme}:, which does not exist",
                "write ${env:NAME} or ${file:/path}; $${ stands for the characters themselves",
            )
            value = None
        if value is None:
            return match[0]
        source = name.partition(_DEFAULT)[0]
        self.filled.append(Filled(location, source, value))
        return value

    def _variable(self, location: Location, text: str) -> str | None:
        name, separator, default = text.partition(_DEFAULT)
        value = self._environ.get(name)
        if separator:
            return value or default  # as in a shell: unset or empty
        if value is None:
            self._complain(
                location,
                f"needs the environment variable {name}, which is not set",
                f"set it, or write ${{env:{name}:-default}}",
            )
        return value

    def _file(self, location: Location, name: str) -> str | None:
        try:
            return read_secret_file(self._directory / name)
        except PermanentError as exc:
            remedy = "create the file, or correct the path"
            self._complain(location, f"refers to a file: {exc}", remedy)
            return None

    def _complain(self, location: Location, message: str, remedy: str) -> None:
        message = f"{field_path(location)} {message}"
        self.problems.append(self.document.problem(location, message, remedy))
