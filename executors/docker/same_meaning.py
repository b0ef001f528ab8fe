"""Where the engine spells `native` differently than desired state, and means the same. Pure.

`native` is compared value by value. Some lists of the engine have no order, some are written
in more than one way, and some get entries of the engine's own: a container that `docker
compose up` made from a file must not differ from that file for any of these. So what was
observed is told in the words of desired state where both mean the same, and as it is where
they do not.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]
_Key = Callable[[Any], Any]
_Mount = tuple[str, str, str, frozenset[str]]

# Options of a bind that are there when nothing is written.
_PLAIN = frozenset({"", "rw", "rprivate", "consistent", "cached", "delegated"})


def as_declared(seen: Json, wanted: Mapping[str, Any]) -> Json:
    """What was observed, in the words of desired state where they mean the same.

    Args:
        seen: a container in the shape of a create request; not changed.
        wanted: `native` of desired state.
    """
    made = dict(seen)
    host = wanted.get("HostConfig")
    if isinstance(host, Mapping):
        made["HostConfig"] = _host_config(seen, host)
    endpoints = _mapping(wanted.get("NetworkingConfig")).get("EndpointsConfig")
    if isinstance(endpoints, Mapping):
        networks = seen["NetworkingConfig"]["EndpointsConfig"]
        told = {**networks, **_endpoints(networks, endpoints)}
        made["NetworkingConfig"] = {"EndpointsConfig": told}
    return made


def _host_config(seen: Json, wanted: Mapping[str, Any]) -> Json:
    host: Json = dict(seen["HostConfig"])
    for field, key in _UNORDERED.items():
        if _same_entries(wanted.get(field), host.get(field), key):
            host[field] = wanted[field]
    mounts = _mounts(host)
    for field in ("Binds", "Mounts"):
        declared = wanted.get(field)
        kind = str if field == "Binds" else Mapping
        fits = isinstance(declared, list) and all(isinstance(d, kind) for d in declared)
        if fits and _mounts({field: declared}) <= mounts:
            host[field] = declared
    mode = wanted.get("NetworkMode")
    # Of several networks, which one was there at creation is of no consequence.
    networks = seen["NetworkingConfig"]["EndpointsConfig"]
    if isinstance(mode, str) and mode in networks:
        host["NetworkMode"] = mode
    elif mode is not None and mode == host.get("NetworkMode") and _left(mode, networks):
        host["NetworkMode"] = ", ".join(sorted(networks))
    policy = wanted.get("RestartPolicy")
    if isinstance(policy, Mapping) and _policy(policy) == _policy(host.get("RestartPolicy")):
        host["RestartPolicy"] = policy
    return host


def _left(mode: str, networks: Mapping[str, Any]) -> bool:
    """Whether a container has left its network for others. What it was made with still names it.

    One that is on no network at all is told as unhealthy, whatever is declared.
    """
    ids = {str(endpoint.get("NetworkID")) for endpoint in networks.values()}
    known = mode in ids or mode in ("default", "bridge", "host", "none")
    return bool(networks) and not known and not mode.startswith("container:")


def _same_entries(wanted: Any, seen: Any, key: _Key) -> bool:
    if not isinstance(wanted, list) or not isinstance(seen, list):
        return False
    return sorted(map(repr, map(key, wanted))) == sorted(map(repr, map(key, seen)))


def _capability(name: Any) -> str:
    return str(name).upper().removeprefix("CAP_")


def _entry(value: Any) -> Any:
    """A mapping without what is empty; anything else as it is."""
    if isinstance(value, Mapping):
        return sorted((key, item) for key, item in value.items() if item)
    return value


_UNORDERED: Mapping[str, _Key] = {
    "CapAdd": _capability,
    "CapDrop": _capability,
    "DeviceCgroupRules": _entry,
    "DeviceRequests": _entry,
    "Devices": _entry,
    "ExtraHosts": _entry,
    "GroupAdd": _entry,
    "SecurityOpt": _entry,
    "Ulimits": _entry,
}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _policy(policy: Any) -> tuple[str, int] | None:
    if not isinstance(policy, Mapping):
        return None
    return policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0


def _mounts(host: Mapping[str, Any]) -> set[_Mount]:
    """Binds and mounts as (source, target, access, options): two ways to write one thing."""
    found: set[_Mount] = set()
    for bind in host.get("Binds") or ():
        source, _, rest = str(bind).partition(":")
        target, _, options = rest.partition(":")
        words = set(options.split(","))
        access = "ro" if "ro" in words else "rw"
        found.add((source, posixpath.normpath(target), access, frozenset(words - _PLAIN - {"ro"})))
    for mount in host.get("Mounts") or ():
        if isinstance(mount, Mapping):
            found.add(_mount(mount))
    return found


def _mount(mount: Mapping[str, Any]) -> _Mount:
    options = {str(_mapping(mount.get("BindOptions")).get("Propagation") or "")}
    options |= {"nocopy"} if _mapping(mount.get("VolumeOptions")).get("NoCopy") else set()
    options |= {f"{k}={v}" for k, v in _mapping(mount.get("TmpfsOptions")).items() if v}
    options |= {"tmpfs"} if mount.get("Type") == "tmpfs" else set()
    return (
        str(mount.get("Source") or ""),
        posixpath.normpath(str(mount.get("Target"))),
        "ro" if mount.get("ReadOnly") else "rw",
        frozenset(options - _PLAIN),
    )


def _endpoints(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    """Endpoints whose aliases are all there: the engine adds the container's own id."""
    made: Json = {}
    for name, endpoint in wanted.items():
        found = seen.get(name)
        if not isinstance(found, Mapping) or not isinstance(endpoint, Mapping):
            continue
        there = [*(found.get("Aliases") or ()), *(found.get("DNSNames") or ())]
        aliases = endpoint.get("Aliases")
        if isinstance(aliases, list) and all(alias in there for alias in aliases):
            made[name] = {**found, "Aliases": endpoint["Aliases"]}
    return made


def at_creation(body: Mapping[str, Any]) -> tuple[Json, Json]:
    """A create request with one network at most, and the endpoints to connect afterwards.

    Engines before API 1.44 take only the primary network at creation.
    """
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    primary = (body.get("HostConfig") or {}).get("NetworkMode")
    first = {name: endpoint for name, endpoint in endpoints.items() if name == primary}
    rest = {name: endpoint for name, endpoint in endpoints.items() if name != primary}
    if not rest or not first:
        return dict(body), {}
    return {**body, "NetworkingConfig": {"EndpointsConfig": first}}, rest
