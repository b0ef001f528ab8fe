"""What a model may answer: the JSON Schema it is asked to fit, and the check of what came.

An endpoint that promises to keep a schema is still outside. Nothing of an answer is used
before it fits here: known fields, operations on offer, targets of the incident, parameters
by the registry. Free text is shortened and cleaned for people, and drives nothing. Short
choices come first and texts last: a model that has to write prose before it chooses
chooses worse. No list has an open end, and a service that works has no steps: small models
go on as long as the form lets them, and contradict themselves where it lets them. That is
form and not `maxItems`, which some endpoints refuse. Neighbour: `flows.llm.conversation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.comparison.drift import Incident
from flows.llm.prompt import neutralise
from flows.plan import PlanStep, RootCause
from infrastructure.cause_kinds import CauseKind
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import PermanentError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operation_schema import closed_object

SCHEMA_NAME = "repair_plan"

# Texts are for a report that people read; longer ones are shortened, not refused.
_MAX_DIAGNOSIS = 1000
_MAX_SENTENCE = 300
_MAX_EVIDENCE = 10
# The guard has the real limit; this one only bounds what is checked.
_MAX_STEPS = 20
_MAX_ERRORS = 3

# Whether there is a second step is chosen first, too: where it may be null, small models fill it.
_BROKEN, _TWO_STEPS, _WORKS = "broken", "broken_needs_two_steps", "works"
_LOOK_FIRST = "look_first"
_STATES = (_BROKEN, _TWO_STEPS, _WORKS, _LOOK_FIRST)
_STEPS = ("step", "second_step")
_READ = "read"

# The engine's own word against Git. No log line can talk it away.
_HARD_KINDS = frozenset(
    {DriftKind.MISSING, DriftKind.STOPPED, DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT}
)
# Models without tools write calls as they have seen them: {"name": …, "arguments": …}.
_TOOL_AS_TEXT = re.compile(
    r'\A\s*\{\s*"(?:name|function|tool)"\s*:.*"(?:arguments|parameters)"\s*:', re.DOTALL
)
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*(.*?)\s*```\s*\Z", re.DOTALL)


class UnfitAnswerError(PermanentError):
    """The answer is not a plan. The message is written for the model and for people."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may stand in an answer, in the order it is offered.

    `reads` are operations that a model may look first with, `places` the targets it may
    look at, and where a cause may lie. An offer is made for an incident, to check answers
    by, and for an environment, to make the schema of.
    """

    operations: tuple[str, ...]
    targets: tuple[str, ...]
    reads: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedRead:
    """A look-up that a model asks for, as it wrote it: checked by `flows.llm.isolation`.

    `about`: a text to look for, or a query, where the operation takes one.
    """

    operation: str
    target: str
    about: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked answer. Neither steps nor look-ups: the model saw nothing to do."""

    cause: RootCause
    diagnosis: str
    confidence: float
    evidence: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    rollback: tuple[PlanStep, ...]
    look_first: tuple[WantedRead, ...] = ()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Step(_Strict):
    operation: str
    target: str
    parameters: dict[str, Any] | None
    why: str
    expected_effect: str

    @model_validator(mode="before")
    @classmethod
    def _unpacked(cls, value: Any) -> Any:
        """`do` holds the operation with its parameters; it may be written out instead."""
        if not isinstance(value, dict) or not isinstance(value.get("do"), dict):
            return value
        parameters = {k: v for k, v in value["do"].items() if k != "operation"}
        own = {k: v for k, v in value.items() if k != "do"}
        return own | {"operation": value["do"].get("operation"), "parameters": parameters}


class _Read(_Strict):
    operation: str
    target: str
    about: str | None = None


class _Answer(_Strict):
    broken: bool
    cause: Annotated[CauseKind, Field(strict=False)]
    cause_target: str | None = None  # None: the incident's root
    steps: list[_Step] = Field(max_length=_MAX_STEPS)
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=False)]
    look_first: list[_Read] = Field(default=[], max_length=_MAX_STEPS)
    diagnosis: str
    evidence: list[str]
    # Not asked for: what undoes a step is the registry's to know. Some models tell it.
    rollback: list[_Step] = Field(default=[], max_length=_MAX_STEPS)

    @model_validator(mode="before")
    @classmethod
    def _unfolded(cls, value: Any) -> Any:
        """The form of the schema as lists; who is asked without one may write lists himself."""
        if not isinstance(value, dict):
            return value
        flat = {key: item for key, item in value.items() if key != "finding"}
        if isinstance(value.get("finding"), dict):
            flat |= _flat_finding(value["finding"])
        if isinstance(flat.get("evidence"), str):
            flat["evidence"] = [flat["evidence"]]
        if "rollback" in flat and not isinstance(flat["rollback"], list):
            flat["rollback"] = _given([flat["rollback"]])
        return flat


