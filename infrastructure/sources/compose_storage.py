"""Volumes, tmpfs, file-based secrets and configs of compose services → Docker's mounts."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from infrastructure.sources.compose_file import ComposeProject, ComposeService
from infrastructure.sources.compose_units import number, size, switch, text, texts
from infrastructure.sources.draft import Draft, Findings, Point

_HOST = "HostConfig"
_MODES = frozenset({"ro", "rw"})
_OPTIONS = frozenset(
    {"z", "Z", "nocopy", "shared", "slave", "private", "rshared", "rslave", "rprivate"}
    | {"cached", "delegated", "consistent"}
)


def read_volumes(
    service: ComposeService, project: ComposeProject, draft: Draft, findings: Findings
) -> None:
    """Everything that is mounted into a container."""
    mounts = _Mounts(service, project, findings)
    for index, item in enumerate(service.data.get("volumes") or ()):
        try:
            mounts.volume(item, service.at("volumes", index))
        except ValueError as exc:
            message = f"a volume of {service.name} can't be honoured"
            findings.error(service.at("volumes", index), message, str(exc))
    for part, folder in (("secrets", "/run/secrets/"), ("configs", "/")):
        for index, item in enumerate(service.data.get(part) or ()):
            mounts.file(part, folder, item, service.at(part, index))
    point = service.at("volumes")
    if mounts.binds:
        draft.put(("native", _HOST, "Binds"), mounts.binds, point)
    if mounts.mounts:
        draft.put(("native", _HOST, "Mounts"), mounts.mounts, point)
    if mounts.anonymous:
        draft.put(("native", "Volumes"), {path: {} for path in mounts.anonymous}, point)
    tmpfs = dict(text(item).partition(":")[::2] for item in texts(service.data.get("tmpfs") or []))
    if tmpfs:
        draft.put(("native", _HOST, "Tmpfs"), tmpfs, service.at("tmpfs"))


def volume_name(project: ComposeProject, key: str) -> str:
    """What the engine calls a volume of the file."""
    declared = project.parts["volumes"].get(key) or {}
    external = declared.get("external")
    if declared.get("name"):
        return text(declared["name"])
    if isinstance(external, dict) and external.get("name"):
        return text(external["name"])
    return key if external else f"{project.name}_{key}"


class _Mounts:
    """Collects what one service mounts."""

    def __init__(
        self, service: ComposeService, project: ComposeProject, findings: Findings
    ) -> None:
        self._service = service
        self._project = project
        self._findings = findings
        self.binds: list[str] = []
        self.mounts: list[dict[str, Any]] = []
        self.anonymous: list[str] = []

    def volume(self, item: Any, point: Point) -> None:
        """One entry of `volumes`.

        Raises:
            ValueError: it can't be honoured.
        """
        if isinstance(item, dict):
            self._long(item, point)
            return
        parts = text(item).split(":")
        if len(parts) == 1:
            self.anonymous.append(parts[0])
            return
        source, target = parts[0], parts[1]
        options = ",".join(parts[2:]).split(",") if len(parts) > 2 else []
        strange = [o for o in options if o not in _MODES | _OPTIONS]
        if strange:
            raise ValueError(f"unknown option {', '.join(strange)}")
        kept = [o for o in options if o in _OPTIONS]
        access = "ro" if "ro" in options else "rw"
        self._bind(self._source(source, point), target, [access, *kept])

    def _bind(self, source: str | None, target: str, options: list[str]) -> None:
        if not target.startswith("/"):
            raise ValueError(f"{target} is no absolute path in the container")
        if source is not None:
            self.binds.append(f"{source}:{posixpath.normpath(target)}:{','.join(options)}")

    def _source(self, source: str, point: Point) -> str | None:
        """A path on the engine's host, or a volume's name there; None: told already."""
        if source.startswith((".", "~", "/")):
            return self._path(source)
        if source not in self._project.parts["volumes"]:
            message = f"the file declares no volume {source}"
            remedy = "declare it under volumes, or write ./ before a path"
            self._findings.error(point, message, remedy)
            return None
        return volume_name(self._project, source)

    def _path(self, written: str) -> str:
        if written.startswith("/"):
            return posixpath.normpath(written)
        if written.startswith("~"):
            raise ValueError("write an absolute path: whose home is meant is not known here")
        if self._project.directory is None:
            raise ValueError(
                f"{written} is relative: say in spec.directory of the Source where the project"
                " lies on the engine's host"
            )
        return posixpath.normpath(posixpath.join(self._project.directory, written))

    def _long(self, item: Mapping[str, Any], point: Point) -> None:
        kind = text(item["type"])
        target = text(item.get("target"))
        read_only = switch(item.get("read_only", False))
        match kind:
            case "tmpfs":
                self.mounts.append(_tmpfs(target, item.get("tmpfs") or {}, read_only=read_only))
            case "bind":
                options = item.get("bind") or {}
                self._long_bind(self._path(text(item.get("source"))), target, options, read_only)
            case "volume" if not item.get("source"):
                self.anonymous.append(target)
            case "volume":
                options = item.get("volume") or {}
                if options.get("subpath") or options.get("labels"):
                    raise ValueError("subpath and labels of a volume are not read")
                nocopy = ["nocopy"] if switch(options.get("nocopy", False)) else []
                access = "ro" if read_only else "rw"
                source = self._source(text(item["source"]), point)
                self._bind(source, target, [access, *nocopy])
            case _:
                raise ValueError(f"volumes of type {kind} are not read")

    def _long_bind(
        self, source: str, target: str, options: Mapping[str, Any], read_only: bool
    ) -> None:
        plain = switch(options.get("create_host_path", True)) and not options.get("recursive")
        if not plain:
            if options.get("recursive"):
                raise ValueError("bind.recursive is not read")
            made: dict[str, Any] = {"Type": "bind", "Source": source, "Target": target}
            if read_only:
                made["ReadOnly"] = True
            if options.get("propagation"):
                made["BindOptions"] = {"Propagation": text(options["propagation"])}
            self.mounts.append(made)
            return
        extras = [text(options[key]) for key in ("selinux", "propagation") if options.get(key)]
        self._bind(source, target, ["ro" if read_only else "rw", *extras])

    def file(self, part: str, folder: str, item: Any, point: Point) -> None:
        """A secret or config that is a file: mounted read-only."""
        wanted = item if isinstance(item, dict) else {"source": item}
        name = text(wanted.get("source"))
        declared = self._project.parts[part].get(name)
        if declared is None:
            self._findings.error(point, f"the file declares none of this name: {part} {name}")
            return
        if not declared.get("file"):
            message = f"{part} {name} is no file, which can't be honoured"
            remedy = "mount a file, or pass it by environment"
            self._findings.error(point, message, remedy)
            return
        if any(wanted.get(key) is not None for key in ("uid", "gid", "mode")):
            message = f"uid, gid and mode of {part} {name} are not set: the file's own are seen"
            self._findings.warn(point, message)
        target = text(wanted.get("target") or name)
        try:
            source = self._path(text(declared["file"]))
        except ValueError as exc:
            self._findings.error(point, f"{part} {name} can't be mounted", str(exc))
            return
        inside = target if target.startswith("/") else folder + target
        self._bind(source, inside, ["ro"])


def _tmpfs(target: str, options: Mapping[str, Any], *, read_only: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"Type": "tmpfs", "Target": target}
    if read_only:
        made["ReadOnly"] = True
    settings = {}
    if options.get("size"):
        settings["SizeBytes"] = size(options["size"])
    if options.get("mode"):
        settings["Mode"] = number(options["mode"])
    if settings:
        made["TmpfsOptions"] = settings
    return made
