"""operations.yml, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructure.config_models.values import Identifier, Period
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import Effect, Risk
from infrastructure.service import Document


class Inverse(Document):
    """The operation that undoes this one. Templates see `parameters` and `before`.

    `before` holds the observed spec of the target before the step: image, env, memory,
    cpu, replicas.

    Attributes:
        operation: its name.
        parameters: templates, see above.
    """

    operation: Identifier
    parameters: dict[str, Any]


class AllAtOnce(Document):
    """Values of a parameter with which all instances are down at once.

    Attributes:
        parameter: its name.
        values: which of its values.
        instead: the value with which they go one by one.
    """

    parameter: Identifier
    values: tuple[str, ...] = Field(min_length=1)
    instead: str


class Operation(Document):
    """One universal operation.

    Attributes:
        description: for people and for the model.
        risk: compared with the policy's.
        parameters: JSON Schema of an object.
        bounds: parameter → JSON pointer into the Service's spec: as a repair the operation runs
            only with the value that Git declares there.
        leaves_desired_state: its result is by design not what Git declares: never a repair.
        repairs: the drifts that it can repair: a model's step on a target that has none of them
            is refused; empty: any.
        prunes: for what UICI made and Git no longer names, and for nothing else.
        all_at_once: a parameter's values with which all instances go down together.
        incidental: parameters that say how patiently it is done and not what: plans that differ
            in nothing else are the same plan.
        runs: the parameter whose words are run inside an instance.
        inverse: the operation that takes it back.
        irreversible: there is none.
        timeout: of one call.
        effect: what has to be seen afterwards.
    """

    description: str = Field(min_length=1)
    risk: Risk
    parameters: dict[str, Any]
    bounds: dict[str, Annotated[str, StringConstraints(pattern=r"^/")]] = Field(
        default_factory=dict
    )
    leaves_desired_state: bool = False
    repairs: tuple[DriftKind, ...] = ()
    prunes: bool = False
    all_at_once: AllAtOnce | None = None
    incidental: tuple[Identifier, ...] = ()
    runs: Identifier | None = None
    inverse: Inverse | None = None
    irreversible: bool = False
    timeout: Period
    effect: Effect


class Operations(Document):
    """operations.yml

    Attributes:
        operations: by name.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["Operations"]
    operations: dict[Identifier, Operation] = Field(min_length=1)
