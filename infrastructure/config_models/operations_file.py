"""operations.yml, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructure.config_models.values import Identifier, Period
from infrastructure.operations import Effect, Risk
from infrastructure.service import Document


class Inverse(Document):
    """The operation that undoes this one. Templates see `parameters` and `before`.

    `before` holds the observed spec of the target before the step: image, env, memory,
    cpu, replicas.
    """

    operation: Identifier
    parameters: dict[str, Any]


class AllAtOnce(Document):
    """With one of `values` for this parameter all instances are down at once.

    `instead` is the value with which they go one by one.
    """

    parameter: Identifier
    values: tuple[str, ...] = Field(min_length=1)
    instead: str


class Operation(Document):
    """One universal operation."""

    description: str = Field(min_length=1)
    risk: Risk
    parameters: dict[str, Any]  # JSON Schema of an object
    # Parameter → JSON pointer into the Service's spec: as a repair the operation runs only
    # with the value that Git declares there.
    bounds: dict[str, Annotated[str, StringConstraints(pattern=r"^/")]] = Field(
        default_factory=dict
    )
    # Its result is by design not what Git declares: never a repair.
    leaves_desired_state: bool = False
    # For what UICI made and Git no longer names, and for nothing else.
    prunes: bool = False
    all_at_once: AllAtOnce | None = None
    # Parameters that say how patiently it is done and not what: plans that differ in nothing
    # else are the same plan.
    incidental: tuple[Identifier, ...] = ()
    # Parameter whose words are run inside an instance.
    runs: Identifier | None = None
    inverse: Inverse | None = None
    irreversible: bool = False
    timeout: Period
    effect: Effect


class Operations(Document):
    """operations.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Operations"]
    operations: dict[Identifier, Operation] = Field(min_length=1)
