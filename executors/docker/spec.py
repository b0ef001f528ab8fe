"""Docker's words ↔ universal words. Pure: no SDK, no clock, no engine.

Downwards: a Service → the body of `POST /containers/create`. Upwards: the answer of
`GET /containers/{id}/json` → `ObservedInstance`. Field names are those of the Docker
Engine API v1.41 (https://docs.docker.com/reference/api/engine/version/v1.41/).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from executors.docker.membership import DIGEST_LABEL, ENV_LABEL, SERVICE_LABEL, TARGET_LABEL
from executors.docker.same_meaning import as_declared
from executors.env_note import env_words, managed_in, secret_in
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedSpec,
    empty,
)
from infrastructure.service import PortMapping, Service

Json = dict[str, Any]

_NANO = Decimal("1e-9")
_NOTHING = Decimal(0)
# The engine's default CFS period in microseconds, where a quota is set without one.
_CPU_PERIOD = 100_000
_ZERO_TIME = "0001-"
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not listened on
_LOOPBACK = "127.0.0.1"
_REASON_LENGTH = 200
_HIGHEST_PORT = 65535

_STATES = {
    "created": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "paused": InstanceState.PAUSED,
    "restarting": InstanceState.RESTARTING,
    "exited": InstanceState.STOPPED,
    "dead": InstanceState.STOPPED,
    # On its way out: neither running nor something to start.
    "removing": InstanceState.UNKNOWN,
}
# Network modes without a network of the container's own to be cut off from.
_NO_NETWORK = ("none", "host", "container:")
_HEALTH = {
    "starting": EngineHealth.STARTING,
    "healthy": EngineHealth.HEALTHY,
    "unhealthy": EngineHealth.UNHEALTHY,
}


@dataclass(frozen=True, slots=True)
class Reach:
    """How the agent gets to containers.

    `local`: the engine runs on the agent's own host, so container addresses answer.
    `host`: where published ports answer.
    `published`: whether they do: not for an agent in a container, whose loopback is its own.
    """

    local: bool
    host: str
    published: bool = True


class Container:
    """A container as `GET /containers/{id}/json` tells it. A view; it copies nothing."""

    __slots__ = ("inspect",)

    def __init__(self, inspect: Json) -> None:
        self.inspect = inspect

    @property
    def id(self) -> str:
        """The engine's 64 hex digits."""
        return str(self.inspect["Id"])

    @property
    def name(self) -> str:
        """Without the leading slash."""
        return str(self.inspect["Name"]).lstrip("/")

    @property
    def labels(self) -> Mapping[str, str]:
        """All labels, the image's included."""
        return self.config.get("Labels") or empty()

    @property
    def config(self) -> Json:
        """What belongs to the container wherever it runs."""
        return self.inspect.get("Config") or {}

    @property
    def host_config(self) -> Json:
        """What belongs to the host: limits, ports, mounts."""
        return self.inspect.get("HostConfig") or {}

    @property
    def networks(self) -> Json:
        """Network name → endpoint."""
        return (self.inspect.get("NetworkSettings") or {}).get("Networks") or {}

    @property
    def native(self) -> NativeObject:
        """For self-exclusion and audit."""
        return NativeObject("container", self.id, self.name, self.labels)

    @property
    def state(self) -> InstanceState:
        """Life, in universal words."""
        state = self.inspect.get("State") or {}
        found = _STATES.get(state.get("Status", ""), InstanceState.UNKNOWN)
        # A container that was created and failed to start is not waiting for anything.
        if found is InstanceState.PENDING and state.get("Error"):
            return InstanceState.STOPPED
        return found

    @property
    def is_cut_off(self) -> bool:
        """Whether it was made with a network and is connected to none any more."""
        mode = str(self.host_config.get("NetworkMode") or "")
        settings = self.inspect.get("NetworkSettings") or {}
        return settings.get("Networks") == {} and not mode.startswith(_NO_NETWORK)

    @property
    def health(self) -> EngineHealth:
        """The last verdict of its health check, while it runs; nobody reaches it: unhealthy."""
        state = self.inspect.get("State") or {}
        if not state.get("Running"):
            return EngineHealth.NONE
        if self.is_cut_off:
            return EngineHealth.UNHEALTHY
        return _HEALTH.get((state.get("Health") or {}).get("Status", ""), EngineHealth.NONE)

    @property
    def is_up(self) -> bool:
        """Running, and healthy as far as the engine checks."""
        return self.state is InstanceState.RUNNING and self.health in (
            EngineHealth.NONE,
            EngineHealth.HEALTHY,
        )

    @property
    def stop_timeout(self) -> int:
        """Seconds that the engine waits before it kills (its default is 10)."""
        value = self.config.get("StopTimeout")
        return 10 if value is None else int(value)