def _flat_finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What is not of the form stays, for the model above to name it."""
    listed = {"state", *_STEPS, _READ}
    flat = {key: item for key, item in finding.items() if key not in listed}
    state = finding.get("state")
    if state == _WORKS:
        flat.setdefault("cause", CauseKind.FALSE_ALARM.value)
    if state == _LOOK_FIRST:
        flat.setdefault("cause", CauseKind.UNKNOWN.value)
    return flat | {
        "broken": state != _WORKS if state in _STATES else state,
        "steps": _given(finding.get(name) for name in _STEPS),
        "look_first": _given([finding.get(_READ)]),
    }


def _given(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if item is not None]


def answer_schema(registry: OperationRegistry, offer: Offer) -> dict[str, Any]:
    """JSON Schema of an answer, of the strict subset, as small as it can be.

    Operations that take the same parameters share a branch, steps their schema, and bounds
    of values are left to the check: a schema is paid for as part of every prompt. What the
    operations are for stands in the system message. An offer without targets takes any text
    as a target; with an offer without reads nothing can be looked at first.
    """
    text: dict[str, Any] = {"type": "string"}
    step, read, target = ({"$ref": f"#/$defs/{name}"} for name in ("step", "read", "target"))
    cause = {"type": "string", "enum": [kind.value for kind in CauseKind]}
    definitions: dict[str, Any] = {
        "cause": cause,
        "target": text | ({"enum": list(offer.targets)} if offer.targets else {}),
        "step": _step(registry, offer.operations),
    }
    blame = {"cause": {"$ref": "#/$defs/cause"}, "cause_target": target}
    findings = [
        _finding(_BROKEN, blame | dict.fromkeys(_STEPS[:1], step)),
        _finding(_TWO_STEPS, blame | dict.fromkeys(_STEPS, step)),
        _finding(_WORKS, {}),
    ]
    if offer.reads:
        findings.append(_finding(_LOOK_FIRST, {_READ: read}))
        definitions["read"] = closed_object(_read_fields(offer.reads))
    properties: dict[str, Any] = {
        "finding": {"anyOf": findings},
        "confidence": {"type": "number"},
        "diagnosis": text,
        "evidence": text,
    }
    return closed_object(properties) | {"$defs": definitions}


def _finding(state: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return closed_object({"state": {"type": "string", "enum": [state]}, **properties})


def read_tools(registry: OperationRegistry, reads: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Reads as functions for endpoints that call tools: one an operation, with a `target`."""
    tools = []
    for branch in registry.schema_for_model(reads)["items"]["anyOf"]:
        properties = branch["properties"]
        inner = properties["parameters"]["properties"]
        function = {
            "name": properties["operation"]["enum"][0],
            "description": branch["description"],
            "strict": True,
            "parameters": closed_object({"target": {"type": "string"}, **inner}),
        }
        tools.append({"type": "function", "function": function})
    return tuple(tools)


def _step(registry: OperationRegistry, operations: Iterable[str]) -> dict[str, Any]:
    """Schema of a step. What differs by operation is apart, as `do`.

    Incidental parameters are not asked for, and read where they are told nevertheless.
    """
    branches: dict[str, dict[str, Any]] = {}
    for branch in registry.schema_for_model(operations)["items"]["anyOf"]:
        names = branch["properties"]["operation"]["enum"]
        every, incidental = branch["properties"]["parameters"], registry.get(names[0]).incidental
        asked = {k: v for k, v in every["properties"].items() if k not in incidental}
        parameters = _without_words(asked)
        key = json.dumps(parameters)
        if key in branches:
            branches[key]["properties"]["operation"]["enum"] += names
            continue
        operation = {"type": "string", "enum": list(names)}
        branches[key] = closed_object({"operation": operation, **parameters})
    return closed_object(
        {
            "do": {"anyOf": list(branches.values())},
            "target": {"$ref": "#/$defs/target"},
            "why": {"type": "string"},
            "expected_effect": {"type": "string"},
        }
    )


