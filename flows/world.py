"""What one run works with: the desired state at a commit, and everything bound to it.

A `Runtime` lives as long as the process; a `World` as long as a run, because services,
policies and statuses are of one commit. Made once at the start of a run, then only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flows.approvals.view import Approvals
from flows.compare import CompareInput
from flows.dossier.collect import ReadChanges, no_changes
from flows.guard import GuardedInterface, GuardInput, acted_before
from flows.guarding.reach import blind_in
from flows.learning.relapse import RelapseWindow
from flows.learning.shelf import Shelf
from flows.listener import RunRequest
from flows.observe import Observation
from flows.plan import Planner
from flows.planners.tried import Relapsing, TriedPlans
from flows.policy import effective_policy
from flows.reporting.proposal_note import ProposalNote
from flows.reporting.status import Reported, TargetStatus
from flows.repository.contract import DesiredState
from infrastructure.config_loader import UniversalConfig
from infrastructure.config_models import Policy
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.identity import AgentIdentity
from infrastructure.observed import NativeObject, empty
from infrastructure.operation_registry import OperationRegistry
from infrastructure.pause import PauseFile, pauses_in
from infrastructure.redaction import Redactor
from infrastructure.service import Remediation, Service
from infrastructure.universal_interface import UniversalInfrastructureInterface

_USUAL_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as an argument: tests bring their own."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class World:
    """See the module. `selected` are the targets of this run, sorted."""

    request: RunRequest
    config: UniversalConfig
    desired: DesiredState
    reported: Reported
    selected: tuple[str, ...]
    policies: Mapping[str, Policy]
    comparing: CompareInput
    identity: AgentIdentity
    registry: OperationRegistry
    interface: UniversalInfrastructureInterface
    guarded: GuardedInterface
    planners: Sequence[Planner]
    redactor: Redactor
    clock: Clock
    deadline: datetime
    observe: Callable[[Sequence[Service], bool], Observation]
    approvals: Approvals
    read_changes: ReadChanges = no_changes
    knowledge: Shelf = field(default_factory=Shelf)
    pauses: tuple[PauseFile, ...] = ()
    # As the run's fetch brought them, together with the branches that they are about.
    proposals: Mapping[str, ProposalNote] = field(default_factory=empty)
    installation: str = ""
    held_off: Mapping[str, str] = field(default_factory=empty)  # target → whose work it is

    @property
    def statuses(self) -> Mapping[str, TargetStatus]:
        """What was last told of every target."""
        return self.reported.statuses

    @property
    def tried(self) -> TriedPlans:
        """Plans that did not help, on specs that are still in force."""
        within = self.config.platform.learning.relapse_within
        window = RelapseWindow(within, self.clock.now())
        relapsing = Relapsing(window, self.executors)
        return TriedPlans.remembered(self.statuses, self.services, self.registry, relapsing)

    @property
    def executors(self) -> Mapping[str, str]:
        """Type of each environment's executor."""
        return executor_types(self.config)

    @property
    def services(self) -> Mapping[str, Service]:
        """All of desired state, not only the selected."""
        return self.desired.services

    def look(self, targets: Sequence[str]) -> Observation:
        """Observe these targets now."""
        every = len(targets) == len(self.services)
        return self.observe([self.services[target] for target in targets], every)

    def look_again(self, targets: Sequence[str]) -> Observation:
        """Observe these targets, and no environment but theirs: strays were looked for before."""
        return self.observe([self.services[target] for target in targets], False)

    def guard_input(
        self,
        natives: Mapping[str, tuple[NativeObject, ...]],
        *,
        held: Mapping[str, str],
        breaker: Mapping[str, str],
        engine_access: Mapping[str, str] | None = None,
    ) -> GuardInput:
        """What verdicts rest on, before any step of this run has been allowed."""
        guard = self.config.platform.guard
        attempts = {t: s.attempts for t, s in self.statuses.items() if s.attempts is not None}
        return GuardInput(
            services=self.services,
            policies=self.policies,
            catalogue=self.registry,
            capabilities=self.interface.capabilities,
            refusal=self.interface.refusal,
            identity=self.identity,
            blast_radius=guard.blast_radius,
            always_approve=frozenset(guard.always_approve),
            min_confidence=guard.min_confidence,
            now=(now := self.clock.now()),
            natives=natives,
            held=held,
            breaker=breaker,
            attempts=attempts,
            acted=acted_before(self.statuses),
            paused=pauses_in(self.pauses, self.environments, now),
            blind=blind_in(self.identity, self.executors),
            engine_access=engine_access or empty(),
            environment_blast={
                name: place.policy.blast_radius
                for name, place in self.config.environments.environments.items()
            },
        )

    @property
    def environments(self) -> tuple[str, ...]:
        """All that are configured."""
        return tuple(self.config.environments.environments)


def executor_types(config: UniversalConfig) -> dict[str, str]:
    """Type of each environment's executor: `docker`, `kubernetes` …"""
    return {name: place.executor for name, place in config.environments.environments.items()}


def engine_hosts(config: UniversalConfig) -> dict[str, str]:
    """Where each environment's Docker Engine answers, unless it is where `docker` looks itself."""
    places = config.environments.environments.items()
    hosts = {name: p.connection.get("host") for name, p in places if p.executor == "docker"}
    return {n: host for n, host in hosts.items() if isinstance(host, str) and host != _USUAL_HOST}


def select(services: Mapping[str, Service], request: RunRequest) -> tuple[str, ...]:
    """The targets that a run is about, sorted.

    A target is named by its inventory id or, where that is unique, by its name alone.

    Raises:
        InvalidInputError: an environment or target that desired state does not have.
    """
    problems: list[Problem] = []
    environments = {service.metadata.environment for service in services.values()}
    for name in request.environments or ():
        if name not in environments:
            known = ", ".join(sorted(environments)) or "none"
            problems.append(_problem(f"no service is in environment {name}", f"known: {known}"))
    wanted: set[str] = set()
    for name in request.targets or ():
        found = [t for t in services if t == name or t.partition("/")[2] == name]
        if len(found) != 1:
            what = "several targets are named" if found else "no target is named"
            known = ", ".join(sorted(found) or sorted(services)[:10])
            problems.append(_problem(f"{what} {name}", f"known: {known}"))
        wanted.update(found)
    if problems:
        raise InvalidInputError(problems)
    return tuple(
        sorted(
            target
            for target, service in services.items()
            if (
                request.environments is None or service.metadata.environment in request.environments
            )
            and (request.targets is None or target in wanted)
        )
    )


def policies(
    config: UniversalConfig, services: Mapping[str, Service], request: RunRequest
) -> dict[str, Policy]:
    """The effective policy of every target."""
    made: dict[tuple[str, Remediation], Policy] = {}

    def policy(service: Service) -> Policy:
        environment = service.metadata.environment
        key = (environment, service.spec.remediation)
        if key not in made:  # few services say something of their own
            made[key] = effective_policy(
                config.platform.guard.policy,
                config.environments.environments[environment].policy,
                service.spec.remediation,
                request.mode,
            )
        return made[key]

    return {target: policy(service) for target, service in services.items()}


def _problem(message: str, remedy: str) -> Problem:
    return Problem("run parameters", 0, 0, message, remedy)
