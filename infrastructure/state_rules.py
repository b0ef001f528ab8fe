"""What must hold of desired state beyond the shape of a file.

No secret is written as a value, nothing names the agent, and the Services of one state
fit together. Rules answer with places; none repeats a value. Neighbour:
`infrastructure.desired_state` calls them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from infrastructure.errors import InvalidInputError, Problem
from infrastructure.model_problems import field_path, suggestion, validate
from infrastructure.observed import empty
from infrastructure.redaction import Redactor, SecretKeys, is_reference, key_of
from infrastructure.service import PortMapping, Service, target_id
from infrastructure.yaml_source import Location, YamlDocument

# Fields of the spec that are compared, and so can be ignored.
_COMPARED = ("image", "command", "replicas", "env", "resources", "ports", "native")
# Under these keys of `native` stands a name by which an engine, and the agent, is known.
_NATIVE_NAMES = frozenset({"name", "containername", "hostname", "labels", "displayname"})
_ANY_ADDRESS = frozenset({None, "0.0.0.0"})  # noqa: S104 — compared with, never listened on
_REMEMBERED_TEXTS = 16_384
_SCHEMES = ("env", "file", "prefect")
_REFERENCE_REMEDY = 'write {secret: "env:NAME"}, file:/path or prefect:block-name instead'


# Places below `spec` with a sentence each; see `executors.contract.Misfits`.
FindMisfits = Callable[[Service], Iterable[tuple[Location, str]]]
# Native objects by the names that people give them; see `executors.contract.Claims`.
FindClaims = Callable[[Service], Iterable[str]]


@dataclass(frozen=True, slots=True)
class StateRules:
    """What a state is held against.

    Attributes:
        environments: names that environments.yml has.
        key_patterns: keys under which a value is a secret (platform.yml).
        redact_patterns: what a secret looks like (platform.yml).
        is_protected: whether a name is the agent's or what it lives on.
        is_agent_image: the same for the last part of an image's name. What the agent
            lives on does not count there: a service may run the same database image.
        agent_labels: an object with all of these labels is the agent.
        executors: environment → its executor, as far as it is known.
        bindings: environment → the model that `spec.binding` of its services has to fit.
        misfits: environment → what finds words of a spec that its binding has no meaning for.
        claims: environment → what tells the native objects that a service is bound to.
    """

    environments: frozenset[str]
    key_patterns: tuple[str, ...]
    redact_patterns: tuple[str, ...]
    is_protected: Callable[[str], bool]
    is_agent_image: Callable[[str], bool]
    agent_labels: Mapping[str, str] = field(default_factory=empty)
    executors: Mapping[str, str] = field(default_factory=empty)
    bindings: Mapping[str, type[BaseModel]] = field(default_factory=empty)
    misfits: Mapping[str, FindMisfits] = field(default_factory=empty)
    claims: Mapping[str, FindClaims] = field(default_factory=empty)


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """A Service and the document that it stands in."""

    service: Service
    document: YamlDocument

    def problem(
        self, location: Location, message: str, remedy: str = "", *, of_key: bool = False
    ) -> Problem:
        """A mistake at a place of this Service."""
        return self.document.problem(location, message, remedy, of_key=of_key)

    @property
    def place(self) -> str:
        """`file:line` of its name."""
        line, _ = self.document.position(("metadata", "name"))
        return f"{self.document.file}:{line}"


def service_problems(declared: DeclaredService, rules: StateRules) -> list[Problem]:
    """Mistakes that one Service shows alone."""
    return [
        *_environment_problems(declared, rules),
        *_binding_problems(declared, rules),
        *_agent_problems(declared, rules),
        *_metric_problems(declared),
        *_pointer_problems(declared),
    ]


def state_problems(declared: Iterable[DeclaredService], rules: StateRules) -> list[Problem]:
    """Mistakes that only several Services together show."""
    services = list(declared)
    first: dict[str, DeclaredService] = {}
    duplicates: list[Problem] = []
    for each in services:
        known = first.setdefault(each.service.target, each)
        if known is not each:
            message = f"{each.service.target} is declared twice"
            remedy = f"the first is in {known.place}; remove or rename one"
            duplicates.append(each.problem(("metadata", "name"), message, remedy))
    return [
        *duplicates,
        *_dependency_problems(first),
        *_cycles(first),
        *_port_problems(services),
        *_claim_problems(first.values(), rules),
    ]


def _environment_problems(declared: DeclaredService, rules: StateRules) -> Iterator[Problem]:
    name = declared.service.metadata.environment
    if name not in rules.environments:
        message = f"metadata.environment is {name}, which environments.yml does not have"
        remedy = suggestion(name, sorted(rules.environments))
        yield declared.problem(("metadata", "environment"), message, remedy)


def _binding_problems(declared: DeclaredService, rules: StateRules) -> Iterator[Problem]:
    """What an environment's executor does not know as a binding."""
    model = rules.bindings.get(declared.service.metadata.environment)
    if model is None:
        return
    prefix = ("spec", "binding")
    document = declared.document
    # Without a binding, what is missing in it is told where the spec stands.
    place = document.below(prefix) or document.below(prefix[:1]) or document.root
    part = YamlDocument(document.file, declared.service.spec.binding, place)
    try:
        validate(model, part, prefix=prefix)
    except InvalidInputError as exc:
        yield from exc.problems
        return
    yield from _misfit_problems(declared, rules)


