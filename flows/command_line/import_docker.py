"""`uici import docker`: containers that run as Service files.

A file says what the container does not have from its image and what is not the engine's own
default, in universal words where there are any and in the engine's field names elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from executors.deadline import Deadline
from executors.docker import shape
from executors.docker.carry_over import endpoints_of, primary_network
from executors.docker.membership import DIGEST_LABEL, SERVICE_LABEL, TARGET_LABEL, Listed, listed
from executors.docker.sdk import Connection, SdkEngine
from executors.docker.session import Json
from executors.docker.spec import Container, cores, env_map, ports
from flows.command_line.import_files import Imported
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import NotFoundError
from infrastructure.identity import AgentIdentity
from infrastructure.quantities import format_cpu
from infrastructure.service import parse_port
from infrastructure.sources.draft import Draft, Point
from infrastructure.sources.names import service_name

_COMPOSE = "com.docker.compose."
_PROJECT, _SERVICE = f"{_COMPOSE}project", f"{_COMPOSE}service"
_KEPT_LABELS = frozenset({_PROJECT, _SERVICE, f"{_COMPOSE}oneoff"})
_OWN_LABELS = frozenset({TARGET_LABEL, SERVICE_LABEL, DIGEST_LABEL})

# Fields of a create request that are universal words, the engine's bookkeeping, or told
# apart below.
_NOT_NATIVE = frozenset(
    {"ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "Entrypoint", "Env"}
    | {"ExposedPorts", "Hostname", "Image", "Labels", "OnBuild"}
)
_NOT_NATIVE_HOST = frozenset(
    {"ConsoleSize", "ContainerIDFile", "CpuPeriod", "CpuQuota", "Links", "LogConfig"}
    | {"MaskedPaths", "Memory", "MemorySwap", "NanoCpus", "NetworkMode", "PortBindings"}
    | {"ReadonlyPaths"}
)
_SHM_SIZE = 64 * 1024 * 1024  # the engine's default


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """What the engine gives to a container that says nothing."""

    logging: str
    runtime: str
    cgroup_namespace: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> EngineDefaults:
        """From the answer of `GET /info`."""
        version = str(info.get("CgroupVersion") or "1")
        return cls(
            str(info.get("LoggingDriver") or "json-file"),
            str(info.get("DefaultRuntime") or "runc"),
            "private" if version == "2" else "host",
        )

    def neutral(self, key: str, value: Any) -> bool:
        """Whether a field of HostConfig is as it is without anybody's word."""
        if value in (None, "", 0, False, [], {}):
            return True
        defaults: Mapping[str, tuple[Any, ...]] = {
            "CgroupnsMode": (self.cgroup_namespace,),
            "IpcMode": ("private", "shareable"),
            "Isolation": ("default",),
            "MemorySwappiness": (-1,),
            "PidsLimit": (-1,),
            "RestartPolicy": ({"Name": "no", "MaximumRetryCount": 0},),
            "Runtime": (self.runtime,),
            "ShmSize": (_SHM_SIZE,),
        }
        empty_policy = {"Name": "", "MaximumRetryCount": 0}
        return value in defaults.get(key, ()) or value == empty_policy


def import_docker(
    config: UniversalConfig,
    environment: str,
    identity: AgentIdentity,
    *,
    names: Sequence[str] = (),
) -> Imported:
    """What runs on the engine of an environment.

    Args:
        config: the configuration.
        environment: one whose executor is docker.
        identity: the agent's; its own containers are left out.
        names: only these services; none: all.

    Raises:
        UiciError: the engine can't be asked.
    """
    engine = SdkEngine(config.connection(environment, Connection))
    deadline = Deadline(config.environments.environments[environment].deadline.total_seconds())
    try:
        return _imported(_Reader(engine, deadline), environment, identity, names)
    finally:
        engine.close()


class _Reader:
    """Asks one engine, within one deadline."""

    def __init__(self, engine: SdkEngine, deadline: Deadline) -> None:
        self._engine = engine
        self._deadline = deadline
        self._images: dict[str, Json] = {}

    def get(self, path: str, what: str) -> Any:
        return self._engine.get(path, what=what, timeout=self._deadline.require(what))

    def containers(self) -> list[tuple[Listed, str]]:
        """All containers with their states."""
        what = "list containers"
        answer = self.get("/containers/json?all=1", what)
        entries = shape.container_list(answer, what=what, engine=self._engine.address)
        return [(listed(entry), str(entry.get("State", ""))) for entry in entries]

    def defaults(self) -> EngineDefaults:
        """Of this engine."""
        return EngineDefaults.of(self.get("/info", "ask for the engine's defaults"))

    def container(self, entry: Listed) -> Container | None:
        """The container, unless it is gone by now."""
        what = "inspect a container"
        try:
            answer = self.get(f"/containers/{entry.id}/json", what)
        except NotFoundError:
            return None
        return Container(shape.container(answer, what=what, engine=self._engine.address))

    def image_config(self, container: Container) -> Json:
        """`Config` of the image that a container was made from; empty if it is gone."""
        image = str(container.inspect.get("Image", ""))
        if image not in self._images:
            try:
                found = self.get(f"/images/{quote(image, safe='')}/json", "inspect an image")
            except NotFoundError:
                found = {}
            self._images[image] = found.get("Config") or {}
        return self._images[image]


