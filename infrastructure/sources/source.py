"""Kind Source: desired state that lies in files of another format, in the same repository.

The document says where the files are, and carries what those formats have no word for.
`read_source` reads what it names.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from infrastructure.service import (
    AlertSelector,
    Document,
    EnvName,
    Health,
    Name,
    Pointer,
    Remediation,
    SecretRef,
    Suspend,
)

# The name under which `services` speaks of all of them.
EVERY = "*"

_ABSOLUTE = r"^/"
_PROJECT = r"^[a-z0-9][a-z0-9_-]*$"


class SourcedService(Document):
    """What a compose file or manifest has no word for. What is set here counts.

    `depends_on`, `env` and `ignore_differences` are added to what the file says.

    Attributes:
        depends_on: added to what the file says.
        env: variables by reference, added to what the file says.
        health: as of a Service.
        alerts: as of a Service.
        ignore_differences: added to what the file says.
        remediation: as of a Service.
        suspend: as of a Service.
    """

    depends_on: tuple[Name, ...] | None = None
    env: dict[EnvName, SecretRef] = Field(default_factory=dict)
    health: Health | None = None
    alerts: tuple[AlertSelector, ...] | None = None
    ignore_differences: tuple[Pointer, ...] | None = None
    remediation: Remediation | None = None
    suspend: Suspend | None = None


class SourceSpec(Document):
    """Which files, and in which environment their services run.

    Attributes:
        compose: a compose file, relative to this document's own folder.
        kubernetes: a folder of manifests, likewise.
        environment: of environments.yml.
        project: the Compose project, where neither the file nor its `.env` names it.
        directory: where the project lies on the engine's host, for relative paths of bind
            mounts.
        services: by the name that the file gives, or `*` for all; a name's own fields go
            before those of `*`.
    """

    compose: str | None = Field(default=None, min_length=1)
    kubernetes: str | None = Field(default=None, min_length=1)
    environment: Name
    project: Annotated[str, StringConstraints(pattern=_PROJECT)] | None = None
    directory: Annotated[str, StringConstraints(pattern=_ABSOLUTE)] | None = None
    services: dict[str, SourcedService] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        if (self.compose is None) == (self.kubernetes is None):
            raise ValueError("write either compose: FILE or kubernetes: FOLDER")
        if self.kubernetes is not None and (self.project or self.directory):
            raise ValueError("project and directory belong to compose files only")
        return self


class SourceMetadata(Document):
    """Name of a Source; only for people.

    Attributes:
        name: unique among the sources.
    """

    name: Name


class Source(Document):
    """One document of desired state that refers to files of another format.

    Attributes:
        metadata: its name.
        spec: what it refers to.
    """

    model_config = ConfigDict(json_schema_extra={"title": "UICI Source"})

    api_version: Literal["uici/v1"]
    kind: Literal["Source"]
    metadata: SourceMetadata
    spec: SourceSpec