def _misfit_problems(declared: DeclaredService, rules: StateRules) -> Iterator[Problem]:
    """Words that what the service is bound to has no meaning for."""
    find = rules.misfits.get(declared.service.metadata.environment)
    for location, message in find(declared.service) if find is not None else ():
        remedy = "leave it out, or bind the service to another kind"
        yield declared.problem(("spec", *location), message, remedy)


# ── secrets ─────────────────────────────────────────────────────────────────────


def _is_mistyped(value: Mapping[str, Any], location: Location) -> bool:
    """Whether a variable's value is meant as a reference: its own rule says how to write it."""
    scheme, colon, _ = str(value.get("secret", "")).partition(":")
    return "env" in location and bool(colon and get_close_matches(scheme, _SCHEMES, n=1))


class SecretRules:
    """Finds secrets that are written as values, in documents of any shape.

    Most values stand in many Services: what was said of a text is remembered. So `redactor`
    must not learn values after this was made.
    """

    def __init__(self, keys: SecretKeys, redactor: Redactor) -> None:
        self._keys = keys
        self._redactor = redactor
        self._is_secret = lru_cache(maxsize=_REMEMBERED_TEXTS)(self._judged)

    def problems(self, document: YamlDocument) -> Iterator[Problem]:
        """One for each value that looks like a secret."""
        found: list[Location] = []
        self._search(document, document.data, None, (), found)
        for location in found:
            what = self._redactor.text(field_path(location))
            message = f"{what} holds what looks like a secret, written as a value"
            yield document.problem(location, message, _REFERENCE_REMEDY)

    def _judged(self, text: str) -> bool:
        return self._redactor.text(text) != text

    def _search(
        self,
        document: YamlDocument,
        value: Any,
        key: str | None,
        location: Location,
        found: list[Location],
    ) -> None:
        """Values with the nearest `key` above them; references to secrets are left out."""
        if isinstance(value, dict):
            if len(value) == 1 and (is_reference(value) or _is_mistyped(value, location)):
                return
            for name, item in value.items():
                of_item = key_of(value, name)
                # Nearly all that there is: texts that hold no secret need no place.
                if not isinstance(item, str) or self._tells(of_item, item):
                    self._search(document, item, of_item, (*location, name), found)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._search(document, item, key, (*location, number), found)
        elif value is not None:
            text = value if isinstance(value, str) else document.written(location) or ""
            if self._tells(key, text):
                found.append(location)

    def _tells(self, key: str | None, text: str) -> bool:
        """Whether a text under this key is a secret."""
        in_secret_field = text and key is not None and self._keys.match(key)
        return bool(in_secret_field) or self._is_secret(text)


# ── the agent itself ────────────────────────────────────────────────────────────


def _agent_problems(declared: DeclaredService, rules: StateRules) -> Iterator[Problem]:
    """Layer 2 of self-exclusion: desired state can't name the agent."""
    metadata, spec = declared.service.metadata, declared.service.spec
    remedy = "the agent never acts on itself; leave it to its supervisor"
    if rules.is_protected(metadata.name):
        message = f"{metadata.name} is the agent or something that it lives on"
        yield declared.problem(("metadata", "name"), message, remedy)
    if rules.is_agent_image(_image_name(spec.image)):
        message = f"the image {spec.image} is the agent's"
        yield declared.problem(("spec", "image"), message, remedy)
    if _carries(metadata.labels, rules.agent_labels):
        message = "these labels are the agent's own"
        yield declared.problem(("metadata", "labels"), message, remedy, of_key=True)
    for key, value in metadata.labels.items():
        if rules.is_protected(value):
            message = f"metadata.labels.{key} is the agent or something that it lives on"
            yield declared.problem(("metadata", "labels", key), message, remedy)
    for location, value in _native_names(("spec", "native"), spec.native, named=False):
        is_name = isinstance(value, str) and rules.is_protected(value)
        if is_name or (isinstance(value, dict) and _carries(value, rules.agent_labels)):
            message = f"{field_path(location)} is the agent or something that it lives on"
            yield declared.problem(location, message, remedy)


_JOINS = "container:"