def _imported(
    reader: _Reader, environment: str, identity: AgentIdentity, names: Sequence[str]
) -> Imported:
    left_out: list[str] = []
    told: set[str] = set()
    groups: dict[str, list[Listed]] = defaultdict(list)
    for entry, state in reader.containers():
        name, reason = _named(entry, state, identity)
        if names and name not in names and entry.name not in names:
            continue
        if reason:
            left_out.append(f"{entry.name}: {reason}")
            told |= {entry.name, name or ""}
        elif name is not None:
            groups[name].append(entry)
    absent = [name for name in names if name not in groups and name not in told]
    left_out += [f"{name}: nothing of this name runs" for name in absent]
    defaults = reader.defaults() if groups else EngineDefaults("", "", "")
    drafts: list[tuple[Draft, str]] = []
    for name, entries in sorted(groups.items()):
        found = [c for entry in entries if (c := reader.container(entry)) is not None]
        if not found:
            continue
        made = [container_draft(name, c, reader.image_config(c), defaults) for c in found]
        reason = _several(name, entries, made)
        if reason:
            left_out.append(reason)
            continue
        draft = made[0]
        if len(made) > 1:
            draft.put(("replicas",), len(made), draft.origin)
        drafts.append((draft, f"Imported from the running container {found[0].name}."))
    return Imported(environment, drafts, left_out)


def _named(entry: Listed, state: str, identity: AgentIdentity) -> tuple[str | None, str]:
    """The service that a container is of; or why it is none."""
    composed = entry.labels.get(_SERVICE)
    name = service_name(composed or entry.name)
    reason = ""
    if identity.reason(entry.native):
        reason = "it is the agent's own, or what the agent lives on"
    elif TARGET_LABEL in entry.labels:
        reason = f"it is {entry.labels[TARGET_LABEL]} of a state repository already"
    elif state not in {"running", "restarting"}:
        reason = f"it is {state}"
    elif entry.labels.get(f"{_COMPOSE}oneoff", "").lower() == "true":
        reason = "it is of one `compose run`"
    elif name is None or (composed is None and name != entry.name):
        wanted = f" {entry.name} {name}" if name else " it"
        reason = f"no service can have such a name: docker rename{wanted}"
    return name, reason


def _several(name: str, entries: Sequence[Listed], made: Sequence[Draft]) -> str:
    """Why the containers of one name are not replicas of one service; empty if they are."""
    projects = {entry.labels.get(_PROJECT, "") for entry in entries}
    written = {entry.labels.get(_SERVICE, entry.name) for entry in entries}
    if len(written) > 1:
        names = ", ".join(sorted(written))
        return f"{name}: {names} would all be called so; rename all but one, or import one by one"
    if len(projects) > 1:
        return f"{name}: projects {', '.join(sorted(projects))} both have it; import one by one"
    if any(draft.spec != made[0].spec for draft in made):
        return f"{name}: its {len(made)} containers differ from each other"
    return ""


# ── one container ───────────────────────────────────────────────────────────────


def container_draft(
    name: str, container: Container, image: Json, defaults: EngineDefaults
) -> Draft:
    """A container in the words of a Service.

    Args:
        name: the service's.
        container: as inspected.
        image: `Config` of its image.
        defaults: the engine's.
    """
    point = Point(container.name, 0, 0)
    draft = Draft(name, point)
    config, host = container.config, container.host_config

    def put(location: tuple[str, ...], value: Any) -> None:
        draft.put(location, value, point)

    put(("image",), str(config.get("Image", "")))
    own_entrypoint = config.get("Entrypoint") != image.get("Entrypoint")
    if own_entrypoint and config.get("Entrypoint"):
        put(("native", "Entrypoint"), config["Entrypoint"])
    if config.get("Cmd") and (own_entrypoint or config["Cmd"] != image.get("Cmd")):
        put(("command",), config["Cmd"])
    theirs = env_map(image.get("Env"))
    for key, value in env_map(config.get("Env")).items():
        if theirs.get(key) != value:
            put(("env", key), value)
    if host.get("Memory"):
        put(("resources", "memory"), host["Memory"])
    if cores(host):
        put(("resources", "cpu"), format_cpu(cores(host)))
    _ports(draft, container, image)
    _native(draft, container, image, defaults)
    _labels(draft, container, image)
    _networks(draft, container)
    if host.get("Links"):
        draft.left_out.append("links to other containers: use a network instead")
    return draft