def _read_fields(reads: Sequence[str]) -> dict[str, Any]:
    return {
        "operation": {"type": "string", "enum": list(reads)},
        "target": {"$ref": "#/$defs/target"},
        "about": {"type": ["string", "null"]},
    }


def _without_words(schema: Any, *, names: bool = True) -> Any:
    """A schema without descriptions. `names`: its keys are names of properties."""
    if isinstance(schema, list):
        return [_without_words(item, names=False) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_words(value, names=key == "properties" and not names)
        for key, value in schema.items()
        if names or key != "description"
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
    _check_sense(answer, incident)

    def sentence(words: str, longest: int = _MAX_SENTENCE) -> str:
        return _for_people(words, longest, redact)

    def checked(
        steps: Iterable[_Step], where: str, *, repairs: bool = True
    ) -> tuple[PlanStep, ...]:
        planned: list[PlanStep] = []
        for index, step in enumerate(steps):
            made = PlanStep(
                operation=step.operation,
                target=step.target,
                parameters=_parameters(step, offer, registry, f"{where}[{index}]"),
                why=sentence(step.why),
                expected_effect=sentence(step.expected_effect),
            )
            if repairs:
                _check_help(made, incident, registry, f"{where}[{index}]")
            # Small models fill a place with what stands in the one before.
            if all(made.call != before.call for before in planned):
                planned.append(made)
        return tuple(planned)

    cause_target = answer.cause_target or incident.root
    draft = Draft(
        cause=RootCause(answer.cause, cause_target),
        diagnosis=sentence(answer.diagnosis, _MAX_DIAGNOSIS),
        confidence=answer.confidence,
        evidence=tuple(sentence(line) for line in answer.evidence[:_MAX_EVIDENCE]),
        steps=checked(answer.steps, "steps"),
        rollback=checked(answer.rollback, "rollback", repairs=False),
        look_first=tuple(
            WantedRead(read.operation, read.target, read.about) for read in answer.look_first
        ),
    )
    places = {*offer.targets, *offer.places}
    if cause_target not in places:
        raise UnfitAnswerError(
            f"cause_target: {_quoted(cause_target)} is not part of this incident; "
            f"choose one of {', '.join(sorted(places))}"
        )
    return draft


def _check_sense(answer: _Answer, incident: Incident) -> None:
    if not answer.broken and answer.steps:
        raise UnfitAnswerError("broken is false, but there are steps; choose one")
    if answer.broken and not answer.steps and not answer.look_first:
        raise UnfitAnswerError(
            "there are no steps; give some (escalate_to_human where you cannot tell), or say "
            "works when the evidence shows that the service works"
        )
    hard = sorted({drift.kind.value for drift in incident.drifts if drift.kind in _HARD_KINDS})
    if not answer.broken and hard:
        raise UnfitAnswerError(f"works contradicts what the engine says: {', '.join(hard)}")


def _check_help(
    step: PlanStep, incident: Incident, registry: OperationRegistry, where: str
) -> None:
    """By operations.yml, some operations repair some drifts only."""
    repaired = registry.get(step.operation).repairs
    seen = {drift.kind for drift in incident.drifts if drift.target == step.target}
    if repaired and seen.isdisjoint(repaired):
        raise UnfitAnswerError(
            f"{where}: {step.operation} repairs {', '.join(repaired)}, and {step.target} is "
            f"{', '.join(sorted(seen)) or 'not in drift'}; choose another operation"
        )


def _parse(text: str) -> _Answer:
    part = json_part(text)
    if _TOOL_AS_TEXT.search(part):
        raise UnfitAnswerError(
            "the answer does not fit the schema: it is a tool call written as text; answer with "
            "the plan itself"
        )
    try:
        return _Answer.model_validate_json(part)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
        told = [_told(error["loc"], error["msg"]) for error in errors[:_MAX_ERRORS]]
        raise UnfitAnswerError(f"the answer does not fit the schema: {'; '.join(told)}") from exc


def json_part(text: str) -> str:
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
