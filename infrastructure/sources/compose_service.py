"""Services of a compose file → drafts of Services, and what could not be honoured.

What has no universal word goes into `native` under the Docker Engine's own field names.
The labels by which compose knows its containers are declared, too, so that containers of
`docker compose up` are this service's, and compose knows those that UICI makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from infrastructure.model_problems import suggestion
from infrastructure.sources.compose_environment import environment
from infrastructure.sources.compose_file import ComposeProject, ComposeService
from infrastructure.sources.compose_native import (
    SIMPLE,
    read_devices,
    read_healthcheck,
    read_logging,
    read_restart,
    read_simple,
    read_ulimits,
)
from infrastructure.sources.compose_network import (
    network_name,
    read_hosts,
    read_networks,
    read_ports,
)
from infrastructure.sources.compose_storage import read_volumes, volume_name
from infrastructure.sources.compose_units import argv, mapping, number, size, switch, text, texts
from infrastructure.sources.draft import Draft, Findings, Point
from infrastructure.sources.names import service_name

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_ONEOFF_LABEL = "com.docker.compose.oneoff"
_HOST = "HostConfig"

# Keys that are read by name somewhere below.
_READ = SIMPLE | frozenset(
    {
        "command",
        "configs",
        "container_name",
        "cpus",
        "depends_on",
        "deploy",
        "devices",
        "entrypoint",
        "env_file",
        "environment",
        "expose",
        "extends",
        "extra_hosts",
        "gpus",
        "healthcheck",
        "image",
        "labels",
        "links",
        "logging",
        "mem_limit",
        "memswap_limit",
        "network_mode",
        "networks",
        "ports",
        "profiles",
        "restart",
        "scale",
        "secrets",
        "tmpfs",
        "ulimits",
        "volumes",
    }
)
_DEPLOY_NOT_DONE: Mapping[str, str] = {
    "endpoint_mode": "there is no Swarm",
    "labels": "labels of a Swarm service are no container's",
    "placement": "there is one engine and nothing to place",
    "rollback_config": "UICI's own operations say how",
    "update_config": "UICI's own operations say how",
}


class Unset(Enum):
    """What an environment variable without a value in the repository means."""

    REFUSED = "refused"  # a Source: the same commit has to mean the same everywhere
    SECRET = "secret"  # an import: it comes from where UICI runs  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Reading:
    """How a compose file is read.

    `given` are environment variables by service that the Source sets itself; what the file
    says of them is not looked at.
    """

    unset: Unset = Unset.REFUSED
    given: Callable[[str], frozenset[str]] = lambda _service: frozenset()


def read_services(
    project: ComposeProject, findings: Findings, reading: Reading = Reading()
) -> dict[str, Draft]:
    """Drafts by the file's own service names; what has no image or profile is left out."""
    profiles = set(re.split(r"[,\s]+", project.variables.get("COMPOSE_PROFILES", "")))
    drafts: dict[str, Draft] = {}
    for name, service in project.services.items():
        wanted = texts(service.data.get("profiles") or [])
        if wanted and "*" not in profiles and not profiles.intersection(wanted):
            message = f"{name} is left out: its profile ({', '.join(wanted)}) is not active"
            findings.warn(service.at("profiles"), f"{message}; COMPOSE_PROFILES in .env names them")
            continue
        own = Findings()
        draft = _draft(service, project, own, reading)
        findings.add(own)
        if draft is not None:
            drafts[name] = draft
    _unique(drafts, findings)
    return drafts


def made_elsewhere(project: ComposeProject, findings: Findings) -> None:
    """List the networks and volumes that have to exist: UICI makes containers only."""
    networks: dict[str, Point] = {}
    for service in project.services.values():
        if "network_mode" not in service.data:
            for key in service.data.get("networks") or ["default"]:
                networks.setdefault(network_name(project, key), service.at("networks", key))
    for name, point in networks.items():
        message = f"the network {name} is not made by UICI and has to exist"
        findings.warn(point, message, f"docker compose makes it, or: docker network create {name}")
    for key, declared in project.parts["volumes"].items():
        name = volume_name(project, key)
        if (declared or {}).get("external"):
            message = f"the volume {name} is external: it has to exist, or an empty one is made"
            remedy = f"docker volume create {name}, and its data, before the service is made"
            findings.warn(project.at("volumes", key), message, remedy)
        elif (declared or {}).get("driver") or (declared or {}).get("driver_opts"):
            message = f"the volume {name} has a driver of its own: it has to exist"
            remedy = "docker compose makes it, or: docker volume create"
            findings.warn(project.at("volumes", key), message, remedy)