# ── upwards ─────────────────────────────────────────────────────────────────────


def observed_instance(
    inspect: Json, reach: Reach, *, keep_native: bool, native: Mapping[str, Any] = empty()
) -> ObservedInstance:
    """Docker → universal.

    Args:
        inspect: the engine's answer, its shape checked (`executors.docker.shape`).
        reach: how the agent gets to containers of this engine.
        keep_native: whether desired state has `native` fields to compare with.
        native: these fields: what means the same is told in their words.

    Raises:
        ValueError: a time or a port number in it is none.
    """
    container = Container(inspect)
    state: Json = inspect.get("State") or {}
    settings: Json = inspect.get("NetworkSettings") or {}
    life = container.state
    running = life in (InstanceState.RUNNING, InstanceState.PAUSED)
    return ObservedInstance(
        native=container.native,
        state=life,
        health=container.health,
        exit_code=None if running or life is InstanceState.PENDING else state.get("ExitCode"),
        oom_killed=bool(state.get("OOMKilled")),
        restart_count=inspect.get("RestartCount") or 0,
        started_at=timestamp(state.get("StartedAt")),
        finished_at=timestamp(state.get("FinishedAt")),
        reason=_reason(state, container),
        spec=observed_spec(container),
        native_config=as_declared(_native_config(container), native) if keep_native else empty(),
        host_access=_host_access(container),
        address=_address(settings, container.host_config, reach),
        published=_published(settings.get("Ports"), reach),
    )


def observed_spec(container: Container) -> ObservedSpec:
    """The universal fields of a container."""
    config, host = container.config, container.host_config
    command = config.get("Cmd")
    return ObservedSpec(
        image=config.get("Image"),
        command=tuple(command) if command is not None else None,
        env=env_map(config.get("Env")),
        memory=host.get("Memory") or 0,
        cpu=cores(host),
        ports=ports(config.get("ExposedPorts"), host.get("PortBindings")),
        managed_env=managed_in(noted_env(container.labels)),
        secret_env=secret_in(noted_env(container.labels)),
    )


def noted_env(labels: Mapping[str, str] | None) -> list[str]:
    """The variables that UICI set when it made the container, as `executors.env_note` notes."""
    return (labels or {}).get(ENV_LABEL, "").split()


def cores(host_config: Mapping[str, Any]) -> Decimal:
    """The CPU limit in cores, however it was set; 0 is unlimited."""
    nano = host_config.get("NanoCpus")
    if nano:
        return (Decimal(nano) * _NANO).normalize()
    quota = host_config.get("CpuQuota") or 0
    if quota <= 0:
        return _NOTHING
    return (Decimal(quota) / (host_config.get("CpuPeriod") or _CPU_PERIOD)).normalize()


def env_map(env: Iterable[str] | None) -> dict[str, str]:
    """`["A=1"]` → `{"A": "1"}`."""
    return {key: value for key, _, value in (item.partition("=") for item in env or ())}


