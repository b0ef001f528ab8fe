"""Shortcuts: files in, drafts or findings out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infrastructure.sources.compose_file import load_compose
from infrastructure.sources.compose_service import Reading, read_services
from infrastructure.sources.draft import Draft, Findings
from infrastructure.sources.tree import FilesTree

FILE = "shop/compose.yml"


@dataclass
class Read:
    """What a compose file gave."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    @property
    def errors(self) -> list[str]:
        return [str(problem) for problem in self.findings.errors]

    @property
    def warnings(self) -> list[str]:
        return [str(problem) for problem in self.findings.warnings]

    def spec(self, name: str = "web") -> dict[str, Any]:
        """The spec of a service of a file without mistakes."""
        assert self.errors == []
        return self.drafts[name].spec

    def host(self, name: str = "web") -> dict[str, Any]:
        """Its HostConfig, without the network that every service has."""
        found = dict(self.spec(name)["native"]["HostConfig"])
        found.pop("NetworkMode")
        return found


def compose(
    text: str,
    *,
    files: dict[str, str] | None = None,
    directory: str | None = "/srv/shop",
    project: str | None = "shop",
    reading: Reading | None = None,
) -> Read:
    """Read a compose file that stands in the folder `shop` of a repository."""
    made = Read()
    tree = FilesTree(
        {FILE: text.encode(), **{path: t.encode() for path, t in (files or {}).items()}}
    )
    loaded = load_compose(
        FILE, tree, made.findings, max_bytes=100_000, project=project, directory=directory
    )
    if loaded is not None and not made.findings.errors:
        made.drafts = read_services(loaded, made.findings, reading or Reading())
    return made


def web(*lines: str, **more: Any) -> Read:
    """A compose file with one service, `web`, that has these lines."""
    body = "\n".join(f"    {line}" for line in ("image: shop:1", *lines))
    return compose(f"services:\n  web:\n{body}\n", **more)