def _unique(drafts: Mapping[str, Draft], findings: Findings) -> None:
    seen: dict[str, tuple[str, Draft]] = {}
    for name, draft in drafts.items():
        other, first = seen.setdefault(draft.name, (name, draft))
        if other != name:
            both = f"{name} and {other} (line {first.origin.line})"
            message = f"{both} are both called {draft.name} here"
            remedy = "names of services have small letters and '-' only: rename one of them"
            findings.refuse([draft.origin.problem(message, remedy)])


def _draft(
    service: ComposeService, project: ComposeProject, findings: Findings, reading: Reading
) -> Draft | None:
    name = service_name(service.name)
    if name is None:
        message = f"{service.name} can't be the name of a service"
        findings.error(service.point, message, "use letters, digits and '-', at most 63")
        return None
    draft = Draft(name, service.point)
    if not service.data.get("image"):
        message = f"{service.name} names no image"
        findings.error(service.point, message, "write image: beside build: and build it yourself")
        return None
    draft.put(("image",), text(service.data["image"]), service.at("image"))
    draft.labels[PROJECT_LABEL] = project.name
    for key in sorted(service.data.keys() - _READ):
        if not key.startswith("x-"):
            findings.error(service.at(key), f"{key} of {service.name} can't be honoured")
    _commands(service, draft, findings)
    _environment(service, project, draft, findings, reading=reading)
    read_simple(service, draft, findings)
    for key, read in _PARTS.items():
        try:
            read(service, draft)
        except ValueError as exc:
            findings.error(service.at(key), f"{key} of {service.name} can't be read", str(exc))
    _labels(service, project, draft)
    _deploy_left_out(service, findings)
    _dependencies(service, project, draft, findings)
    read_networks(service, project, draft, findings)
    read_volumes(service, project, draft, findings)
    _container_name(service, draft, findings)
    return draft


def _commands(service: ComposeService, draft: Draft, findings: Findings) -> None:
    for key, location in (("entrypoint", ("native", "Entrypoint")), ("command", ("command",))):
        written = service.data.get(key)
        if written is None:
            continue
        try:
            found = argv(written)
        except ValueError as exc:
            findings.error(service.at(key), f"{key} of {service.name} can't be read", str(exc))
            continue
        if found:
            draft.put(location, found, service.at(key))
        else:
            message = f"an empty {key} of {service.name} can't be honoured"
            findings.error(service.at(key), message, "write what is to run, or take it out")


def _environment(
    service: ComposeService,
    project: ComposeProject,
    draft: Draft,
    findings: Findings,
    *,
    reading: Reading,
) -> None:
    given = reading.given(service.name)
    for key, entry in environment(service, project, findings, given=given).items():
        if isinstance(entry.value, str):
            draft.put(("env", key), entry.value, entry.point)
        elif reading.unset is Unset.SECRET:
            draft.put(("env", key), {"secret": f"env:{entry.value.variable}"}, entry.point)
            note = (
                f"{key} has no value in the file: {entry.value.variable} where UICI runs gives it"
            )
            draft.left_out.append(note)
        else:
            message = f"{key} of {service.name} gets its value from the shell that runs compose"
            remedy = (
                f"set {entry.value.variable} in .env beside the file, or in the Source: services:"
                f' {{{service.name}: {{env: {{{key}: {{secret: "env:{entry.value.variable}"}}}}}}}}'
            )
            findings.error(entry.point, message, remedy)


def _replicas(service: ComposeService, draft: Draft) -> None:
    deploy = service.data.get("deploy") or {}
    if deploy.get("replicas") is not None:
        draft.put(("replicas",), number(deploy["replicas"]), service.at("deploy", "replicas"))
    elif service.data.get("scale") is not None:
        draft.put(("replicas",), number(service.data["scale"]), service.at("scale"))
    if deploy.get("mode") not in (None, "replicated"):
        raise ValueError(f"mode {deploy['mode']} needs Swarm")


def _limits(service: ComposeService, draft: Draft) -> None:
    resources = (service.data.get("deploy") or {}).get("resources") or {}
    limits, reserved = resources.get("limits") or {}, resources.get("reservations") or {}
    place = ("deploy", "resources", "limits")
    memory, cpus = limits.get("memory"), limits.get("cpus")
    at_memory = service.at(*place, "memory") if memory else service.at("mem_limit")
    at_cpus = service.at(*place, "cpus") if cpus else service.at("cpus")
    memory, cpus = memory or service.data.get("mem_limit"), cpus or service.data.get("cpus")
    if memory:
        draft.put(("resources", "memory"), size(memory), at_memory)
    if cpus:
        draft.put(("resources", "cpu"), text(cpus), at_cpus)
    if limits.get("pids"):
        point = service.at(*place, "pids")
        draft.put(("native", _HOST, "PidsLimit"), number(limits["pids"]), point)
    if reserved.get("memory"):
        point = service.at("deploy", "resources", "reservations", "memory")
        draft.put(("native", _HOST, "MemoryReservation"), size(reserved["memory"]), point)