def ports(exposed: Mapping[str, Any] | None, bindings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Exposed and published ports as `PortMapping` prints them.

    A published port appears in both forms: desired state may ask for either.
    """
    if not exposed and not bindings:
        return ()
    found = dict.fromkeys(_port_text(key) for key in (*(exposed or ()), *(bindings or ())))
    for key, hosts in (bindings or {}).items():
        for host in hosts or ():
            if host.get("HostPort"):
                address = f"{host['HostIp']}:" if host.get("HostIp") else ""
                found[f"{address}{host['HostPort']}:{_port_text(key)}"] = None
    return tuple(found)


def timestamp(text: str | None) -> datetime | None:
    """The engine's RFC 3339 time; its year 1 means never.

    Raises:
        ValueError: it is none, or of no time zone.
    """
    if not text or text.startswith(_ZERO_TIME):
        return None
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"no time zone: {text}")
    return found


def _port_text(key: str) -> str:
    number, _, protocol = key.partition("/")
    return number if protocol in ("tcp", "") else f"{number}/{protocol}"


def _reason(state: Json, container: Container) -> str:
    error = state.get("Error")
    if error:
        return " ".join(str(error).split())[:_REASON_LENGTH]
    if state.get("Dead"):
        return "dead: the engine could not remove it"
    if state.get("Running") and container.is_cut_off:
        return "connected to no network"
    unhealthy = container.health is EngineHealth.UNHEALTHY
    log = (state.get("Health") or {}).get("Log") if unhealthy else None
    if log:
        output = " ".join(str(log[-1].get("Output", "")).split())[:_REASON_LENGTH]
        return f"health check exits {log[-1].get('ExitCode')}: {output}"
    return ""


def _native_config(container: Container) -> Json:
    """The same shape as the body of a create request, which is what `native` is written in."""
    return {
        **container.config,
        "HostConfig": container.host_config,
        "NetworkingConfig": {"EndpointsConfig": container.networks},
    }


_ENGINE_VARIABLES = ("DOCKER_HOST", "CONTAINER_HOST")
_AS_GOOD_AS_PRIVILEGED = frozenset({"ALL", "SYS_ADMIN", "CAP_SYS_ADMIN"})


def _host_access(container: Container) -> tuple[str, ...]:
    """See `ObservedInstance`. The engine lists what is mounted, however that was asked for."""
    host, variables = container.host_config, env_map(container.config.get("Env"))
    found = [
        str(mount.get("Source"))
        for mount in container.inspect.get("Mounts") or ()
        if mount.get("Type") == "bind" and mount.get("Source")
    ]
    if host.get("Privileged") or not _AS_GOOD_AS_PRIVILEGED.isdisjoint(host.get("CapAdd") or ()):
        found.append("privileged")
    if host.get("PidMode") == "host":
        found.append("host processes")
    found += [variables[name] for name in _ENGINE_VARIABLES if variables.get(name)]
    return tuple(found)


def _address(settings: Json, host_config: Json, reach: Reach) -> str | None:
    if not reach.local:
        return None
    if host_config.get("NetworkMode") == "host":
        return _LOOPBACK
    if settings.get("IPAddress"):
        return str(settings["IPAddress"])
    networks = settings.get("Networks") or {}
    found = (networks[name].get("IPAddress") for name in sorted(networks))
    return next((str(address) for address in found if address), None)


def _published(bindings: Json | None, reach: Reach) -> Mapping[int, tuple[str, int]]:
    """Container port → where it answers, as the agent sees it."""
    if not bindings or not reach.published:
        return empty()
    found: dict[int, tuple[str, int]] = {}
    for key, hosts in bindings.items():
        number, _, protocol = key.partition("/")
        if protocol != "tcp":
            continue
        for host in hosts or ():
            if not host.get("HostPort"):
                continue  # none was given to it (yet)
            address = host.get("HostIp") or ""
            if not reach.local and address.startswith("127."):
                continue  # the engine's own loopback can't be reached from here
            where = reach.host if address in _ANY_ADDRESS else address
            found.setdefault(_port_number(number), (where, _port_number(host["HostPort"])))
    return found


def _port_number(text: str) -> int:
    number = int(text)
    if not 0 < number <= _HIGHEST_PORT:
        raise ValueError(f"no port: {number}")
    return number


# ── downwards ───────────────────────────────────────────────────────────────────


def create_body(service: Service, env: Mapping[str, str], *, image: str | None = None) -> Json:
    """The body of a create request for one instance, from desired state alone.

    Args:
        service: desired state.
        env: its environment with secrets resolved.
        image: another image than the declared one.
    """
    return overlay({}, service, env, image=image)


def overlay(
    base: Mapping[str, Any], service: Service, env: Mapping[str, str], *, image: str | None = None
) -> Json:
    """Desired state laid over a create body: first `native`, then the universal words.

    What desired state does not speak of stays as it is in `base`, which is not changed.
    """
    spec = service.spec
    body = merged(copy.deepcopy(dict(base)), spec.native)
    host: Json = body.setdefault("HostConfig", {})
    body["Image"] = image or spec.image
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    values = {**env_map(body.get("Env")), **env}
    # What UICI had set and Git no longer names goes; what people or `native` set stays.
    managed = managed_in(noted_env(body.get("Labels")))
    gone = managed - env.keys() - env_map(spec.native.get("Env")).keys()
    values = {key: value for key, value in values.items() if key not in gone}
    if values or gone:
        body["Env"] = [f"{key}={value}" for key, value in values.items()]
    body["Labels"] = {
        **(body.get("Labels") or {}),
        TARGET_LABEL: service.target,
        SERVICE_LABEL: service.metadata.name,
        DIGEST_LABEL: service.spec_digest,
        ENV_LABEL: " ".join(env_words(spec.env)),
    }
    _overlay_ports(body, host, spec.ports)
    if spec.resources.memory is not None:
        host.update(memory_limit(spec.resources.memory, host))
    if spec.resources.cpu is not None:
        host.update(NanoCpus=nano_cpus(spec.resources.cpu), CpuQuota=0, CpuPeriod=0)
    return body


def _overlay_ports(body: Json, host: Json, wanted: tuple[PortMapping, ...]) -> None:
    if not wanted:
        return
    exposed: Json = dict(body.get("ExposedPorts") or {})
    bindings: Json = dict(host.get("PortBindings") or {})
    published: dict[str, list[Json]] = {}
    for port in wanted:
        key = f"{port.container}/{port.protocol}"
        exposed[key] = {}
        if port.host is not None:
            entry = {"HostIp": port.host_ip or "", "HostPort": str(port.host)}
            published.setdefault(key, []).append(entry)
    body["ExposedPorts"] = exposed
    host["PortBindings"] = {**bindings, **published}


def memory_limit(memory: int, current: Mapping[str, Any]) -> Json:
    """`Memory` with a fitting `MemorySwap` (memory and swap together; -1 is unlimited).

    The engine refuses a limit above the swap limit, and by itself sets the latter to twice
    the former: that default, no swap at all, and any other amount of swap are kept.
    """
    old = current.get("Memory") or 0
    swap = current.get("MemorySwap") or 0
    if not memory:
        return {"Memory": 0, "MemorySwap": min(swap, 0)}
    if swap < 0:
        total = -1
    elif not old or not swap or swap == 2 * old:
        total = 2 * memory
    else:
        total = memory + max(0, swap - old)
    return {"Memory": memory, "MemorySwap": total}


def nano_cpus(cpu: Decimal) -> int:
    """Cores → the engine's unit."""
    return int(cpu / _NANO)


def merged(base: Json, over: Mapping[str, Any]) -> Json:
    """`over` laid into `base`, mapping by mapping; other values are replaced."""
    for key, value in over.items():
        below = base.get(key)
        if isinstance(value, Mapping):
            base[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            base[key] = value
    return base


def joined_containers(native: Mapping[str, Any]) -> tuple[str, ...]:
    """Names or ids of containers whose namespaces or volumes `native` asks for."""
    host = native.get("HostConfig")
    if not isinstance(host, Mapping):
        return ()
    modes = [v for v in host.values() if isinstance(v, str) and v.startswith("container:")]
    volumes = host.get("VolumesFrom")
    names = [str(v).partition(":")[0] for v in volumes] if isinstance(volumes, list) else []
    return (*(mode.removeprefix("container:") for mode in modes), *names)
