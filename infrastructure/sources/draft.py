"""A Service in the making, and where each of its values came from.

A mistake in a compose file has to be told at the compose file's own line, also when it is
found by rules that know only Services. So a draft hands itself over as a `YamlDocument`
whose places are those of the files it was read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infrastructure.errors import Problem
from infrastructure.observed import empty
from infrastructure.yaml_source import Location, Place, YamlDocument


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def problem(self, message: str, remedy: str = "") -> Problem:
        """Something to say about this place."""
        return Problem(self.file, self.line, self.column, message, remedy)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def point_of(document: YamlDocument, location: Location, *, of_key: bool = False) -> Point:
    """Where a value of a document stands."""
    return Point(document.file, *document.position(location, of_key=of_key))


@dataclass(slots=True)
class Findings:
    """What could not be honoured.

    An error: what would run is not what the file asks for, so the file is refused. A
    warning: the file is read, and what is said is not done. An import lists errors as what
    it left out, but for those that are `broken`: something that the file needs is not there,
    or is nothing that can be chosen without a person.
    """

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    broken: list[Problem] = field(default_factory=list)  # of the errors

    def error(self, point: Point, message: str, remedy: str = "") -> None:
        """Refuse something."""
        self.errors.append(point.problem(message, remedy))

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Errors after which an import can't go on either."""
        found = list(problems)
        self.errors += found
        self.broken += found

    def warn(self, point: Point, message: str, remedy: str = "") -> None:
        """List something that is left out."""
        self.warnings.append(point.problem(message, remedy))

    def add(self, other: Findings) -> None:
        """Take over what was found elsewhere."""
        self.errors += other.errors
        self.warnings += other.warnings
        self.broken += other.broken


@dataclass(frozen=True, slots=True)
class SourcedDocument(YamlDocument):
    """A Service's document whose values stand in other files."""

    points: Mapping[Location, Point] = field(default_factory=empty)

    def point(self, location: Location) -> Point:
        """Where a value came from; for one of no known origin, the nearest above it."""
        for length in range(len(location), -1, -1):
            found = self.points.get(location[:length])
            if found is not None:
                return found
        return Point(self.file, self.root.line, self.root.column)

    def problem(
        self, location: Location, message: str, remedy: str = "", *, of_key: bool = False
    ) -> Problem:
        """A mistake, told where the value came from."""
        del of_key
        return self.point(location).problem(message, remedy)


class Draft:
    """One service as a source tells it: `spec` in the words of a Service file.

    `left_out` are sentences for people who get the draft as a file.
    """

    def __init__(self, name: str, origin: Point) -> None:
        self.name = name
        self.origin = origin
        self.labels: dict[str, str] = {}
        self.spec: dict[str, Any] = {}
        self.left_out: list[str] = []
        self._points: dict[Location, Point] = {
            (): origin,
            ("metadata", "name"): origin,
        }

    def put(self, location: tuple[str, ...], value: Any, point: Point) -> None:
        """Set a value of the spec, with the mappings above it."""
        below = self.spec
        for segment in location[:-1]:
            below = below.setdefault(segment, {})
        below[location[-1]] = value
        self._points["spec", *location] = point

    def mark(self, location: Location, point: Point) -> None:
        """Tell where a value of the spec came from that is set elsewhere."""
        self._points["spec", *location] = point

    def drop(self, location: Location) -> None:
        """Take a value of the spec away; what is empty then goes with it."""
        above: list[Any] = [self.spec]
        for segment in location[:-1]:
            above.append(above[-1][segment])
        above[-1].pop(location[-1])
        for depth in range(len(above) - 1, 0, -1):
            if not above[depth]:
                above[depth - 1].pop(location[depth - 1])

    def document(self, environment: str) -> SourcedDocument:
        """As the document of a Service of this environment."""
        metadata: dict[str, Any] = {"name": self.name, "environment": environment}
        if self.labels:
            metadata["labels"] = dict(self.labels)
        data: dict[str, Any] = {"apiVersion": "uici/v1", "kind": "Service", "metadata": metadata}
        data["spec"] = self.spec
        points = dict(self._points)
        root = _place(data, (), points, self.origin)
        return SourcedDocument(self.origin.file, data, root, points)


def _place(value: Any, location: Location, points: Mapping[Location, Point], above: Point) -> Place:
    """The places of a value and of everything in it, as a parser would have kept them."""
    point = points.get(location, above)
    place = Place(point.line, point.column)
    if isinstance(value, dict):
        place.keys, place.members = {}, {}
        for key, item in value.items():
            below = _place(item, (*location, key), points, point)
            place.keys[key] = (below.line, below.column)
            place.members[key] = below
    elif isinstance(value, list):
        place.items = [_place(v, (*location, n), points, point) for n, v in enumerate(value)]
    elif value is not None:
        place.text = str(value)
    return place
