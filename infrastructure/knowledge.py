"""A file of `knowledge/`, as a model: what has helped against one class of incidents.

Written by the loop and, by commit or pull request, by people: strict, so that a mistake is
told with its line. The rules are `flows.learning`'s; the type stands here beside the other
documents that have a JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from infrastructure.config_models.values import Identifier
from infrastructure.drift_kinds import DriftKind
from infrastructure.service import Document, Moment, Name

# Bounds against hostile files, far above what the loop writes.
MAX_RESOLUTIONS = 8
MAX_STEPS = 20
MAX_TRIALS = 10
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$", max_length=80)]
_Text = Annotated[str, StringConstraints(max_length=500)]
MAX_COUNT = 10**9
_Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
ClassName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]


class ClassConditions(Document):
    """What makes incidents one class. All of it must be so, and nothing else.

    Attributes:
        executor: type of the environment.
        kinds: drift kinds of the incident's root.
        fields: first segments of its drifting fields, names of its breached metric checks or
            firing alerts.
        patterns: error patterns found about it.
        probed: metrics or alerts alone tell of it, and an HTTP probe says otherwise.
    """

    executor: Name
    kinds: tuple[DriftKind, ...] = Field(max_length=9)
    fields: tuple[_Word, ...] = Field(default=(), max_length=20)
    patterns: tuple[Name, ...] = Field(default=(), max_length=20)
    probed: bool = False


class LearnedStep(Document):
    """One operation on the incident's root. Templates see `service` and `target`.

    Attributes:
        operation: of operations.yml.
        parameters: templates, see above.
        why: for people.
    """

    operation: Identifier
    parameters: dict[str, Any] = Field(default_factory=dict)
    why: _Text = ""


class Trial(Document):
    """One time that the steps were carried out.

    Attributes:
        run: its id.
        target: on which target.
        at: when.
        helped: whether the recovery was verified.
        seconds: to the verified recovery.
    """

    run: _Text
    target: _Text
    at: Moment
    helped: bool
    seconds: float | None = Field(default=None, ge=0)


class LearnedResolution(Document):
    """Steps, and how they have fared.

    Attributes:
        steps: in order, all on the incident's root.
        planner: who planned them first.
        successes: verified recoveries.
        failures: carried out in vain.
        in_a_row: successes since the last failure.
        last_used: the newest trial.
        median_seconds: to a verified recovery.
        disabled: a person's word: never used. Needs a `reason`.
        trusted: a person's word that holds until the next failure. Needs a `reason`.
        reason: of that word.
        evidence: the newest trials, newest last.
    """

    steps: tuple[LearnedStep, ...] = Field(min_length=1, max_length=MAX_STEPS)
    planner: _Text
    successes: _Count = 0
    failures: _Count = 0
    in_a_row: _Count = 0
    last_used: Moment | None = None
    median_seconds: float | None = Field(default=None, ge=0)
    disabled: bool = False
    trusted: bool = False
    reason: _Text = ""
    evidence: tuple[Trial, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.in_a_row > self.successes:
            raise ValueError("inARow is greater than successes")
        if self.disabled and self.trusted:
            raise ValueError("disabled and trusted exclude each other")
        if (self.disabled or self.trusted) and not self.reason.strip():
            raise ValueError("disabled and trusted need a reason")
        return self


class Knowledge(Document):
    """One file of `knowledge/`: a class of incidents and its resolutions, best first.

    Attributes:
        class_: its name, which is the file's.
        when: which incidents it is about.
        disabled: the whole class is never planned from here. Needs a `reason`.
        reason: of that word.
        resolutions: best first.
    """

    model_config = ConfigDict(json_schema_extra={"title": "UICI Knowledge"})

    api_version: Literal["uici/v1"]
    kind: Literal["Knowledge"]
    class_: ClassName = Field(alias="class", max_length=120)
    when: ClassConditions
    disabled: bool = False
    reason: _Text = ""
    resolutions: tuple[LearnedResolution, ...] = Field(max_length=MAX_RESOLUTIONS)

    @model_validator(mode="after")
    def _with_reason(self) -> Self:
        if self.disabled and not self.reason.strip():
            raise ValueError("disabled needs a reason")
        return self
