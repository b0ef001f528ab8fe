"""environments.yml, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from infrastructure.config_models.platform_file import EnvironmentPolicy
from infrastructure.config_models.values import Identifier, Period, Url
from infrastructure.service import Document, Name

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class BasicAuth(Document):
    """HTTP basic authentication."""

    username: str
    password: str = Field(repr=False)


class Tls(Document):
    """Files for TLS: own authority, client certificate. Relative to environments.yml."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class HttpSource(Document):
    """A Prometheus- or Alertmanager-compatible server. Several: tried or merged in order."""

    url: Url
    timeout: Period
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    tls: Tls | None = None


class LogStore(Document):
    """Loki, or what speaks its API, for the primitive `stored_logs`.

    `labels` are matched besides the service's own; the three others are names of labels.
    Without a time of its own a query goes `lookBack` into the past.
    """

    sources: tuple[HttpSource, ...] = Field(min_length=1)
    service_label: LabelName
    instance_label: LabelName
    stream_label: LabelName
    labels: dict[LabelName, str] = Field(default_factory=dict)
    look_back: Period
    max_bytes: int = Field(ge=1024)


class DetectionRule(Document):
    """One sign that the environment is here; exactly one field is set."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    file: str | None = None  # a socket or file that exists
    env: str | None = None  # an environment variable that is set
    url: Url | None = None  # an address that answers (instance metadata)

    @model_validator(mode="after")
    def _one_sign(self) -> Self:
        if [self.file, self.env, self.url].count(None) != 2:
            raise ValueError("give exactly one of file, env, url; another sign is another rule")
        return self


class Environment(Document):
    """One place where services run."""

    executor: Identifier
    connection: dict[str, Any] = Field(repr=False)  # checked by the executor's own model
    detect: tuple[DetectionRule, ...]
    deadline: Period
    concurrency: int = Field(ge=1, le=128)
    prometheus: tuple[HttpSource, ...]
    alertmanager: tuple[HttpSource, ...]
    logs: LogStore | None = None  # null: logs are the engine's own
    policy: EnvironmentPolicy


class Environments(Document):
    """environments.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Environments"]
    environments: dict[Name, Environment] = Field(min_length=1)
