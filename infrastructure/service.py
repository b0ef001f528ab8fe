"""Desired state: kind Service, as written in Git.

A value here is what people *want*. What was seen is in `infrastructure.observed`.
Field names in YAML are camelCase as in Kubernetes; in Python they are snake_case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from infrastructure.quantities import Cpu, Duration, Memory

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_REFERENCE = r"^(env|file|prefect):\S+$"
_URL_PATH = r"^/\S*$"
_EXPECTATION = r"^(==|!=|<=|>=|<|>)\s*-?\d+(\.\d+)?([eE]-?\d+)?$"
_POINTER = r"^(/([^/~]|~[01])+)+$"
_VARIABLE = r"^[^=\s\x00]+$"
_TIME_OF_DAY = r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$"

# What each pattern asks for, in the words of a message: "must …".
PATTERN_WORDS = {
    _NAME: "be lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    _REFERENCE: "refer to a secret as env:NAME, file:/path or prefect:block-name",
    _URL_PATH: "begin with / and hold no space",
    _EXPECTATION: 'compare with a number, such as "== 1" or "< 0.5"',
    _POINTER: "be a JSON pointer into the spec, such as /replicas or /env/LOG_LEVEL",
    _VARIABLE: "be the name of an environment variable, without '=' and spaces",
    _TIME_OF_DAY: "be a time of day from 00:00 to 24:00",
}

# RFC 1123 label: what Docker, Kubernetes and Oracle Cloud all take as a name.
Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=63)]


class Document(BaseModel):
    """Base of everything that people write: unknown fields refused, values immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
    )


class SecretRef(Document):
    """A secret by reference: `env:NAME`, `file:/path` or `prefect:block-name`.

    Attributes:
        secret: where the value is read when it is needed.
    """

    secret: Annotated[str, StringConstraints(pattern=_REFERENCE)]