def _swap(service: ComposeService, draft: Draft) -> None:
    swap = service.data.get("memswap_limit")
    if not swap:
        return
    resources = (service.data.get("deploy") or {}).get("resources") or {}
    memory = (resources.get("limits") or {}).get("memory") or service.data.get("mem_limit")
    if not memory:
        raise ValueError("it needs mem_limit beside it, for Docker too")
    # Both: a swap limit alone would be taken for the engine's default of the memory's.
    point = service.at("memswap_limit")
    draft.put(("native", _HOST, "Memory"), size(memory), point)
    draft.put(("native", _HOST, "MemorySwap"), size(swap), point)


# The key that is named where a value can't be read → what reads it.
_PARTS: Mapping[str, Callable[[ComposeService, Draft], None]] = {
    "ports": read_ports,
    "healthcheck": read_healthcheck,
    "logging": read_logging,
    "restart": read_restart,
    "ulimits": read_ulimits,
    "devices": read_devices,
    "extra_hosts": read_hosts,
    "deploy": _replicas,
    "mem_limit": _limits,
    "memswap_limit": _swap,
}


def _labels(service: ComposeService, project: ComposeProject, draft: Draft) -> None:
    own = {key: value or "" for key, value in mapping(service.data.get("labels")).items()}
    own |= {PROJECT_LABEL: project.name, SERVICE_LABEL: service.name, _ONEOFF_LABEL: "False"}
    draft.put(("native", "Labels"), own, service.at("labels"))


def _deploy_left_out(service: ComposeService, findings: Findings) -> None:
    deploy = service.data.get("deploy") or {}
    for key in sorted(deploy.keys() & _DEPLOY_NOT_DONE.keys()):
        message = f"deploy.{key} of {service.name}: {_DEPLOY_NOT_DONE[key]}"
        findings.warn(service.at("deploy", key), message)
    for key in ("delay", "window"):
        if (deploy.get("restart_policy") or {}).get(key) is not None:
            point = service.at("deploy", "restart_policy", key)
            message = f"restart_policy.{key} of {service.name}: the engine has a delay of its own"
            findings.warn(point, message)
    reserved = (deploy.get("resources") or {}).get("reservations") or {}
    for key in sorted(reserved.keys() & {"cpus", "generic_resources"}):
        message = f"reservations.{key} of {service.name}: there is no Swarm to reserve it"
        findings.warn(service.at("deploy", "resources", "reservations", key), message)


def _dependencies(
    service: ComposeService, project: ComposeProject, draft: Draft, findings: Findings
) -> None:
    written = service.data.get("depends_on") or {}
    if isinstance(written, list):
        written = {name: {} for name in texts(written)}
    wanted = {name: settings or {} for name, settings in written.items()}
    for index, link in enumerate(service.data.get("links") or ()):
        name, _, alias = text(link).partition(":")
        wanted.setdefault(name, {})
        if alias and alias != name:
            message = f"the link {link} of {service.name} can't be honoured"
            remedy = f"give {name} the alias {alias} in a network"
            findings.error(service.at("links", index), message, remedy)
    names = []
    for name, settings in wanted.items():
        point = service.at("depends_on", name)
        if name not in project.services:
            remedy = suggestion(name, project.services)
            findings.error(point, f"{service.name} depends on {name}, which is not there", remedy)
            continue
        if settings.get("condition") == "service_completed_successfully":
            message = f"{service.name} waits for {name} to end, which is not waited for"
            findings.warn(point, message)
            continue
        if switch(settings.get("restart", False)):
            findings.warn(point, f"{service.name} is not restarted along with {name}")
        names.append(service_name(name) or name)
    if names:
        draft.put(("dependsOn",), names, service.at("depends_on"))
        for number_, name in enumerate(names):
            draft.mark(("dependsOn", number_), service.at("depends_on", name))


def _container_name(service: ComposeService, draft: Draft, findings: Findings) -> None:
    wanted: Any = service.data.get("container_name")
    if wanted and text(wanted) != draft.name:
        message = (
            f"container_name {wanted} of {service.name}: a container that UICI makes anew is"
            f" called {draft.name}"
        )
        findings.warn(service.at("container_name"), message)
