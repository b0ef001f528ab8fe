"""What the words of a Service must be so that an engine can take them.

A value that no engine takes is better refused beside its line in Git than found out in an
incident, by an engine that says less. Shapes only: whether an image exists is the
engine's to tell. No rule repeats a value that may hold a secret. Neighbour:
`infrastructure.desired_state` calls it after the file has its shape.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from infrastructure.errors import Problem
from infrastructure.model_problems import field_path
from infrastructure.service import PortMapping, Service
from infrastructure.yaml_source import Location

# The reference grammar of the OCI distribution project (distribution/reference), without
# its rarities: [host[:port]/]path[:tag][@digest].
_HOST = r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
# An image known by its id alone, and one of Oracle Cloud's own.
_BY_ID = re.compile(r"sha256:[0-9a-f]{64}|ocid1\.image\.[A-Za-z0-9.-]+")
_CREDENTIALS = re.compile(r"^[^/@]*:[^@]*@[^/@]*/")
_MAX_IMAGE = 512
_WRITE_IMAGE = "write it as registry.example.com/team/name:1.2.3, in lower case but for the tag"

Report = Callable[..., Problem]  # (location, message, remedy): a mistake at a place


def reference_problems(service: Service, data: Any, problem: Report) -> Iterator[Problem]:
    """Every such mistake of one Service.

    Args:
        service: it, as read.
        data: the document that it was read from.
        problem: makes a mistake of its place in the document, see `YamlDocument.problem`.
    """
    if _holds_nul(data):
        yield from _unusable_text((), data, problem)
    yield from _image_problems(service.spec.image, problem)
    yield from _port_problems(service.spec.ports, problem)
    yield from _blank_problems(service, problem)


def _holds_nul(value: Any) -> bool:
    """Whether any text has one: asked of every document, so without telling where."""
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(map(_holds_nul, value.values()))
        case list():
            return any(map(_holds_nul, value))
    return False


def _unusable_text(location: Location, value: Any, problem: Report) -> Iterator[Problem]:
    """Text that ends at its NUL for every program."""
    match value:
        case dict():
            for key, item in value.items():
                yield from _unusable_text((*location, key), item, problem)
        case list():
            for number, item in enumerate(value):
                yield from _unusable_text((*location, number), item, problem)
        case str() if "\x00" in value:
            message = f"{field_path(location)} holds a NUL character"
            yield problem(location, message, "remove the \\0 or \\x00: no program can be given it")


def _image_problems(image: str, problem: Report) -> Iterator[Problem]:
    location = ("spec", "image")
    if _CREDENTIALS.search(image):
        message = "spec.image holds a user name and a password"
        yield problem(
            location, message, "log the engine in to the registry, and name the image only"
        )
    elif "://" in image:
        message = "spec.image is an address, not the name of an image"
        yield problem(location, message, f"leave out what is before ://; {_WRITE_IMAGE}")
    elif len(image) > _MAX_IMAGE or not (_IMAGE.fullmatch(image) or _BY_ID.fullmatch(image)):
        yield problem(location, "spec.image is not the name of an image", _WRITE_IMAGE)


def _port_problems(ports: tuple[PortMapping, ...], problem: Report) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, port in enumerate(ports):
        location = ("spec", "ports", number)
        if port.host_ip is not None and not _is_address(port.host_ip):
            message = f"spec.ports[{number}]: {port.host_ip} is no address"
            yield problem(location, message, "write one such as 127.0.0.1, or leave it out")
        if str(port) in seen:
            yield problem(location, f"spec.ports[{number}] is there twice", "remove one of them")
        seen.add(str(port))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _blank_problems(service: Service, problem: Report) -> Iterator[Problem]:
    """Text that is there and says nothing."""
    spec = service.spec
    texts: list[tuple[Location, str]] = [
        (("spec", "health", "metrics", number, "query"), check.query)
        for number, check in enumerate(spec.health.metrics)
    ]
    if spec.suspend is not None:
        texts.append((("spec", "suspend", "reason"), spec.suspend.reason))
    for number, selector in enumerate(spec.alerts):
        for name, value in selector.matchers.items():
            place = ("spec", "alerts", number, "matchers", name)
            # Alertmanager has no empty labels: such a selector can match nothing.
            texts += [(place, value), (place, name)]
    for location, text in texts:
        if not text.strip():
            yield problem(
                location, f"{field_path(location)} is blank", "say it, or remove the field"
            )
