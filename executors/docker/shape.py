"""Whether an answer of the engine has the shape that the Engine API promises.

Checked once where an answer comes in, for what `membership`, `spec` and `carry_over` read,
so that these need not doubt what they get. An answer of another shape is never read as "no
container" or "no limit", which would be drift to repair; it is a failed read, which may be
tried again. Other fields are free: engines differ in them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infrastructure.errors import TemporaryError

Json = dict[str, Any]

# The engine's own integers. Python's would let a figure of a thousand digits through.
_Int = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# Far longer than any that an engine takes; numbers in names are read as numbers.
_Name = Annotated[str, Field(max_length=1024)]
_Id = Annotated[str, Field(min_length=1, max_length=1024)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Entry(_Answer):
    Id: _Id
    Names: list[_Name] | None
    Labels: dict[str, str] | None = None


class _Health(_Answer):
    Status: str | None = None
    Log: list[Json] | None = None


class _State(_Answer):
    Status: str
    Running: bool | None = None
    Dead: bool | None = None
    OOMKilled: bool | None = None
    ExitCode: _Int | None = None
    Error: str | None = None
    StartedAt: str | None = None
    FinishedAt: str | None = None
    Health: _Health | None = None


class _Binding(_Answer):
    HostIp: str | None = None
    HostPort: str | None = None


_Ports = dict[str, list[_Binding] | None]


class _Config(_Answer):
    Image: str | None = None
    Cmd: list[str] | None = None
    Env: list[str] | None = None
    Labels: dict[str, str] | None = None
    ExposedPorts: Json | None = None
    Volumes: Json | None = None
    StopTimeout: _Int | None = None


class _HostConfig(_Answer):
    Memory: _Int | None = None
    MemorySwap: _Int | None = None
    NanoCpus: _Int | None = None
    CpuQuota: _Int | None = None
    CpuPeriod: _Int | None = None
    NetworkMode: str | None = None
    PortBindings: _Ports | None = None
    Binds: list[str] | None = None
    Links: list[str] | None = None
    Mounts: list[Json] | None = None
    PidMode: str | None = None
    CapAdd: list[str] | None = None


class _Endpoint(_Answer):
    IPAddress: str | None = None
    Aliases: list[str] | None = None


class _NetworkSettings(_Answer):
    IPAddress: str | None = None
    Ports: _Ports | None = None
    Networks: dict[str, _Endpoint] | None = None


class _Container(_Answer):
    Id: _Id
    Name: _Name
    Image: str | None = None
    RestartCount: _Int | None = None
    State: _State
    Config: _Config
    HostConfig: _HostConfig
    NetworkSettings: _NetworkSettings | None = None
    Mounts: list[Json] | None = None


_LIST = TypeAdapter(list[_Entry])
_CONTAINER = TypeAdapter(_Container)


def container_list(answer: Any, *, what: str, engine: str) -> list[Json]:
    """The answer of `GET /containers/json`, as it came.

    Args:
        answer: decoded JSON.
        what: the action, for the message.
        engine: the engine's address, for the message.

    Raises:
        TemporaryError: it is of another shape.
    """
    _check(_LIST, answer, what=what, engine=engine)
    found: list[Json] = answer
    return found


def container(answer: Any, *, what: str, engine: str) -> Json:
    """The answer of `GET /containers/{id}/json`, as it came. See `container_list`."""
    _check(_CONTAINER, answer, what=what, engine=engine)
    found: Json = answer
    return found


def decoded(body: bytes, *, what: str, engine: str) -> Any:
    """The JSON of an answer; None: it is empty.

    Raises:
        TemporaryError: it is none.
    """
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError) as exc:  # RecursionError: nested too deep
        raise not_an_engine(what, engine) from exc


def not_an_engine(what: str, engine: str, where: str = "") -> TemporaryError:
    """The error for an answer that can't be read; `where` is the field."""
    found = f" ({where})" if where else ""
    return TemporaryError(f"{what}: {engine} answers, but not as a Docker Engine does{found}")


def _check(shape: TypeAdapter[Any], answer: Any, *, what: str, engine: str) -> None:
    try:
        shape.validate_python(answer)
    except ValidationError as exc:
        raise not_an_engine(what, engine, _where(exc)) from None


def _where(exc: ValidationError) -> str:
    """The first wrong field, two levels deep: below may be keys and values of people."""
    path = exc.errors(include_input=False, include_context=False, include_url=False)[0]["loc"]
    return ".".join([part for part in path if isinstance(part, str)][:2])