def _ports(draft: Draft, container: Container, image: Json) -> None:
    config, host = container.config, container.host_config
    bindings: Json = host.get("PortBindings") or {}
    theirs = image.get("ExposedPorts") or {}
    exposed = {k: v for k, v in (config.get("ExposedPorts") or {}).items() if k not in theirs}
    simple: Json = {}
    for key, entries in bindings.items():
        if entries and all(_is_universal(key, entry) for entry in entries):
            simple[key] = entries
        else:
            draft.put(("native", "HostConfig", "PortBindings", key), entries, draft.origin)
            draft.put(("native", "ExposedPorts", key), {}, draft.origin)
            exposed.pop(key, None)
    found = list(ports({k: v for k, v in exposed.items() if k not in simple}, simple))
    published = {k.removesuffix("/tcp") for k in simple}
    wanted = [port for port in found if port not in published]
    for port in [p for p in wanted if not _can_be_read(p)]:
        wanted.remove(port)
        draft.left_out.append(f"the port {port}")
    if wanted:
        draft.put(("ports",), wanted, draft.origin)


def _is_universal(key: str, entry: Mapping[str, Any]) -> bool:
    number, _, protocol = key.partition("/")
    suffix = "" if protocol in {"", "tcp"} else f"/{protocol}"
    address = f"{entry['HostIp']}:" if entry.get("HostIp") else ""
    text = f"{address}{entry.get('HostPort')}:{number}{suffix}"
    return bool(entry.get("HostPort")) and _can_be_read(text)


def _can_be_read(port: str) -> bool:
    try:
        parse_port(port)
    except ValueError:
        return False
    return True


def _native(draft: Draft, container: Container, image: Json, defaults: EngineDefaults) -> None:
    for key, value in container.config.items():
        own = value not in (None, "", 0, False, [], {}) and value != image.get(key)
        if own and key not in _NOT_NATIVE:
            draft.put(("native", key), value, draft.origin)
    _native_host(draft, container, defaults)


def _native_host(draft: Draft, container: Container, defaults: EngineDefaults) -> None:
    config, host = container.config, container.host_config
    hostname = config.get("Hostname")
    shares = str(host.get("NetworkMode", "")).startswith(("host", "container:"))
    if hostname and not container.id.startswith(hostname) and not shares:
        draft.put(("native", "Hostname"), hostname, draft.origin)
    for key, value in host.items():
        if key not in _NOT_NATIVE_HOST and not defaults.neutral(key, value):
            draft.put(("native", "HostConfig", key), value, draft.origin)
    log = host.get("LogConfig") or {}
    if log.get("Config") or log.get("Type", defaults.logging) != defaults.logging:
        draft.put(("native", "HostConfig", "LogConfig"), log, draft.origin)
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if memory and swap and swap != 2 * memory:
        # Both: a swap limit alone would be taken for the engine's default of the memory's.
        draft.put(("native", "HostConfig", "Memory"), memory, draft.origin)
        draft.put(("native", "HostConfig", "MemorySwap"), swap, draft.origin)
    for key in ("MaskedPaths", "ReadonlyPaths"):
        if host.get(key) == [] and not host.get("Privileged"):
            draft.put(("native", "HostConfig", key), [], draft.origin)


def _labels(draft: Draft, container: Container, image: Json) -> None:
    theirs = image.get("Labels") or {}
    labels = container.labels
    own = {
        key: value
        for key, value in labels.items()
        if theirs.get(key) != value
        and key not in _OWN_LABELS
        and (key in _KEPT_LABELS or not key.startswith(_COMPOSE))
    }
    if own:
        draft.put(("native", "Labels"), dict(sorted(own.items())), draft.origin)
    if _PROJECT in labels:
        draft.labels[_PROJECT] = labels[_PROJECT]


def _networks(draft: Draft, container: Container) -> None:
    host = container.host_config
    mode = str(host.get("NetworkMode") or "default")
    if mode not in {"default", "bridge"}:
        draft.put(("native", "HostConfig", "NetworkMode"), _mode(container, mode), draft.origin)
    for name, endpoint in endpoints_of(container).items():
        if name in {"bridge", "host", "none"}:
            continue
        kept = _without_own(endpoint, container)
        location = ("native", "NetworkingConfig", "EndpointsConfig", name)
        draft.put(location, kept, draft.origin)


def _mode(container: Container, mode: str) -> str:
    """The mode, with a network by its name and not by its id."""
    return mode if mode.startswith("container:") else primary_network(container)


def _without_own(endpoint: Mapping[str, Any], container: Container) -> Json:
    """Endpoint settings that are a person's: no names that only this container has."""
    own = {container.name, container.id[:12]}
    kept = {key: value for key, value in endpoint.items() if value}
    aliases = [alias for alias in _texts(kept.pop("Aliases", ())) if alias not in own]
    return {**kept, "Aliases": aliases} if aliases else kept


def _texts(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values]
