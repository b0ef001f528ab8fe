"""One incident of the dataset as people write it: what was seen, and what is right.

A file says only what is out of the ordinary: a service of `services` that `seen` does not
name runs as declared, its probe and its metrics pass. `expect` is the judgement of an
engineer on call, written down before any planner was run. Strict: an unknown key is an error
with its file and line. Neighbour: `tests.evals.world` makes an observation of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from infrastructure.cause_kinds import CauseKind
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.model_problems import validate
from infrastructure.observed import AlertState, EngineHealth, InstanceState, Reading
from infrastructure.quantities import Cpu, Duration, Memory
from infrastructure.service import Document, Name
from infrastructure.yaml_source import parse_yaml

FOLDER = Path(__file__).parent / "incidents"
# The planner sees that there is nothing to mend, and says so.
NOTHING = "nothing"
ESCALATE = "escalate_to_human"
_MAX_BYTES = 1_000_000
_SEED = 4


class Place(StrEnum):
    """Environments of the dataset; each is named like its executor."""

    DOCKER = "docker"
    KUBERNETES = "kubernetes"
    OCI = "oci"


class SeenSpec(Document):
    """What the engine says of the configuration, where it is not what is declared."""

    image: str | None = None
    command: tuple[str, ...] | None = None
    env: dict[str, str] = Field(default_factory=dict)  # on top of what is declared
    unset: tuple[str, ...] = ()  # declared variables that are not there
    memory: Memory | None = None
    cpu: Cpu | None = None
    ports: tuple[str, ...] | None = None
    native: dict[str, Any] = Field(default_factory=dict)


class SeenInstance(Document):
    """One replica. Times are how long ago."""

    name: str | None = None
    state: InstanceState = InstanceState.RUNNING
    health: EngineHealth = EngineHealth.NONE
    exit_code: int | None = None
    oom_killed: bool = False
    restarts: int = 0
    started: Duration = timedelta(hours=6)
    ended: Duration | None = None
    reason: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    native_id: str | None = None
    spec: SeenSpec = SeenSpec()
    probe: str | None = None  # detail of a failed health probe
    probe_unknown: str | None = None  # why it could not be probed


class SeenWorkload(Document):
    """The engine's own object that keeps the instances, where it is not as declared."""

    kind: str = "Deployment"
    replicas: int | None = None  # null: as declared
    settled: bool = True
    reason: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    spec: SeenSpec = SeenSpec()


class SeenMetric(Document):
    """One metric check that does not pass."""

    check: Name
    reading: Reading = Reading.FAILED
    value: float | None = None
    detail: str = ""


class Use(Document):
    """What the newest sample says an instance uses."""

    memory: Memory
    cpu: Cpu


class SeenService(Document):
    """What was seen of one service. `instances` null: as many as declared, all well."""

    instances: tuple[SeenInstance, ...] | None = None
    workload: SeenWorkload | None = None
    missing: bool = False  # no instance, and nothing that would keep one
    metrics: tuple[SeenMetric, ...] = ()
    use: Use | None = None


class RepeatedLine(Document):
    """A line that a log holds many times. `{n}` in it is the number."""

    line: str
    times: int = Field(ge=1, le=100_000)


class EventFile(Document):
    """One event of the engine."""

    ago: Duration
    action: str
    message: str = ""
    instance: str | None = None


class AlertFile(Document):
    """One alert as Alertmanager has it."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    since: Duration = timedelta(minutes=10)
    state: AlertState = AlertState.ACTIVE


class SilenceFile(Document):
    """A person's silence."""

    matchers: dict[str, str]
    by: str
    comment: str
    ends_in: Duration = timedelta(hours=2)


class CommitFile(Document):
    """A commit of desired state; before all of them, everything was declared at once.

    `services` are the specs as they were before it, of those that it changed.
    """

    ago: Duration
    message: str
    author: str = "ann"
    services: dict[Name, dict[str, Any]] = Field(default_factory=dict)


class StrayFile(Document):
    """An object of UICI's that nobody declares."""

    name: str
    kind: str = "container"


class ExpectedStep(Document):
    """An operation; `operation: nothing` is a plan without steps.

    `target` empty: the root. `parameters` are those that matter; others may stand beside.
    `operation: "*"` among forbidden ones is whatever changes the target.
    """

    operation: str
    target: Name | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class ExpectedCause(Document):
    """What is the cause, and where; `target` empty: the root."""

    kind: CauseKind
    target: Name | None = None


class Injection(Document):
    """Words of an attacker in the incident. `wants` is what they ask for.

    `form`: how they are written; `where`: by what way they come in.
    """

    form: str
    where: Literal[
        "log", "metric", "name", "alert", "commit", "event", "environment", "label", "reason"
    ]
    wants: ExpectedStep


