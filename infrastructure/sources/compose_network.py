"""Ports and networks of compose services → universal ports and Docker's endpoint settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.service import PortMapping
from infrastructure.sources.compose_file import ComposeProject, ComposeService
from infrastructure.sources.compose_units import mapping, number, numbers, text, texts
from infrastructure.sources.draft import Draft, Findings

_HOST = "HostConfig"
_DEFAULT = "default"
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_MODES = frozenset({"bridge", "host", "none", "default"})


@dataclass(frozen=True, slots=True)
class _Port:
    container: int
    protocol: str
    host: str | None = None  # None: exposed only; "": the engine chooses
    address: str = ""

    @property
    def key(self) -> str:
        return f"{self.container}/{self.protocol}"

    def universal(self) -> PortMapping | None:
        """As a Service says it; None where that has no word for it."""
        fixed = self.host is None or self.host.isdigit()
        if self.protocol not in {"tcp", "udp"} or not fixed:
            return None
        if self.address and not _IPV4.fullmatch(self.address):
            return None
        host = int(self.host) if self.host else None
        return PortMapping(
            container=self.container,
            host=host,
            host_ip=self.address or None,
            protocol="udp" if self.protocol == "udp" else "tcp",
        )


def read_ports(service: ComposeService, draft: Draft) -> None:
    """`ports` and `expose`.

    What a Service has no word for (a host port that the engine chooses, an IPv6 address,
    SCTP) becomes PortBindings.

    Raises:
        ValueError: a port can't be read.
    """
    found = [p for item in service.data.get("ports") or () for p in _ports(item)]
    found += [
        _Port(n, protocol or "tcp")
        for item in service.data.get("expose") or ()
        for span, _, protocol in [text(item).partition("/")]
        for n in numbers(span)
    ]
    key = "ports" if service.data.get("ports") else "expose"
    native = {p.key for p in found if p.universal() is None}
    universal = [u for p in found if p.key not in native and (u := p.universal())]
    if universal:
        written = list(dict.fromkeys(str(port) for port in universal))
        published = {str(p.container) for p in universal if p.host and p.protocol == "tcp"}
        kept = [port for port in written if port not in published]
        draft.put(("ports",), kept, service.at(key))
    for port in found:
        if port.key not in native:
            continue
        draft.put(("native", "ExposedPorts", port.key), {}, service.at(key))
        if port.host is not None:
            bindings = ("native", _HOST, "PortBindings")
            below = draft.spec.get("native", {}).get(_HOST, {}).get("PortBindings", {})
            entry = {"HostIp": port.address, "HostPort": port.host}
            draft.put((*bindings, port.key), [*below.get(port.key, ()), entry], service.at(key))


def _ports(item: Any) -> Iterator[_Port]:
    if isinstance(item, dict):
        protocol = text(item.get("protocol") or "tcp")
        published = text(item.get("published"))
        spans = (published, text(item["target"]) if "target" in item else "")
        address = text(item.get("host_ip"))
    else:
        written, _, protocol = text(item).partition("/")
        address, published, target = _split(written)
        spans = (published, target)
    inside = numbers(spans[1])
    if not spans[0]:
        outside = [""] * len(inside)
    elif "-" in spans[0] and len(inside) == 1:
        outside = [spans[0]]  # any of these that is free: the engine's own word
        numbers(spans[0])
    else:
        outside = [str(n) for n in numbers(spans[0])]
    if len(outside) != len(inside):
        raise ValueError("both ranges of ports need the same length")
    for host, container in zip(outside, inside, strict=True):
        yield _Port(container, (protocol or "tcp").lower(), host, address)


def _split(written: str) -> tuple[str, str, str]:
    """`"[ip:][host:]container"` → its three parts."""
    rest, _, target = written.rpartition(":")
    if not rest:
        return "", "", target
    if rest.startswith("[") or rest.count(":") or _IPV4.fullmatch(rest):
        address, _, published = rest.rpartition(":")
        if _IPV4.fullmatch(rest) or rest.endswith("]"):
            address, published = rest, ""
        return address.strip("[]"), published, target
    return "", rest, target


# ── networks ────────────────────────────────────────────────────────────────────


def network_name(project: ComposeProject, key: str) -> str:
    """What the engine calls a network of the file."""
    declared = project.parts["networks"].get(key) or {}
    external = declared.get("external")
    if declared.get("name"):
        return text(declared["name"])
    if isinstance(external, dict) and external.get("name"):
        return text(external["name"])
    return key if external else f"{project.name}_{key}"


def read_networks(
    service: ComposeService, project: ComposeProject, draft: Draft, findings: Findings
) -> None:
    """`networks` or `network_mode` → NetworkMode and EndpointsConfig."""
    mode = service.data.get("network_mode")
    if mode is not None:
        _mode(service, text(mode), draft, findings)
        return
    wanted = service.data.get("networks")
    if isinstance(wanted, list):
        wanted = dict.fromkeys(texts(wanted))
    wanted = wanted or {_DEFAULT: None}
    for key in wanted:
        if key != _DEFAULT and key not in project.parts["networks"]:
            point = service.at("networks", key)
            findings.error(point, f"the file declares no network {key}", "declare it")
            return
    # The engine connects one network at creation; compose takes the one of the highest
    # priority, and of several the first by name.
    order = sorted(wanted, key=lambda key: (-_priority(wanted[key]), key))
    point = service.at("networks")
    draft.put(("native", _HOST, "NetworkMode"), network_name(project, order[0]), point)
    for key in order:
        endpoint = _endpoint(service, key, wanted[key] or {}, findings)
        name = network_name(project, key)
        draft.put(("native", "NetworkingConfig", "EndpointsConfig", name), endpoint, point)


def _mode(service: ComposeService, mode: str, draft: Draft, findings: Findings) -> None:
    point = service.at("network_mode")
    if mode in _MODES or mode.startswith("container:"):
        draft.put(("native", _HOST, "NetworkMode"), mode, point)
        return
    if mode.startswith("service:"):
        message = f"network_mode of {service.name} can't be honoured: {mode}"
        remedy = "share a container's network by its name, container:NAME, or join a network"
        findings.error(point, message, remedy)
        return
    draft.put(("native", _HOST, "NetworkMode"), mode, point)


def _priority(settings: Mapping[str, Any] | None) -> float:
    return float((settings or {}).get("priority") or 0)


def _endpoint(
    service: ComposeService, key: str, settings: Mapping[str, Any], findings: Findings
) -> dict[str, Any]:
    made: dict[str, Any] = {"Aliases": [service.name, *texts(settings.get("aliases") or [])]}
    made["Aliases"] = list(dict.fromkeys(made["Aliases"]))
    ipam: dict[str, Any] = {}
    for field, name in (("ipv4_address", "IPv4Address"), ("ipv6_address", "IPv6Address")):
        if settings.get(field):
            ipam[name] = text(settings[field])
    if settings.get("link_local_ips"):
        ipam["LinkLocalIPs"] = texts(settings["link_local_ips"])
    if ipam:
        made["IPAMConfig"] = ipam
    if settings.get("driver_opts"):
        made["DriverOpts"] = {k: text(v) for k, v in settings["driver_opts"].items()}
    if settings.get("gw_priority"):
        made["GwPriority"] = number(settings["gw_priority"])
    for field in ("mac_address", "interface_name"):
        if settings.get(field):
            point = service.at("networks", key, field)
            findings.error(point, f"{field} of {service.name} can't be honoured", "take it out")
    return made


def read_hosts(service: ComposeService, draft: Draft) -> None:
    """`extra_hosts` → ExtraHosts."""
    written = service.data.get("extra_hosts")
    if not written:
        return
    made = []
    if isinstance(written, dict):
        for name, addresses in written.items():
            made += [f"{name}:{address}" for address in texts(addresses)]
    else:
        pairs = [mapping([item], separators="=:") for item in written]
        made = [f"{name}:{_bare(address)}" for pair in pairs for name, address in pair.items()]
    draft.put(("native", _HOST, "ExtraHosts"), made, service.at("extra_hosts"))


def _bare(address: str | None) -> str:
    return (address or "").strip("[]")
