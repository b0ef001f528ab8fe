"""Who the agent is: the ground of self-exclusion.

The agent once received its own "down" alert, restarted itself, and looped for ever.
Names can be changed by anyone, so identity has two grounds: what `agents.yml` says, and
what the runtime itself says at start-up (the container this process runs in).
"""

from __future__ import annotations

import functools
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infrastructure.errors import ProtectedObjectError
from infrastructure.observed import NativeObject, empty

_CONTAINER_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_OF_CONTAINER = re.compile(r"[0-9a-f]{64}|[0-9a-f]{12}")  # whole, or as its hostname
# Shorter prefixes would make unrelated objects "the agent".
_MIN_ID_PREFIX = 12
_POD_UID = r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}"
# A kubelet keeps a pod's files below `pods/<uid>/`, and its processes in a control group
# `kubepods…pod<uid>`, in which systemd has the dashes written as underscores.
_POD_FILES = re.compile(rf"/pods/({_POD_UID})/")
_POD_GROUP = re.compile(rf"kubepods\S*?pod({_POD_UID})")
_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@functools.lru_cache(maxsize=8)  # asked for each name, and there are few agents
def _suffixes(names: frozenset[str]) -> tuple[str, ...]:
    """What a name ends with that is the agent's own behind a prefix."""
    return tuple(between + known for known in names for between in "-_/.")


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """The agent and what it lives on, in all the ways an object can be recognised.

    Attributes:
        agent: name of the agent in agents.yml.
        names: names of the agent itself, lower case.
        lives_on: names of its Prefect server, database, Git host …, lower case.
        native_ids: engine ids; prefixes of at least 12 characters match.
        labels: an object with all of these labels is the agent.
    """

    agent: str
    names: frozenset[str]
    lives_on: frozenset[str] = frozenset()
    native_ids: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=empty)

    @property
    def knows_its_pod(self) -> bool:
        """False: this process runs in a Kubernetes pod and could not find out in which."""
        return UNKNOWN_POD not in self.native_ids

    @property
    def knows_its_container(self) -> bool:
        """False: this process runs in a container, and neither it nor agents.yml says in which."""
        return UNKNOWN_CONTAINER not in self.native_ids or any(
            "/" not in known for known in self.native_ids
        )

    @property
    def in_container(self) -> bool:
        """Whether this process runs in an engine's container, as far as it knows."""
        return UNKNOWN_CONTAINER in self.native_ids or any(
            _OF_CONTAINER.fullmatch(known) for known in self.native_ids
        )

    def protects_id(self, text: str) -> bool:
        """Whether a text is an engine id of the agent, or long enough a beginning of one."""
        return len(text) >= _MIN_ID_PREFIX and any(
            known.startswith(text) for known in self.native_ids if "/" not in known
        )

    def protects_name(self, name: str) -> bool:
        """Whether a service, container or workload name is the agent's or what it lives on.

        A replica suffix (`-1`), a leading slash and letter case do not get round it, nor,
        for the agent itself, a prefix such as a Compose project. What it lives on has
        common names (`redis`), so there a prefix makes another service.
        """
        whole = name.strip().lstrip("/").lower()
        # A number at the end may be a replica's, or the agent's own name may have it.
        suffixes = _suffixes(self.names)
        return any(
            plain in self.lives_on or plain in self.names or plain.endswith(suffixes)
            for plain in (whole, re.sub(r"[-_.]\d+$", "", whole))
        )

    def reason(self, native: NativeObject) -> str | None:
        """Why this object is protected, or None."""
        for known in self.native_ids:
            short = min(len(known), len(native.id))
            if short >= _MIN_ID_PREFIX and known[:short] == native.id[:short]:
                return "its engine id is the agent's own"
        if self.labels and all(native.labels.get(k) == v for k, v in self.labels.items()):
            return "its labels are the agent's own"
        names = [native.name, *(native.labels.get(key, "") for key in _NAME_LABELS)]
        for name in names:
            if name and self.protects_name(name):
                return f"its name {name} is the agent's own or something the agent lives on"
        return None

    def refuse(self, objects: Iterable[NativeObject], *, action: str) -> None:
        """Raise if any object is protected, or could be the agent for all that it knows.

        Raises:
            ProtectedObjectError: names the object and the reason.
        """
        for native in objects:
            reason = self.reason(native)
            if reason is None and native.kind == "container" and not self.knows_its_container:
                reason = WHICH_CONTAINER
            if reason is not None:
                raise ProtectedObjectError(
                    f"{action} refused on {native.kind} {native.name} ({native.id[:12]}): {reason}"
                )

    def owns_alert(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert is about the agent (layer 3): by service, job, name or container."""
        keys = ("service", "job", "container", "container_name", "name", "app")
        return any(key in labels and self.protects_name(labels[key]) for key in keys)


_PLACES = {"namespace": "UICI_POD_NAMESPACE", "node": "UICI_NODE_NAME"}


def place_id(kind: str, name: str) -> str:
    """An id for what the agent's pod is in: a namespace or node is known by its name alone.

    It ends with a slash: no id of one place is the beginning of another's.
    """
    return f"kubernetes/{kind}/{name}/"


# Among the runtime's ids where it only says that this is a pod; no uid is spelt like it.
UNKNOWN_POD = place_id("pod", "unknown")


# Among the runtime's ids where it only says that this is a container.
UNKNOWN_CONTAINER = "container/unknown/"
WHICH_CONTAINER = (
    "the agent runs in a container and can't tell in which, so it could change itself: write"
    " the container's id under identity.nativeIds in agents.yml, or let the engine mount"
    " /etc/hostname as it does by default"
)


# Labels under which engines keep the service's name; a renamed container still has them.
_NAME_LABELS = (
    "uici.service",
    "com.docker.compose.service",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app",
)


def runtime_native_ids(
    *,
    read: Callable[[Path], str] = lambda path: path.read_text(errors="replace"),
    environ: Mapping[str, str] = os.environ,
    hostname: Callable[[], str] = socket.gethostname,
    exists: Callable[[Path], bool] = Path.exists,
) -> frozenset[str]:
    """Engine ids of the container or pod that this process runs in, from the runtime.

    Sources: `/proc/self/cgroup` (cgroup v1), `/proc/self/mountinfo` (v2: Docker mounts
    /etc/hostname from /var/lib/docker/containers/<id>), the hostname where it is a
    container id, and the downward API: the pod's uid (`UICI_POD_UID`), its namespace
    (`UICI_POD_NAMESPACE`) and node (`UICI_NODE_NAME`). Without the downward API a pod's uid
    is read from the paths that its kubelet mounted and from its control group, its namespace
    from the service account's files. Empty: the process runs in no container.

    Returns:
        With `UNKNOWN_POD` among them where this is a pod and nothing tells which, and
        `UNKNOWN_CONTAINER` where it is another container and nothing tells which.
    """
    found: set[str] = set()
    cgroup = _read_or_empty(read, Path("/proc/self/cgroup"))
    found.update(_CONTAINER_ID.findall(cgroup))
    found.update(_dashed(_POD_GROUP.findall(cgroup)))
    mounts = _read_or_empty(read, Path("/proc/self/mountinfo"))
    for line in mounts.splitlines():
        found.update(_pods_of_mount(line))
        if any(f" {path} " in line for path in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")):
            found.update(_CONTAINER_ID.findall(line))
    name = hostname()
    if re.fullmatch(r"[0-9a-f]{12}", name):
        found.add(name)
    if environ.get("UICI_POD_UID"):
        found.add(environ["UICI_POD_UID"])
    elif environ.get("KUBERNETES_SERVICE_HOST") and not any(map(_IS_POD_UID, found)):
        found.add(UNKNOWN_POD)
    if not found and _in_container(cgroup, mounts, exists):
        found.add(UNKNOWN_CONTAINER)
    namespace = _read_or_empty(read, _ACCOUNT_NAMESPACE).strip()
    if namespace:
        found.add(place_id("namespace", namespace))
    for kind, variable in _PLACES.items():
        if environ.get(variable):
            found.add(place_id(kind, environ[variable]))
    return frozenset(found)


# What engines leave in the containers that they make.
_MARKERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_ENGINE_GROUP = re.compile(r"/(docker|libpod|garden|buildkit)[-/]|/lxc[./]")


def _in_container(cgroup: str, mounts: str, exists: Callable[[Path], bool]) -> bool:
    """Whether this is a container: by its control group, or an engine's mark in it.

    A machine may have been made from a container's files and still have the mark; its root
    is a disk's own file system and no layer of an engine.
    """
    if _ENGINE_GROUP.search(cgroup):
        return True
    return any(map(exists, _MARKERS)) and not any(map(_is_disk_at_root, mounts.splitlines()))


def _is_disk_at_root(line: str) -> bool:
    """Whether a line of mountinfo (proc(5)) mounts the whole of a disk as the root."""
    before, _, after = line.partition(" - ")
    fields, source = before.split(" "), after.split(" ")
    return (
        len(fields) > 4
        and fields[3:5] == ["/", "/"]
        and len(source) > 1
        and source[1].startswith("/dev/")
        and "docker" not in source[1]  # the devicemapper driver's layers are disks, too
    )


def with_runtime(
    identity: AgentIdentity, native_ids: Sequence[str] | frozenset[str]
) -> AgentIdentity:
    """The configured identity together with what the runtime said."""
    return replace(identity, native_ids=identity.native_ids | frozenset(native_ids))


_IS_POD_UID = re.compile(_POD_UID).fullmatch


def _pods_of_mount(line: str) -> Iterable[str]:
    """The pod that a line of mountinfo tells of, by the mounted directory (proc(5)).

    A mount below somebody's `pods/` is another pod's: of an agent that sees the node's files.
    """
    fields = line.split(" ")
    if len(fields) < 5 or "/pods/" in fields[4]:
        return ()
    return _dashed((*_POD_FILES.findall(fields[3]), *_POD_GROUP.findall(fields[3])))


def _dashed(uids: Iterable[str]) -> Iterable[str]:
    return (uid.replace("_", "-") for uid in uids)


def _read_or_empty(read: Callable[[Path], str], path: Path) -> str:
    try:
        return read(path)
    except OSError:
        return ""
