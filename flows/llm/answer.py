"""What a model may answer: the JSON Schema it is asked to fit, and the check of what came.

An endpoint that promises to keep a schema is still outside. Nothing of an answer is used
before it fits here: known fields, operations on offer, targets of the incident, parameters
by the registry. Free text is shortened and cleaned for people, and drives nothing.
Neighbour: `flows.llm.planner`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.comparison.drift import Incident
from flows.llm.prompt import neutralise
from flows.plan import PlanStep
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import PermanentError
from infrastructure.operation_registry import OperationRegistry

SCHEMA_NAME = "repair_plan"

# Texts are for a report that people read; longer ones are shortened, not refused.
_MAX_DIAGNOSIS = 1000
_MAX_SENTENCE = 300
_MAX_EVIDENCE = 10
# The guard has the real limit; this one only bounds what is checked.
_MAX_STEPS = 20
_MAX_ERRORS = 3

# The engine's own word against Git. No log line can talk it away.
_HARD_KINDS = frozenset(
    {DriftKind.MISSING, DriftKind.STOPPED, DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT}
)
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*(.*?)\s*```\s*\Z", re.DOTALL)


class UnfitAnswerError(PermanentError):
    """The answer is not a plan. The message is written for the model and for people."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may stand in an answer, in the order it is offered."""

    operations: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked answer. No steps: the model saw nothing to do."""

    diagnosis: str
    confidence: float
    evidence: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    rollback: tuple[PlanStep, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Step(_Strict):
    operation: str
    target: str
    parameters: dict[str, Any]
    why: str
    expected_effect: str


class _Answer(_Strict):
    diagnosis: str
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=False)]
    evidence: list[str]
    steps: list[_Step] = Field(max_length=_MAX_STEPS)
    rollback: list[_Step] = Field(max_length=_MAX_STEPS)
    nothing_to_do: bool


def answer_schema(registry: OperationRegistry, offer: Offer) -> dict[str, Any]:
    """JSON Schema of an answer, of the strict subset, as small as it can be.

    Operations that take the same parameters share a branch, and both lists of steps share
    their schema: a schema is paid for as part of every prompt. What the operations are for
    stands in the system message.
    """
    steps = registry.schema_for_model(offer.operations)
    branches: dict[str, dict[str, Any]] = {}
    for branch in steps["items"]["anyOf"]:
        properties = branch["properties"]
        key = json.dumps(properties["parameters"])
        if key in branches:
            operation = branches[key]["properties"]["operation"]
            operation["enum"] = [*operation["enum"], *properties["operation"]["enum"]]
            continue
        shared = {name: value for name, value in branch.items() if name != "description"}
        shared["properties"] = {
            **properties,
            "operation": dict(properties["operation"]),
            "target": {"$ref": "#/$defs/target"},
        }
        branches[key] = shared
    text = {"type": "string"}
    properties = {
        "diagnosis": text,
        "confidence": {"type": "number", "description": "0 to 1"},
        "evidence": {"type": "array", "items": text},
        "steps": {"$ref": "#/$defs/steps"},
        "rollback": {"$ref": "#/$defs/steps"},
        "nothing_to_do": {"type": "boolean"},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "$defs": {
            "target": {"type": "string", "enum": list(offer.targets)},
            "steps": {"type": "array", "items": {"anyOf": list(branches.values())}},
        },
    }


def read_answer(
    text: str,
    incident: Incident,
    offer: Offer,
    *,
    registry: OperationRegistry,
    redact: Callable[[str], str],
) -> Draft:
    """Check an answer.

    Raises:
        UnfitAnswerError: exactly what is wrong with it.
    """
    answer = _parse(text)
    if answer.nothing_to_do and answer.steps:
        raise UnfitAnswerError("nothing_to_do is true, but there are steps; choose one")
    if not answer.nothing_to_do and not answer.steps:
        raise UnfitAnswerError(
            "there are no steps; give some (escalate_to_human where you cannot tell), or set "
            "nothing_to_do when the evidence shows that the service works"
        )
    hard = sorted({drift.kind.value for drift in incident.drifts if drift.kind in _HARD_KINDS})
    if answer.nothing_to_do and hard:
        raise UnfitAnswerError(f"nothing_to_do contradicts what the engine says: {', '.join(hard)}")

    def sentence(words: str, longest: int = _MAX_SENTENCE) -> str:
        return _for_people(words, longest, redact)

    def checked(steps: Iterable[_Step], where: str) -> tuple[PlanStep, ...]:
        return tuple(
            PlanStep(
                operation=step.operation,
                target=step.target,
                parameters=_parameters(step, offer, registry, f"{where}[{index}]"),
                why=sentence(step.why),
                expected_effect=sentence(step.expected_effect),
            )
            for index, step in enumerate(steps)
        )

    return Draft(
        diagnosis=sentence(answer.diagnosis, _MAX_DIAGNOSIS),
        confidence=answer.confidence,
        evidence=tuple(sentence(line) for line in answer.evidence[:_MAX_EVIDENCE]),
        steps=checked(answer.steps, "steps"),
        rollback=checked(answer.rollback, "rollback"),
    )


def _parse(text: str) -> _Answer:
    try:
        return _Answer.model_validate_json(_json_part(text))
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
        told = [_told(error["loc"], error["msg"]) for error in errors[:_MAX_ERRORS]]
        raise UnfitAnswerError(f"the answer does not fit the schema: {'; '.join(told)}") from exc


def _json_part(text: str) -> str:
    """Endpoints without any JSON mode wrap it in a fence or in words."""
    fenced = _FENCE.match(text)
    if fenced:
        return fenced[1]
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _told(place: tuple[int | str, ...], message: str) -> str:
    """Pydantic's words with a place. Places may hold the model's own words."""
    path = ".".join(str(part)[:40] for part in place) or "the whole answer"
    return f"{' '.join(neutralise(path).split())}: {message}"


def _parameters(
    step: _Step, offer: Offer, registry: OperationRegistry, where: str
) -> Mapping[str, Any]:
    if step.operation not in offer.operations:
        raise UnfitAnswerError(
            f"{where}: {_quoted(step.operation)} is not on offer; "
            f"choose one of {', '.join(offer.operations)}"
        )
    if step.target not in offer.targets:
        raise UnfitAnswerError(
            f"{where}: {_quoted(step.target)} is no target of this incident; "
            f"choose one of {', '.join(offer.targets)}"
        )
    try:
        return registry.from_model(step.operation, step.parameters)
    except PermanentError as exc:
        raise UnfitAnswerError(f"{where}: {exc}") from exc


def _quoted(words: str) -> str:
    return f"'{' '.join(neutralise(words).split())[:80]}'"


def _for_people(words: str, longest: int, redact: Callable[[str], str]) -> str:
    line = " ".join(neutralise(redact(neutralise(words[: longest * 4]))).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
