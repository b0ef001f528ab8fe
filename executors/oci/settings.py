"""What people write about Oracle Cloud: a connection in environments.yml, a binding in Git.

Pure: nothing of the SDK. Limits that a user could want to set (budget, page size, retries,
polling) have no default here, so that environments.yml is the one place that says them.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel, StringConstraints, ValidationError, model_validator

from infrastructure.errors import PermanentError
from infrastructure.quantities import Duration
from infrastructure.service import Document, Service

Ocid = Annotated[str, StringConstraints(pattern=r"^ocid1\.[a-z0-9]+(\.[^\s.]*){3,}$")]
_Address = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
_Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+$")]


class Api(StrEnum):
    """The services of Oracle Cloud that are spoken to, under the names of `endpoints`."""

    COMPUTE = "compute"
    POOLS = "computeManagement"
    CONTAINERS = "containerInstances"
    NETWORK = "virtualNetwork"
    WORK = "workRequests"
    COMMANDS = "computeInstanceAgent"
    METRICS = "monitoring"
    LOGS = "loggingSearch"


class ConfigFileAuth(Document):
    """A user's API key, as the configuration file of the SDK and the CLI names it.

    `metadata_endpoint`: the service that tells an instance who it is (for self-exclusion; the
    key does not tell), asked once for at most `metadata_timeout`. It is at the same link-local
    address everywhere, and anywhere else than in Oracle Cloud nothing answers there.
    """

    method: Literal["configFile"]
    file: str = Field(min_length=1)
    profile: str = Field(min_length=1)
    metadata_endpoint: _Address = "http://169.254.169.254/opc/v2"
    metadata_timeout: Duration = timedelta(seconds=1)


class InstancePrincipalAuth(Document):
    """The compute instance that the agent runs on.

    `federation_endpoint`: another address of the service that makes tokens of certificates.
    """

    method: Literal["instancePrincipal"]
    federation_endpoint: _Address | None = None


class ResourcePrincipalAuth(Document):
    """The resource (a container instance, a function) that the agent runs as."""

    method: Literal["resourcePrincipal"]


class Retries(Document):
    """Repeating what was throttled, in transition or failed on the service's side.

    Attributes:
        attempts: how often a request is sent at most, the first time included.
        initial: waiting time after the first, doubling, where the answer names none.
        max: the longest waiting time between two.
    """

    attempts: int = Field(ge=1, le=20)
    initial: Duration
    max: Duration


class Connection(Document):
    """`connection` of an environment whose executor is oci.

    Attributes:
        auth: who the agent is to Oracle Cloud.
        compartments: where services are looked for; new things are made in the first.
        request_budget: HTTP requests that one run may send, retries included.
        page_size: how many entries a list answers at a time.
        poll_interval: pause between two looks at something that takes time.
        retries: repeating requests.
        region: another region than that of the configuration file or the principal.
        endpoints: service → address, for private endpoints.
        ca_file: certificates that the endpoints are trusted by, beyond the usual.
        proxy: address of an HTTP proxy; none of the environment's variables is looked at.
    """

    auth: Annotated[
        ConfigFileAuth | InstancePrincipalAuth | ResourcePrincipalAuth,
        Field(discriminator="method"),
    ]
    compartments: tuple[Ocid, ...] = Field(min_length=1)
    request_budget: int = Field(ge=1)
    page_size: int = Field(ge=1, le=1000)
    poll_interval: Duration
    retries: Retries
    region: str | None = None
    endpoints: dict[Api, _Url] = Field(default_factory=dict)
    ca_file: str | None = None
    proxy: _Url | None = None


class Selection(Document):
    """Which objects of others belong to the service; UICI's own tag always does.

    Absent: those that have the service's name. Everything that is given has to match.
    """

    ids: tuple[Ocid, ...] = ()
    display_name: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)  # free-form
    defined_tags: dict[str, dict[str, str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something(self) -> Selection:
        if not (self.ids or self.display_name or self.tags or self.defined_tags):
            raise ValueError("give ids, displayName, tags or definedTags")
        return self


class LogSource(Document):
    """Where the Logging service keeps the service's lines.

    Attributes:
        scope: `compartment OCID/log group OCID/log OCID`; the last two may be left out.
        where: a condition in the query language of Logging, such as `subject = 'web'`.
        field: the field of an entry that holds the line.
    """

    scope: Annotated[str, StringConstraints(pattern=r'^ocid1\.[^\s"]+$')]
    where: Annotated[str, StringConstraints(pattern=r"^[^|]+$")] | None = None
    field: str = "data.message"


class _Binding(Document):
    select: Selection | None = None
    compartment: Ocid | None = None  # only there; absent: in all of the connection's
    logs: LogSource | None = None


class ComputeInstanceBinding(_Binding):
    """Compute instances that somebody else made. Started, stopped, reset, resized."""

    kind: Literal["ComputeInstance"]


class InstancePoolBinding(_Binding):
    """An instance pool that somebody else made. `replicas` is its size."""

    kind: Literal["InstancePool"]


class ContainerShape(Document):
    """The machine of each container instance."""

    name: str = Field(min_length=1)  # such as CI.Standard.E4.Flex
    ocpus: float = Field(gt=0)
    memory_in_gbs: float = Field(gt=0, alias="memoryInGBs")


class ContainerInstanceBinding(_Binding):
    """Container instances, one a replica; UICI makes and replaces them.

    Attributes:
        availability_domain: where new ones are made.
        shape: their machine.
        subnet: their network.
        network_security_groups: security groups of their network interface.
        assign_public_ip: whether they get a public address.
        container: the display name of the one that is meant, where there are several.
    """

    kind: Literal["ContainerInstance"]
    availability_domain: str | None = None
    shape: ContainerShape | None = None
    subnet: Ocid | None = None
    network_security_groups: tuple[Ocid, ...] = ()
    assign_public_ip: bool | None = None
    container: str | None = None


AnyBinding = Annotated[
    ComputeInstanceBinding | InstancePoolBinding | ContainerInstanceBinding,
    Field(discriminator="kind"),
]


class Binding(RootModel[AnyBinding]):
    """`spec.binding` of a service in an Oracle Cloud environment."""


def binding_of(service: Service) -> AnyBinding:
    """What the service is in Oracle Cloud.

    Raises:
        PermanentError: its binding is missing or wrong.
    """
    try:
        return Binding.model_validate(service.spec.binding).root
    except ValidationError as exc:
        first: Any = exc.errors(include_url=False, include_input=False)[0]
        # The discriminator's value is part of the place: a word that nobody wrote.
        place = ".".join(str(p) for p in first["loc"] if p not in _KINDS)
        raise PermanentError(
            f"{service.target}: binding{'.' if place else ''}{place}: {first['msg']}"
        ) from exc


def claims(service: Service, connection: Connection) -> tuple[str, ...]:
    """What it selects: see `executors.contract.Claims`.

    Selections that differ may still meet in one object; that can be seen there only.

    Raises:
        PermanentError: its binding is missing or wrong.
    """
    binding = binding_of(service)
    select = binding.select
    if select is not None and select.ids:
        return tuple(f"{binding.kind} {ocid}" for ocid in select.ids)
    if select is None:
        what = service.metadata.name
    elif select.tags or select.defined_tags:
        what = f"with {select.model_dump_json(by_alias=True, exclude_defaults=True)}"
    else:
        what = select.display_name or ""
    places = (binding.compartment,) if binding.compartment else connection.compartments
    return tuple(f"{binding.kind} {what} of {place}" for place in places)


_KINDS = ("ComputeInstance", "InstancePool", "ContainerInstance")


def unsupported(service: Service) -> tuple[str, ...]:
    """What desired state says that this kind has no word for; one message each.

    Raises:
        PermanentError: its binding is missing or wrong.
    """
    return tuple(f"{service.target}: {message}" for _, message in misfits(service))


def misfits(service: Service) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """The same, each with its place below `spec`: see `executors.contract.Misfits`.

    Raises:
        PermanentError: its binding is missing or wrong.
    """
    binding, spec = binding_of(service), service.spec
    kind = binding.kind
    found: list[tuple[tuple[str | int, ...], str]] = []
    if not isinstance(binding, ContainerInstanceBinding):
        if not spec.image.startswith("ocid1.image."):
            message = f"image of a {kind} is the OCID of an image (ocid1.image…)"
            found.append((("image",), message))
        for name, given in (("command", spec.command), ("env", spec.env), ("ports", spec.ports)):
            if given:
                message = f"{name} has no meaning for a {kind}: the machine's image decides it"
                found.append(((name,), message))
    if isinstance(binding, InstancePoolBinding) and (spec.resources.memory or spec.resources.cpu):
        message = (
            "resources of an InstancePool stand in its instance configuration: change it there"
        )
        found.append((("resources",), message))
    for number, port in enumerate(spec.ports):
        if port.host is not None and port.host != port.container:
            message = (
                f"port {port} can't be published under another number: a container instance has"
                " an address of its own"
            )
            found.append((("ports", number), message))
    return tuple(found)
