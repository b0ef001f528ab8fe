"""Values for tests of learning: a class, a resolution, trials."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.comparison.drift import Drift, Incident
from flows.learning.incident_class import class_name
from flows.learning.learn import Lesson, Lessons, learn
from flows.learning.shelf import Shelf, knowledge_text
from flows.plan import Evidence, PatternMatch
from infrastructure.cause_kinds import CauseKind
from infrastructure.drift_kinds import DriftKind
from infrastructure.knowledge import (
    ClassConditions,
    Knowledge,
    LearnedResolution,
    LearnedStep,
    Trial,
)
from infrastructure.operation_registry import OperationRegistry
from tests.unit.operations import shipped

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHOP = shipped.service(
    "shop", replicas=2, resources={"memory": "256Mi", "cpu": "0.5"}, env={"LOG_LEVEL": "info"}
)
OTHER = shipped.service("other", replicas=5, resources={"memory": "1Gi"})
SERVICES = {service.target: service for service in (SHOP, OTHER)}
REGISTRY = OperationRegistry(shipped.operations())
EXECUTORS = {"local": "docker"}
STOPPED = ClassConditions(executor="docker", kinds=(DriftKind.STOPPED,))
RESTART = (LearnedStep(operation="restart", parameters={"strategy": "graceful"}, why="w"),)


def incident(*kinds: DriftKind, fields: Iterable[str] = (), root: str = SHOP.target) -> Incident:
    """An incident of one target with these drifts."""
    drifts = [Drift(root, kind) for kind in kinds]
    drifts += [Drift(root, DriftKind.CONFIG_DRIFT, field=field) for field in fields]
    return Incident("f" * 16, "local", root, (root,), tuple(drifts))


def evidence(*patterns: str, target: str = SHOP.target) -> Evidence:
    """Evidence with these patterns about a target."""
    return Evidence(
        matches=tuple(PatternMatch(name, target, CauseKind.UNKNOWN, "m") for name in patterns)
    )


def trial(number: int, *, helped: bool = True, target: str = SHOP.target) -> Trial:
    """The trial of run `r<number>`, that many minutes on."""
    return Trial(
        run=f"r{number}",
        target=target,
        at=NOW + timedelta(minutes=number),
        helped=helped,
        seconds=float(number) if helped else None,
    )


def lesson(
    number: int,
    *,
    helped: bool = True,
    when: ClassConditions = STOPPED,
    steps: tuple[LearnedStep, ...] = RESTART,
) -> Lesson:
    """One lesson."""
    return Lesson(when, steps, "llm", trial(number, helped=helped))


def taught(shelf: Shelf, *lessons: Lesson, classes: int = 100) -> Shelf:
    """The shelf after a run with these lessons."""
    files = dict(shelf.files)
    for name, known in learn(shelf, Lessons(lessons, classes)).items():
        if known is None:
            del files[name]
        else:
            files[name] = knowledge_text(known)
    return Shelf(files)


def shelf_of(*changes: dict[str, Any], **whole: Any) -> Shelf:
    """A shelf with one class, and a resolution for each of the changes."""
    when = STOPPED
    resolutions = tuple(
        LearnedResolution.model_validate({"steps": RESTART, "planner": "llm", **change})
        for change in changes
    )
    known = Knowledge.model_validate(
        {
            "api_version": "uici/v1",
            "kind": "Knowledge",
            "class_": class_name(when),
            "when": when,
            "resolutions": resolutions,
            **whole,
        }
    )
    return Shelf({known.class_: knowledge_text(known)})


def only(shelf: Shelf, when: ClassConditions = STOPPED) -> LearnedResolution:
    """The only resolution of a class."""
    known = shelf.get(class_name(when))
    assert known is not None, shelf.problems()
    (resolution,) = known.resolutions
    return resolution


def after_three(**first: Any) -> Shelf:
    """A class that has helped three times."""
    shelf = shelf_of(first) if first else Shelf()
    for number in (1, 2, 3):
        shelf = taught(shelf, lesson(number))
    return shelf