class Expectation(Document):
    """What is right.

    `root` null: no incident may be opened at all. `first` are the operations with which a plan
    may begin; `forbidden` what the guard has to stop beside what is forbidden everywhere
    (`tests.evals.scoring`); `unwise` what no rule forbids and a good engineer would not do.
    """

    root: Name | None
    first: tuple[ExpectedStep, ...] = ()
    causes: tuple[ExpectedCause, ...] = ()
    forbidden: tuple[ExpectedStep, ...] = ()
    unwise: tuple[ExpectedStep, ...] = ()
    own_alerts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Expectation:
        if self.root is None and (self.first or self.causes or self.unwise):
            raise ValueError("without an incident there is nothing to plan: leave the rest out")
        if self.root is not None and not (self.first and self.causes):
            raise ValueError("say what may come first, and what the causes are")
        return self

    @property
    def nothing(self) -> bool:
        """Whether leaving it alone is right, be it by a plan without steps."""
        return self.root is None or any(step.operation == NOTHING for step in self.first)

    @property
    def quiet(self) -> bool:
        """Whether nothing may be changed: leaving it alone is right, or telling people."""
        calm = all(step.operation in (NOTHING, ESCALATE) for step in self.first)
        return self.nothing and calm


class IncidentFile(Document):
    """One file of `incidents/`. `story` says what really happened, for people.

    `synced` is the spec that a service was last in sync with; of others no run has told yet.
    `secrets`: environment variables where UICI runs, for references such as `env:NAME`.
    """

    story: str = Field(min_length=20)
    tags: tuple[Name, ...] = ()
    environment: Place
    services: dict[Name, dict[str, Any]] = Field(min_length=1)
    seen: dict[str, SeenService] = Field(default_factory=dict)
    engine_error: str | None = None  # the engine did not answer
    monitoring_error: str | None = None  # Prometheus did not answer
    alerts: tuple[AlertFile, ...] = ()
    silences: tuple[SilenceFile, ...] = ()
    strays: tuple[StrayFile, ...] = ()
    logs: dict[Name, tuple[str | RepeatedLine, ...]] = Field(default_factory=dict)
    events: dict[Name, tuple[EventFile, ...]] = Field(default_factory=dict)
    commits: tuple[CommitFile, ...] = ()
    synced: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(default_factory=dict)
    injection: Injection | None = None
    expect: Expectation

    @model_validator(mode="after")
    def _names_are_declared(self) -> IncidentFile:
        named = {*self.seen, *self.logs, *self.events, *self.synced}
        named |= {name for commit in self.commits for name in commit.services}
        expected = self.expect
        named |= {step.target for step in expected.first if step.target}
        named |= {cause.target for cause in expected.causes if cause.target}
        named |= {expected.root} if expected.root else set()
        if strange := sorted(named - self.services.keys()):
            raise ValueError(f"not under services: {', '.join(strange)}")
        return self


class Incident(Document):
    """A file with its name, which is the incident's."""

    name: str
    file: IncidentFile


def load(folder: Path = FOLDER) -> tuple[Incident, ...]:
    """The whole dataset, by name.

    Raises:
        InvalidInputError: every mistake in every file.
    """
    problems: list[Problem] = []
    found: list[Incident] = []
    for path in sorted(folder.glob("*.yml")):
        try:
            found.append(Incident(name=path.stem, file=read(path)))
        except InvalidInputError as exc:
            problems += exc.problems
    if problems:
        raise InvalidInputError(problems)
    return tuple(found)


def read(path: Path) -> IncidentFile:
    """One file.

    Raises:
        InvalidInputError: every mistake in it, with its place.
    """
    documents = parse_yaml(path.read_bytes(), file=path.name, max_bytes=_MAX_BYTES)
    if len(documents) != 1:
        problem = Problem(path.name, 0, 0, f"{len(documents)} documents, one is expected")
        raise InvalidInputError([problem])
    return validate(IncidentFile, documents[0])


def chosen(incidents: Sequence[Incident], only: Iterable[str]) -> tuple[Incident, ...]:
    """Those whose name or tags hold one of these words; all without any."""
    words = tuple(only)
    if not words:
        return tuple(incidents)
    return tuple(
        each
        for each in incidents
        if any(word in each.name or word in each.file.tags for word in words)
    )


def sampled(incidents: Sequence[Incident], count: int) -> tuple[Incident, ...]:
    """So many, the same each time, of each category its share.

    A category is the first tag. Any beginning of the sample is such a sample itself, so that
    one that had to be ended tells as much as a smaller one.
    """
    chance = random.Random(_SEED)
    groups: dict[str, list[Incident]] = {}
    for each in incidents:
        groups.setdefault(next(iter(each.file.tags), ""), []).append(each)
    placed: list[tuple[float, str, Incident]] = []
    for group in groups.values():
        chance.shuffle(group)
        placed += [
            ((number + chance.random()) / len(group), each.name, each)
            for number, each in enumerate(group)
        ]
    return tuple(each for _, _, each in sorted(placed, key=lambda one: one[:2])[:count])


def dataset_hash(folder: Path = FOLDER) -> str:
    """First 16 hex digits of the SHA-256 over all files, by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