def _text(value: Any) -> Any:
    """YAML reads `8080` and `true` as numbers and booleans; an environment holds text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _env_kind(value: Any) -> str | None:
    if isinstance(value, str | bool | int | float):
        return "text"
    return "reference" if isinstance(value, dict | SecretRef) else None


# One complaint for a wrong value, and not one for each member of the union.
EnvValue = Annotated[
    Annotated[
        str,
        BeforeValidator(_text, json_schema_input_type=str | bool | int | float),
        Tag("text"),
    ]
    | Annotated[SecretRef, Tag("reference")],
    Discriminator(
        _env_kind,
        custom_error_type="env_value",
        custom_error_message='must be text, or a reference such as {secret: "env:NAME"}',
    ),
]
EnvName = Annotated[str, StringConstraints(pattern=_VARIABLE)]
Pointer = Annotated[str, StringConstraints(pattern=_POINTER)]


class Resources(Document):
    """Limits of one instance. Absent means: desired state does not say.

    Attributes:
        memory: such as `256Mi`.
        cpu: cores, such as `"0.5"`.
    """

    memory: Memory | None = None
    cpu: Cpu | None = None


class PortMapping(Document):
    """A container port and, where the environment publishes ports, its host address.

    Attributes:
        container: the port inside.
        host_ip: the address outside; null: the engine's choice.
        host: the port outside; null: not published.
        protocol: of the port.
    """

    container: int = Field(ge=1, le=65535)
    host_ip: str | None = None
    host: int | None = Field(default=None, ge=1, le=65535)
    protocol: Literal["tcp", "udp"] = "tcp"

    def __str__(self) -> str:
        host = f"{self.host_ip + ':' if self.host_ip else ''}{self.host}:" if self.host else ""
        return f"{host}{self.container}" + ("" if self.protocol == "tcp" else "/udp")


_PORT = re.compile(
    r"^(?:(?:(?P<ip>\d+\.\d+\.\d+\.\d+):)?(?P<host>\d+):)?(?P<container>\d+)(?:/(?P<proto>tcp|udp))?$"
)


def parse_port(value: Any) -> Any:
    """`"127.0.0.1:18000:8000/tcp"` (Compose's short syntax) → PortMapping fields."""
    match = _PORT.match(_text(value)) if isinstance(value, str | int) else None
    if match is None:
        if isinstance(value, str):
            raise ValueError('write a port as "8000", "18000:8000" or "127.0.0.1:18000:8000"')
        return value
    return {
        "container": int(match["container"]),
        "hostIp": match["ip"],
        "host": int(match["host"]) if match["host"] else None,
        "protocol": match["proto"] or "tcp",
    }


Port = Annotated[
    PortMapping, BeforeValidator(parse_port, json_schema_input_type=str | int | PortMapping)
]


class HttpProbe(Document):
    """An HTTP GET that must answer 200–399 within `timeout`.

    Attributes:
        port: a container port.
        path: of the request.
        timeout: a slower answer is a failure.
    """

    port: int = Field(ge=1, le=65535)
    path: Annotated[str, StringConstraints(pattern=_URL_PATH)] = "/"
    timeout: Duration = timedelta(seconds=2)


class MetricCheck(Document):
    """A PromQL expression and what its value must be.

    Breached only when every sample of the last `for` breaks `expect`;
    no sample is unknown, never a breach.

    Attributes:
        name: unique in the service.
        query: PromQL.
        expect: an operator and a number.
        for_: so long every sample must break it.
    """

    name: Name
    query: str = Field(min_length=1)
    expect: Annotated[str, StringConstraints(pattern=_EXPECTATION)]
    for_: Duration = Field(default=timedelta(0), alias="for")


class Health(Document):
    """How to tell that the service works, beyond its process being there.

    Attributes:
        http: an HTTP request that has to succeed.
        metrics: PromQL expressions that have to hold.
    """

    http: HttpProbe | None = None
    metrics: tuple[MetricCheck, ...] = ()


class AlertSelector(Document):
    """Alerts whose labels equal all of these belong to this service.

    Attributes:
        matchers: label → value.
    """

    matchers: dict[str, str] = Field(min_length=1)


class Mode(StrEnum):
    """What UICI may do about a target. Ordered: each allows what the one before does."""

    OBSERVE = "observe"
    PROPOSE = "propose"
    ENFORCE = "enforce"


class Backoff(Document):
    """Waiting time after the n-th failed attempt: initial × 2^(n-1), at most max.

    Attributes:
        initial: the wait after the first failed attempt; it doubles with each.
        max: the longest wait.
    """

    initial: Duration
    max: Duration


# Python's own years end at 1 and 9999: what lies there can't be told in every other zone, nor
# can a length be added to it.
_FIRST_YEAR, _LAST_YEAR = 1970, 9000


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("write a time zone, such as 2026-12-01T00:00:00Z")
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"write a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


# A moment that can be compared with every other, and told in every zone.
Moment = Annotated[datetime, AfterValidator(_zoned)]


class Day(StrEnum):
    """A day of the week, Monday first, as `date.weekday()` counts them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


TimeOfDay = Annotated[str, StringConstraints(pattern=_TIME_OF_DAY)]


class Window(Document):
    """When something may be done: while the clock on the wall there says from ≤ time < to.

    With `to` before `from` it passes midnight and belongs to the day on which it begins.

    Attributes:
        days: on which it begins.
        from_: from this time of day …
        to: … until this one.
        time_zone: a name of the IANA database, such as `Europe/Berlin`.
    """

    days: tuple[Day, ...] = Field(default=tuple(Day), min_length=1)
    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay
    time_zone: str = Field(examples=["Europe/Berlin", "UTC"])

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - few services have a window

        try:
            ZoneInfo(value)
        except (ValueError, OSError, LookupError) as exc:
            raise ValueError("write a time zone's name, such as Europe/Berlin or UTC") from exc
        return value

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.from_ in (self.to, "24:00"):
            raise ValueError("a window has a length; a whole day is from 00:00 to 24:00")
        return self


def _several(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


# One, or a list of which any may be open; empty: always.
Windows = Annotated[
    tuple[Window, ...],
    BeforeValidator(_several, json_schema_input_type=Window | tuple[Window, ...]),
]


class Freeze(Document):
    """A time in which nothing is done, whatever window is open.

    Attributes:
        start: with a time zone.
        end: null: until the freeze is removed.
        reason: for people.
    """

    start: Moment
    end: Moment | None = None
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError("a freeze ends after it has begun")
        return self


class Overrun(StrEnum):
    """What becomes of a plan that has begun when its window ends. Ordered: strictest first.

    STOP: no step is begun that may not end in time. FINISH: a plan that has begun goes on.
    """

    STOP = "stop"
    FINISH = "finish"


class ReplicaLimit(Document):
    """Up to this many replicas are right, although Git declares fewer.

    Attributes:
        max: at most.
    """

    max: int = Field(ge=1, le=1000)


class MemoryLimit(Document):
    """Up to this much memory is right, although Git declares less.

    Attributes:
        max: at most.
    """

    max: Memory


class CpuLimit(Document):
    """Up to this many cores are right, although Git declares fewer.

    Attributes:
        max: at most, in cores.
    """

    max: Cpu


class Limits(Document):
    """How far above what Git declares a repair may go. Never below it, and nothing else.

    Attributes:
        replicas: of the service.
        memory: of one instance.
        cpu: of one instance.
    """

    replicas: ReplicaLimit | None = None
    memory: MemoryLimit | None = None
    cpu: CpuLimit | None = None


class Remediation(Document):
    """The Service's own limits; absent fields come from the environment, then the platform.

    Attributes:
        mode: the strictest of service, environment and platform holds.
        max_attempts: before a person has to look.
        backoff: the wait between attempts.
        cool_down: rest of the same operation after it was done.
        replica_share: of the replicas, how many may be down at once.
        window: when it may be touched.
        freezes: added to the environment's and the platform's.
        overrun: at a window's end.
        limits: how far above Git an autoscaler may go.
    """

    mode: Mode | None = None
    max_attempts: int | None = Field(default=None, ge=0, le=100)
    backoff: Backoff | None = None
    cool_down: Duration | None = None
    replica_share: float | None = Field(default=None, gt=0, le=1)
    window: Windows = ()
    freezes: tuple[Freeze, ...] = ()
    overrun: Overrun | None = None
    limits: Limits = Limits()


class Suspend(Document):
    """A person's hold on a target: nothing is done to it until `until`.

    Attributes:
        reason: for people.
        until: with a time zone; null: until it is removed.
    """

    reason: str = Field(min_length=1)
    until: Moment | None = None


class Metadata(Document):
    """Name and place of a Service. (environment, name) is unique in a state repo.

    Attributes:
        name: lower-case letters, digits, `-` and `.`.
        environment: of environments.yml.
        labels: for people.
    """

    name: Name
    environment: Name
    labels: dict[str, str] = Field(default_factory=dict)


class ServiceSpec(Document):
    """What should run. An absent field is not compared: desired state does not say.

    Attributes:
        image: as the environment names it.
        command: the words of the process; null: the image's own.
        replicas: how many instances.
        env: environment variables; a secret is a reference, never a value.
        resources: limits of one instance.
        ports: in Compose's short syntax, such as `127.0.0.1:18000:8000`.
        depends_on: services of the same environment that it can't work without.
        health: how to tell that it works.
        alerts: which alerts are about it.
        binding: what the service is in its environment (a StatefulSet, an instance pool …), in
            that executor's words: its `Binding` model checks them.
        native: fields of the environment that have no universal word, compared as a subset.
        ignore_differences: JSON pointers into the spec that somebody else owns, such as
            `/replicas` with an autoscaler.
        remediation: its own limits.
        suspend: a person's hold on it.
    """

    image: str = Field(min_length=1)
    command: tuple[str, ...] | None = None
    replicas: int = Field(default=1, ge=0, le=1000)
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    resources: Resources = Resources()
    ports: tuple[Port, ...] = ()
    depends_on: tuple[Name, ...] = ()
    health: Health = Health()
    alerts: tuple[AlertSelector, ...] = ()
    binding: dict[str, Any] = Field(default_factory=dict)
    native: dict[str, Any] = Field(default_factory=dict)
    ignore_differences: tuple[Pointer, ...] = ()
    remediation: Remediation = Remediation()
    suspend: Suspend | None = None


class Service(Document):
    """One file of desired state.

    Attributes:
        metadata: which service, and where.
        spec: how it should be.
    """

    model_config = ConfigDict(json_schema_extra={"title": "UICI Service"})

    api_version: Literal["uici/v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec

    @cached_property
    def target(self) -> str:
        """Inventory id: `environment/name`. The only way anything names a target."""
        return target_id(self.metadata.environment, self.metadata.name)

    @cached_property
    def spec_digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the spec: attempts are counted against it.

        `suspend` and `remediation` are left out: pausing a target must not reset its
        attempts.
        """
        text = self.spec.model_dump_json(
            exclude={"suspend", "remediation"}, by_alias=True, exclude_defaults=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """Inventory ids of what this service needs; same environment."""
        return tuple(target_id(self.metadata.environment, n) for n in self.spec.depends_on)

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        """Variable → the secret reference that gives its value."""
        env = self.spec.env.items()
        return {name: value.secret for name, value in env if isinstance(value, SecretRef)}


def target_id(environment: str, name: str) -> str:
    """Inventory id of a service."""
    return f"{environment}/{name}"
