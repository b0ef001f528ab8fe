"""One Kubernetes workload → a draft of a Service that is bound to it.

Universal words where there are any; everything else of its spec goes into `native` as
executors/kubernetes takes it (`workload`, `pod`, `container`), so that a workload that is lost
is made anew whole. The API server fills in defaults inside of lists and rewrites quantities:
what has such a form is declared, but left out of the comparison, and listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.sources.compose_units import text
from infrastructure.sources.draft import Draft, Findings, Point, point_of
from infrastructure.sources.names import service_name
from infrastructure.yaml_source import Location, YamlDocument

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_TEMPLATE = ("spec", "template")
_POD = (*_TEMPLATE, "spec")
# Parts that are universal words, or stand elsewhere in `native`.
_NOT_WORKLOAD = frozenset({"replicas", "template"})
_NOT_POD = frozenset({"containers"})
_NOT_CONTAINER = frozenset({"name", "image", "env", "command", "args"})
_QUANTITIES = frozenset({"resources", "limits", "requests"})


def workload_draft(document: YamlDocument, findings: Findings) -> Draft | None:
    """The Service that a manifest declares; None if it declares none.

    Args:
        document: one manifest; its data is a mapping with a kind.
        findings: gets errors and warnings.
    """
    data = document.data
    kind, metadata = data.get("kind"), _mapping(data.get("metadata"))
    written = text(metadata.get("name"))
    if kind not in WORKLOADS:
        message = f"{kind} {written}: only {', '.join(sorted(WORKLOADS))} are read"
        findings.warn(point_of(document, ("kind",)), message)
        return None
    origin = point_of(document, ("metadata", "name"))
    name = service_name(written)
    if name is None or name != written:
        findings.error(origin, f"this {kind} has no name that a service can have", "correct it")
        return None
    return _Workload(document, Draft(name, origin), findings).read(kind, metadata)


class _Workload:
    """Reads one workload."""

    def __init__(self, document: YamlDocument, draft: Draft, findings: Findings) -> None:
        self._document = document
        self._draft = draft
        self._findings = findings
        self._spec = _mapping(document.data.get("spec"))
        self._template = _mapping(self._spec.get("template"))
        self._pod = _mapping(self._template.get("spec"))

    def _point(self, *location: str | int) -> Point:
        return point_of(self._document, location)

    def read(self, kind: str, metadata: Mapping[str, Any]) -> Draft | None:
        """The draft; None if it names no container with an image."""
        draft = self._draft
        containers = [_mapping(c) for c in self._pod.get("containers") or ()]
        number = self._chosen(containers)
        if number is None:
            message = f"{kind} {draft.name} has no container with an image"
            self._findings.error(self._point(*_POD, "containers"), message, "name one")
            return None
        self._binding(kind, metadata, containers, number)
        if self._spec.get("replicas") is not None and kind != "DaemonSet":
            draft.put(("replicas",), self._spec["replicas"], self._point("spec", "replicas"))
        else:  # somebody else says how many there are, such as an autoscaler
            draft.put(("ignoreDifferences",), ["/replicas"], self._point("spec"))
        self._container((*_POD, "containers", number), containers[number])
        self._native(containers, number)
        if metadata.get("labels") or metadata.get("annotations"):
            message = f"labels and annotations of {kind} {draft.name} itself are not declared"
            self._findings.warn(self._point("metadata"), message)
        self._leave_out_of_comparison()
        return draft

    def _chosen(self, containers: list[Mapping[str, Any]]) -> int | None:
        """The container that the Service is about, as executors/kubernetes chooses it."""
        notes = _mapping(_mapping(self._template.get("metadata")).get("annotations"))
        order = (notes.get(_DEFAULT_CONTAINER), self._draft.name)
        named = [n for w in order for n, c in enumerate(containers) if c.get("name") == w]
        number = next(iter([*named, *range(len(containers))]), None)
        return number if number is not None and containers[number].get("image") else None

    def _binding(
        self,
        kind: str,
        metadata: Mapping[str, Any],
        containers: list[Mapping[str, Any]],
        number: int,
    ) -> None:
        binding = {"kind": kind, "name": self._draft.name}
        if metadata.get("namespace"):
            binding["namespace"] = text(metadata["namespace"])
        binding["container"] = text(containers[number].get("name"))
        self._draft.put(("binding",), binding, self._point("kind"))

    # ── universal words ─────────────────────────────────────────────────────────

    def _container(self, location: Location, container: Mapping[str, Any]) -> None:
        draft = self._draft
        draft.put(("image",), text(container["image"]), self._point(*location, "image"))
        words = {key: [text(w) for w in container.get(key) or ()] for key in ("command", "args")}
        if words["command"]:
            # An entrypoint of its own has no universal word; its arguments go with it.
            for key, value in words.items():
                point = self._point(*location, key)
                self._draft.put(("native", "container", key), value, point)
        elif words["args"]:
            draft.put(("command",), words["args"], self._point(*location, "args"))
        for number, item in enumerate(container.get("env") or ()):
            entry = _mapping(item)
            if "valueFrom" not in entry:
                point = self._point(*location, "env", number)
                draft.put(("env", text(entry.get("name"))), text(entry.get("value")), point)
        self._limits(location, _mapping(_mapping(container.get("resources")).get("limits")))
        self._ports(location, container.get("ports") or ())

    def _limits(self, location: Location, limits: Mapping[str, Any]) -> None:
        for key, parse in (("memory", parse_memory), ("cpu", parse_cpu)):
            value = limits.get(key)
            if value is None:
                continue
            point = self._point(*location, "resources", "limits", key)
            try:
                amount: Any = parse(value)
            except ValueError as exc:
                message = f"the {key} limit of {self._draft.name} can't be read"
                self._findings.error(point, message, str(exc))
                continue
            self._draft.put(("resources", key), amount if key == "memory" else f"{amount:f}", point)

    def _ports(self, location: Location, ports: Any) -> None:
        found = []
        for number, item in enumerate(ports):
            port = _mapping(item)
            protocol = text(port.get("protocol") or "TCP").lower()
            if protocol not in {"tcp", "udp"}:
                point = self._point(*location, "ports", number)
                self._findings.warn(point, f"the {protocol} port is not compared")
                continue
            suffix = "" if protocol == "tcp" else f"/{protocol}"
            host = f"{port['hostPort']}:" if port.get("hostPort") else ""
            if host and port.get("hostIP"):
                host = f"{port['hostIP']}:{host}"
            found.append(f"{host}{port.get('containerPort')}{suffix}")
        if found:
            self._draft.put(("ports",), found, self._point(*location, "ports"))

    # ── everything else ─────────────────────────────────────────────────────────

    def _native(self, containers: list[Mapping[str, Any]], number: int) -> None:
        self._copy("workload", self._spec, ("spec",), _NOT_WORKLOAD)
        metadata = _mapping(self._template.get("metadata"))
        kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
        if kept:
            location = ("native", "workload", "template", "metadata")
            self._draft.put(location, kept, self._point(*_TEMPLATE, "metadata"))
        self._copy("pod", self._pod, _POD, _NOT_POD)
        others = [dict(c) for n, c in enumerate(containers) if n != number]
        if others:
            point = self._point(*_POD, "containers")
            self._draft.put(("native", "pod", "containers"), others, point)
        location_ = (*_POD, "containers", number)
        self._copy("container", containers[number], location_, _NOT_CONTAINER)
        env = [e for e in containers[number].get("env") or () if "valueFrom" in _mapping(e)]
        if env:
            point = self._point(*location_, "env")
            self._draft.put(("native", "container", "env"), env, point)

    def _copy(
        self, part: str, value: Mapping[str, Any], location: Location, without: frozenset[str]
    ) -> None:
        for key, item in value.items():
            if key not in without and item not in (None, {}, []):
                point = self._point(*location, key)
                self._draft.put(("native", part, key), item, point)

    def _leave_out_of_comparison(self) -> None:
        native = self._draft.spec.get("native", {})
        document = self._draft.document("any")
        ignored = self._draft.spec.setdefault("ignoreDifferences", [])
        for location in _not_comparable(native, ("native",)):
            ignored.append("/" + "/".join(_escaped(part) for part in location))
            shown = ".".join(location[1:])
            message = f"{shown} of {self._draft.name} is declared, but not compared"
            self._findings.warn(document.point(("spec", *location)), message)
        if not ignored:
            del self._draft.spec["ignoreDifferences"]


def _not_comparable(value: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where lists of mappings and quantities stand: the server tells them differently."""
    for key, item in value.items():
        location = (*above, key)
        if key in _QUANTITIES or (isinstance(item, list) and any(map(_is_mapping, item))):
            yield location
        elif isinstance(item, dict):
            yield from _not_comparable(item, location)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
