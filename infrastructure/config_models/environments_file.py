"""environments.yml, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from infrastructure.config_models.platform_file import EnvironmentPolicy
from infrastructure.config_models.values import Identifier, Period, Url
from infrastructure.service import Document, Name

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class BasicAuth(Document):
    """HTTP basic authentication.

    Attributes:
        username: as the server knows it.
        password: by reference: `${env:NAME}` or `${file:/path}`.
    """

    username: str
    password: str = Field(repr=False)


class Tls(Document):
    """Files for TLS: own authority, client certificate. Relative to environments.yml.

    Attributes:
        ca_file: PEM file of an authority; null: the system's.
        cert_file: PEM file of a client certificate.
        key_file: its private key.
        server_name: the name that the server's certificate has to hold; null: the address's.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class HttpSource(Document):
    """A server that speaks the API of Prometheus, Alertmanager or Loki.

    Attributes:
        url: without the API's path.
        external_url: where people reach it, for links; null: `url`.
        timeout: of one request.
        basic_auth: null: none.
        bearer_token: null: none.
        headers: sent with each request, such as a tenant's.
        tls: null: the system's authorities.
    """

    url: Url
    external_url: Url | None = None
    timeout: Period
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    tls: Tls | None = None


class LogStore(Document):
    """Loki, or what speaks its API, for the primitive `stored_logs`.

    Attributes:
        sources: tried in order.
        service_label: name of the label that holds a service's name.
        instance_label: name of the label that holds an instance's.
        stream_label: name of the label that says stdout or stderr.
        labels: matched besides the service's own.
        look_back: how far into the past a query without a time of its own goes.
        max_bytes: of one answer.
    """

    sources: tuple[HttpSource, ...] = Field(min_length=1)
    service_label: LabelName
    instance_label: LabelName
    stream_label: LabelName
    labels: dict[LabelName, str] = Field(default_factory=dict)
    look_back: Period
    max_bytes: int = Field(ge=1024)


class DetectionRule(Document):
    """One sign that the environment is here; exactly one field is set.

    Attributes:
        file: a socket or file that exists.
        env: an environment variable that is set.
        url: an address that answers (instance metadata).
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    file: str | None = None
    env: str | None = None
    url: Url | None = None

    @model_validator(mode="after")
    def _one_sign(self) -> Self:
        if [self.file, self.env, self.url].count(None) != 2:
            raise ValueError("give exactly one of file, env, url; another sign is another rule")
        return self


class Environment(Document):
    """One place where services run.

    Attributes:
        executor: the kind of engine: `docker`, `kubernetes`, `oci`, or a module of your own.
        connection: how it is reached, in the executor's own words and checked by its own model.
        detect: signs that the environment is here, for `uici doctor`.
        deadline: of one look at it; what does not answer by then is unknown.
        concurrency: requests to it at the same time.
        prometheus: servers to ask for metrics, tried in order; empty: none.
        alertmanager: servers to ask for alerts, whose answers are merged, and to tell people
            by; empty: none.
        logs: where logs are kept; null: the engine's own.
        policy: its own policy, which can only forbid more.
    """

    executor: Identifier
    connection: dict[str, Any] = Field(repr=False)
    detect: tuple[DetectionRule, ...]
    deadline: Period
    concurrency: int = Field(ge=1, le=128)
    prometheus: tuple[HttpSource, ...]
    alertmanager: tuple[HttpSource, ...]
    logs: LogStore | None = None
    policy: EnvironmentPolicy


class Environments(Document):
    """environments.yml

    Attributes:
        environments: by name, which Service files refer to.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["Environments"]
    environments: dict[Name, Environment] = Field(min_length=1)