def _image_name(image: str) -> str:
    """`registry:5000/team/name:tag@sha256:…` → `name`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _carries(labels: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _native_names(location: Location, value: Any, *, named: bool) -> Iterator[tuple[Location, Any]]:
    """Names and label mappings anywhere in `native`."""
    match value:
        case dict():
            yield location, value
            for key, item in value.items():
                is_name = named or re.sub(r"[-_]", "", key).lower() in _NATIVE_NAMES
                yield from _native_names((*location, key), item, named=is_name)
        case list():
            words = [item.partition("=") for item in value if isinstance(item, str)]
            yield location, {key: item for key, _, item in words}
            for number, item in enumerate(value):
                yield from _native_names((*location, number), item, named=named)
        case str() if value.startswith(_JOINS):
            # Another container's namespace: `NetworkMode: container:name`.
            yield location, value.removeprefix(_JOINS)
        case str() if named:
            # A label may be written as one text: `com.docker.compose.service=name`.
            yield location, value.rpartition("=")[2]


# ── one Service ─────────────────────────────────────────────────────────────────


def _metric_problems(declared: DeclaredService) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, check in enumerate(declared.service.spec.health.metrics):
        if check.name in seen:
            location = ("spec", "health", "metrics", number, "name")
            yield declared.problem(location, f"the metric {check.name} is there twice", "rename it")
        seen.add(check.name)


def _pointer_problems(declared: DeclaredService) -> Iterator[Problem]:
    for number, pointer in enumerate(declared.service.spec.ignore_differences):
        top = pointer.split("/")[1]
        if top not in _COMPARED:
            message = f"spec.ignoreDifferences[{number}] is {pointer}, which is never compared"
            location = ("spec", "ignoreDifferences", number)
            yield declared.problem(location, message, suggestion(top, _COMPARED))


# ── several Services ────────────────────────────────────────────────────────────


def _dependency_problems(first: Mapping[str, DeclaredService]) -> Iterator[Problem]:
    names: dict[str, list[str]] = defaultdict(list)
    for each in first.values():
        names[each.service.metadata.environment].append(each.service.metadata.name)
    for each in first.values():
        metadata = each.service.metadata
        for number, name in enumerate(each.service.spec.depends_on):
            if target_id(metadata.environment, name) not in first:
                message = f"{metadata.name} depends on {name}, which {metadata.environment} lacks"
                others = [n for n in names[metadata.environment] if n != metadata.name]
                remedy = suggestion(name, others)
                remedy = remedy if remedy.startswith("did") else "declare it, or correct the name"
                yield each.problem(("spec", "dependsOn", number), message, remedy)


def _cycles(first: Mapping[str, DeclaredService]) -> Iterator[Problem]:
    """Every dependency cycle once, told at the edge that closes it. Iterative: chains are long."""
    done: set[str] = set()
    for start in first:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, int]] = [] if start in done else [(start, 0)]
        while stack:
            target, number = stack.pop()
            if number == 0:
                on_path[target] = len(path)
                path.append(target)
            dependencies = first[target].service.dependencies
            if number == len(dependencies):
                done.add(path.pop())
                del on_path[target]
                continue
            stack.append((target, number + 1))
            following = dependencies[number]
            if following in on_path:
                yield _cycle_problem(first, [*path[on_path[following] :], following], number)
            elif following in first and following not in done:
                stack.append((following, 0))


def _cycle_problem(first: Mapping[str, DeclaredService], cycle: list[str], number: int) -> Problem:
    names = " → ".join(first[target].service.metadata.name for target in cycle)
    return first[cycle[-2]].problem(
        ("spec", "dependsOn", number),
        f"dependencies go in a circle: {names}",
        "remove one of these dependsOn entries",
    )


def _port_problems(services: Iterable[DeclaredService]) -> Iterator[Problem]:
    taken: dict[tuple[str, int, str], list[tuple[PortMapping, str]]] = defaultdict(list)
    for each in services:
        metadata = each.service.metadata
        for number, port in enumerate(each.service.spec.ports):
            if port.host is None:
                continue
            others = taken[metadata.environment, port.host, port.protocol]
            clash = next((place for other, place in others if _same_address(port, other)), None)
            if clash is not None:
                message = f"host port {port.host} of {metadata.environment} is already taken"
                remedy = f"by {clash}; choose another"
                yield each.problem(("spec", "ports", number), message, remedy)
            others.append((port, f"{metadata.name} in {each.place}"))


def _claim_problems(services: Iterable[DeclaredService], rules: StateRules) -> Iterator[Problem]:
    """Services under two names that are one object: each would undo the other's work."""
    taken: dict[tuple[str, str], DeclaredService] = {}
    for each in services:
        metadata = each.service.metadata
        find = rules.claims.get(metadata.environment)
        claims = [(metadata.environment, c) for c in find(each.service)] if find else []
        clash = next((claim for claim in claims if claim in taken), None)
        if clash is not None:
            other = taken[clash]
            message = f"{metadata.name} is {clash[1]}, and so is {other.service.metadata.name}"
            location = ("spec", "binding") if each.service.spec.binding else ("metadata", "name")
            yield each.problem(location, message, f"in {other.place}; bind one to another object")
        for claim in claims:
            taken.setdefault(claim, each)


def _same_address(one: PortMapping, other: PortMapping) -> bool:
    return (
        one.host_ip == other.host_ip or one.host_ip in _ANY_ADDRESS or other.host_ip in _ANY_ADDRESS
    )
