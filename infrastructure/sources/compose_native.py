"""Keys of compose services that are one field of the Docker Engine's create request.

Field names are those of the Engine API, as executors/docker compares `native`. Source of
what each key becomes: docker/compose, pkg/compose/create.go. Neighbour: `compose_service`
calls this and reads the keys that need more than a conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from infrastructure.sources.compose_file import ComposeService
from infrastructure.sources.compose_units import (
    mapping,
    nanoseconds,
    number,
    seconds,
    size,
    switch,
    text,
    texts,
)
from infrastructure.sources.draft import Draft, Findings

_HOST = "HostConfig"


def _namespace(value: Any) -> str:
    """A namespace to share: that of a service is that of a container nobody knows yet."""
    written = text(value)
    if written.startswith("service:"):
        raise ValueError("share a container's by its name, container:NAME, or run it alone")
    return written


def _security(value: Any) -> list[str]:
    """Options that are for the engine; compose itself would read a file or do another thing."""
    found = texts(value)
    for option in found:
        key, _, file = option.partition("=")
        if key == "systempaths" or (key == "seccomp" and file not in {"unconfined", "builtin"}):
            raise ValueError(f"{key} takes more than the engine's own option: leave it out")
    return found


def _named(value: Any) -> dict[str, str]:
    return {key: item or "" for key, item in mapping(value).items()}


# key → (path in the create request, conversion)
_FIELDS: Mapping[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = MappingProxyType(
    {
        "annotations": ((_HOST, "Annotations"), _named),
        "cap_add": ((_HOST, "CapAdd"), texts),
        "cap_drop": ((_HOST, "CapDrop"), texts),
        "cgroup": ((_HOST, "CgroupnsMode"), text),
        "cgroup_parent": ((_HOST, "CgroupParent"), text),
        "cpu_count": ((_HOST, "CpuCount"), number),
        "cpu_percent": ((_HOST, "CpuPercent"), number),
        "cpu_period": ((_HOST, "CpuPeriod"), number),
        "cpu_quota": ((_HOST, "CpuQuota"), number),
        "cpu_rt_period": ((_HOST, "CpuRealtimePeriod"), number),
        "cpu_rt_runtime": ((_HOST, "CpuRealtimeRuntime"), number),
        "cpu_shares": ((_HOST, "CpuShares"), number),
        "cpuset": ((_HOST, "CpusetCpus"), text),
        "device_cgroup_rules": ((_HOST, "DeviceCgroupRules"), texts),
        "dns": ((_HOST, "Dns"), texts),
        "dns_opt": ((_HOST, "DnsOptions"), texts),
        "dns_search": ((_HOST, "DnsSearch"), texts),
        "domainname": (("Domainname",), text),
        "group_add": ((_HOST, "GroupAdd"), texts),
        "hostname": (("Hostname",), text),
        "init": ((_HOST, "Init"), switch),
        "ipc": ((_HOST, "IpcMode"), _namespace),
        "isolation": ((_HOST, "Isolation"), text),
        "mem_reservation": ((_HOST, "MemoryReservation"), size),
        "mem_swappiness": ((_HOST, "MemorySwappiness"), number),
        "oom_kill_disable": ((_HOST, "OomKillDisable"), switch),
        "oom_score_adj": ((_HOST, "OomScoreAdj"), number),
        "pid": ((_HOST, "PidMode"), _namespace),
        "pids_limit": ((_HOST, "PidsLimit"), number),
        "privileged": ((_HOST, "Privileged"), switch),
        "read_only": ((_HOST, "ReadonlyRootfs"), switch),
        "runtime": ((_HOST, "Runtime"), text),
        "security_opt": ((_HOST, "SecurityOpt"), _security),
        "shm_size": ((_HOST, "ShmSize"), size),
        "stdin_open": (("OpenStdin",), switch),
        "stop_grace_period": (("StopTimeout",), seconds),
        "stop_signal": (("StopSignal",), text),
        "storage_opt": ((_HOST, "StorageOpt"), _named),
        "sysctls": ((_HOST, "Sysctls"), _named),
        "tty": (("Tty",), switch),
        "user": (("User",), text),
        "userns_mode": ((_HOST, "UsernsMode"), text),
        "uts": ((_HOST, "UTSMode"), text),
        "volume_driver": ((_HOST, "VolumeDriver"), text),
        "working_dir": (("WorkingDir",), text),
    }
)
# Looks after itself or concerns only the terminal, the build, or Swarm.
_NOT_DONE: Mapping[str, str] = MappingProxyType(
    {
        "attach": "containers are never attached to a terminal",
        "build": "images are not built; this one has to be in the engine or in a registry",
        "develop": "files are not watched",
        "platform": "the engine's own platform is taken",
        "pull_policy": "the environment's connection says whether images are pulled",
        "pull_refresh_after": "the environment's connection says whether images are pulled",
    }
)
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "blkio_config": "limits of block devices are not read",
        "credential_spec": "Windows accounts are not read",
        "external_links": "links to other projects are not made; share a network instead",
        "label_file": "labels in files are not read; write them under labels",
        "mac_address": "a hardware address can't be kept over a replacement",
        "models": "models are not served",
        "post_start": "hooks are not run",
        "pre_start": "hooks are not run",
        "pre_stop": "hooks are not run",
        "provider": "services of a provider are no containers",
        "use_api_socket": "the engine's socket is not handed out",
        "volumes_from": "name the volumes themselves",
    }
)
SIMPLE = frozenset({*_FIELDS, *_NOT_DONE, *_REFUSED})


def read_simple(service: ComposeService, draft: Draft, findings: Findings) -> None:
    """Everything that needs no knowledge of the rest of the file."""
    for key in service.data.keys() & SIMPLE:
        point = service.at(key)
        if key in _NOT_DONE:
            findings.warn(point, f"{key} of {service.name}: {_NOT_DONE[key]}")
        elif key in _REFUSED:
            message = f"{key} of {service.name} can't be honoured"
            findings.error(point, message, _REFUSED[key])
        elif service.data[key] is not None:
            _field(service, draft, findings, key)


def _field(service: ComposeService, draft: Draft, findings: Findings, key: str) -> None:
    path, convert = _FIELDS[key]
    try:
        value = convert(service.data[key])
    except ValueError as exc:
        findings.error(service.at(key), f"{key} of {service.name} can't be read", str(exc))
        return
    draft.put(("native", *path), value, service.at(key))


# ── health check, logging, restart, ulimits, devices ────────────────────────────


def read_healthcheck(service: ComposeService, draft: Draft) -> None:
    """`healthcheck` → Healthcheck; what it does not say stays the image's.

    Raises:
        ValueError: a value can't be read.
    """
    check = service.data.get("healthcheck")
    if not check:
        return
    made: dict[str, Any] = {}
    test = check.get("test")
    if test is not None:
        made["Test"] = ["CMD-SHELL", test] if isinstance(test, str) else texts(test)
    if switch(check.get("disable", False)):
        made["Test"] = ["NONE"]
    for key, name in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ):
        if check.get(key) is not None:
            made[name] = nanoseconds(check[key])
    if check.get("retries") is not None:
        made["Retries"] = number(check["retries"])
    if made:
        draft.put(("native", "Healthcheck"), made, service.at("healthcheck"))


def read_logging(service: ComposeService, draft: Draft) -> None:
    """`logging` → LogConfig."""
    logging = service.data.get("logging") or {}
    if logging.get("driver"):
        point = service.at("logging", "driver")
        draft.put(("native", _HOST, "LogConfig", "Type"), text(logging["driver"]), point)
    if logging.get("options"):
        options = {key: text(value) for key, value in logging["options"].items()}
        point = service.at("logging", "options")
        draft.put(("native", _HOST, "LogConfig", "Config"), options, point)


_POLICIES = {"none": "no", "any": "always", "": "always"}
_KNOWN_POLICIES = ("no", "always", "on-failure", "unless-stopped")


def read_restart(service: ComposeService, draft: Draft) -> None:
    """`restart`, or `deploy.restart_policy` where there is one, → RestartPolicy.

    Raises:
        ValueError: the policy is unknown.
    """
    policy = (service.data.get("deploy") or {}).get("restart_policy")
    written = service.data.get("restart")
    if policy is not None:
        name = text(policy.get("condition"))
        attempts, point = policy.get("max_attempts"), service.at("deploy", "restart_policy")
    elif written is not None:
        name, _, attempts = text(written).partition(":")
        point = service.at("restart")
    else:
        return
    name = _POLICIES.get(name, name)
    if name not in _KNOWN_POLICIES:
        raise ValueError(f"restart is one of {', '.join(_KNOWN_POLICIES)}")
    made = {"Name": name, "MaximumRetryCount": number(attempts or 0)}
    draft.put(("native", _HOST, "RestartPolicy"), made, point)


def read_ulimits(service: ComposeService, draft: Draft) -> None:
    """`ulimits` → Ulimits.

    Raises:
        ValueError: a limit is no number.
    """
    made = []
    for name, limit in sorted((service.data.get("ulimits") or {}).items()):
        soft, hard = (
            (limit.get("soft"), limit.get("hard")) if isinstance(limit, dict) else (limit, limit)
        )
        made.append({"Name": name, "Hard": number(hard), "Soft": number(soft)})
    if made:
        draft.put(("native", _HOST, "Ulimits"), made, service.at("ulimits"))


def read_devices(service: ComposeService, draft: Draft) -> None:
    """`devices` → Devices; `gpus` and reserved devices → DeviceRequests.

    Raises:
        ValueError: a device can't be read.
    """
    devices = [_device(item) for item in service.data.get("devices") or ()]
    if devices:
        draft.put(("native", _HOST, "Devices"), devices, service.at("devices"))
    resources = (service.data.get("deploy") or {}).get("resources") or {}
    reserved = (resources.get("reservations") or {}).get("devices") or []
    requests = [_device_request(item) for item in reserved]
    point = service.at("deploy", "resources", "reservations", "devices")
    gpus = service.data.get("gpus")
    if gpus:
        wanted = [{"count": "all"}] if gpus == "all" else gpus
        requests += [
            _device_request({**g, "capabilities": [*(g.get("capabilities") or ()), "gpu"]})
            for g in wanted
        ]
        point = service.at("gpus")
    if requests:
        draft.put(("native", _HOST, "DeviceRequests"), requests, point)


def _device(item: Any) -> dict[str, str]:
    if isinstance(item, dict):
        source = text(item["source"])
        target, permissions = item.get("target"), item.get("permissions")
    else:
        source, *rest = text(item).split(":")
        target, permissions = [*rest, None, None][:2]
    if not source.startswith("/"):
        raise ValueError("write a device as /dev/NAME:/dev/NAME:rwm")
    return {
        "PathOnHost": source,
        "PathInContainer": text(target or source),
        "CgroupPermissions": text(permissions or "rwm"),
    }


def _device_request(item: Mapping[str, Any]) -> dict[str, Any]:
    count = item.get("count")
    ids = texts(item["device_ids"]) if item.get("device_ids") else None
    wanted = -1 if count == "all" or (count is None and ids is None) else number(count or 0)
    return {
        "Driver": text(item.get("driver")),
        "Count": wanted,
        "DeviceIDs": ids,
        "Capabilities": [texts(item.get("capabilities") or [])],
        "Options": _named(item.get("options") or {}),
    }
