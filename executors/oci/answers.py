"""The answers of Oracle Cloud, as far as they are used. Pure.

Requests and answers are the JSON of the REST API (the SDK's models are not used: they cost
several times the CPU of plain JSON). What comes in is checked here, once. Slotted dataclasses
and not Pydantic models: ten thousand of them take half the memory.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from infrastructure.errors import TemporaryError

Json = dict[str, Any]
M = TypeVar("M")


# What ten thousand things share is kept once.
Word = Annotated[str, AfterValidator(sys.intern)]

# Unknown fields are the service's own business, null is "not said".
CAMEL = ConfigDict(
    extra="ignore", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
)
# A machine has some thousand of either; a number that no machine can have is no number.
Amount = Annotated[float, Field(ge=0, le=1_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Resource:
    """What all resources have. `raw` is the whole answer, for `native`."""

    id: str
    display_name: str | None = None
    lifecycle_state: Word = ""
    compartment_id: Word = ""
    freeform_tags: dict[str, str] | None = None
    defined_tags: dict[str, dict[str, Any]] | None = None
    time_created: datetime | None = None
    raw: Json = Field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Its display name, or the end of its OCID."""
        return self.display_name or self.id.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class ShapeConfig:
    """Size of a machine. One OCPU is two vCPUs on x86, one on Arm."""

    ocpus: Amount | None = None
    vcpus: Amount | None = None
    memory_in_gbs: Amount | None = Field(default=None, alias="memoryInGBs")


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class SourceDetails:
    """What an instance was made from; from a boot volume, no image is told here."""

    image_id: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Instance(Resource):
    """A compute instance."""

    shape: Word = ""
    shape_config: ShapeConfig | None = None
    image_id: Word | None = None
    source_details: SourceDetails | None = None

    @property
    def image(self) -> str | None:
        """OCID of the image that it was made from."""
        return (self.source_details.image_id if self.source_details else None) or self.image_id


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Pool(Resource):
    """An instance pool."""

    size: int
    instance_configuration_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class PoolMember:
    """An entry of a pool's list of instances."""

    id: str
    display_name: str | None = None
    state: str = ""  # as in the console: "Running"

    @property
    def name(self) -> str:
        """Its display name, or the end of its OCID."""
        return self.display_name or self.id.rpartition(".")[2]

    @property
    def lifecycle_state(self) -> str:
        """In the words of an instance."""
        return self.state.upper().replace(" ", "_")


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class InstanceConfiguration:
    """What a pool makes instances from."""

    id: str
    instance_details: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class ContainerInstance(Resource):
    """A container instance: a machine for one or several containers."""

    lifecycle_details: str | None = None
    availability_domain: str | None = None
    shape: Word = ""
    shape_config: ShapeConfig | None = None
    vnics: tuple[Json, ...] | None = None  # only where one is asked for
    container_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class ResourceConfig:
    """Limits of one container; absent: all that the machine has."""

    vcpus_limit: Amount | None = None
    memory_limit_in_gbs: Amount | None = Field(default=None, alias="memoryLimitInGBs")


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Container(Resource):
    """A container. A list leaves out what only `get_container` says."""

    container_instance_id: str
    lifecycle_details: str | None = None
    image_url: str = ""
    arguments: tuple[str, ...] | None = None
    environment_variables: dict[str, str] | None = None
    resource_config: ResourceConfig | None = None
    health_checks: tuple[Json, ...] | None = None
    exit_code: int | None = None
    time_terminated: datetime | None = None
    time_updated: datetime | None = None
    container_restart_attempt_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class WorkRequest:
    """Work under way."""

    id: str
    operation_type: str = ""
    status: str
    percent_complete: float | None = None
    resources: tuple[Json, ...] | None = None
    time_accepted: datetime | None = None
    time_finished: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class VnicAttachment:
    """Which network interface an instance has."""

    instance_id: str
    lifecycle_state: str = ""
    subnet_id: str | None = None
    vnic_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class PrivateIp:
    """An address of a network interface."""

    ip_address: str | None = None
    is_primary: bool | None = None
    vnic_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Vnic:
    """A network interface."""

    id: str
    private_ip: str | None = None
    public_ip: str | None = None
    subnet_id: str | None = None
    nsg_ids: tuple[str, ...] | None = None
    hostname_label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class CommandExecution:
    """What came of a command on an instance."""

    lifecycle_state: str
    delivery_state: str = ""
    content: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class Datapoint:
    """One value of a metric."""

    timestamp: datetime
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class MetricSeries:
    """One stream of a metric."""

    dimensions: dict[str, str] | None = None
    aggregated_datapoints: tuple[Datapoint, ...] = ()


@functools.cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def parse(model: type[M], data: Any, *, what: str, keep_raw: bool = True) -> M:
    """An answer of the expected shape.

    Args:
        model: what of it is used.
        data: decoded JSON.
        what: the request, for messages.
        keep_raw: whether the whole answer is kept beside it; ten thousand take much memory.

    Raises:
        TemporaryError: it has another one.
    """
    kind: Any = model
    if isinstance(data, Mapping):
        try:
            found: M = _adapter(kind).validate_python({**data, "raw": data} if keep_raw else data)
        except ValidationError as exc:
            place = ".".join(str(part) for part in exc.errors()[0]["loc"])
            raise TemporaryError(
                f"{what}: the answer is not what the API promises: {place}"
            ) from exc
        return found
    raise TemporaryError(f"{what}: the answer is not what the API promises")
