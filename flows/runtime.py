"""What lives as long as the process: connections, the agent's own clone, its identity.

`open_runtime` builds it from the configuration, `Runtime.open_world` binds it to one
run. The only place that knows which concrete class stands behind which protocol.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from executors.contract import Executor
from executors.translator import CommandTranslator
from flows.approvals.branches import Refused
from flows.approvals.wiring import view_of
from flows.compare import CompareInput
from flows.first_seen import FirstSeen
from flows.git_state import GitState
from flows.guard import GuardedInterface
from flows.installation import installation
from flows.listener import RunRequest
from flows.llm.budget import OnRequest, nobody
from flows.observe import Observation, observe, secrets_seen
from flows.open_executors import desired_state_parser, open_executors
from flows.other_runs import at_work, held_off
from flows.people import People
from flows.planners.wiring import planners_over
from flows.platform_operations import Collaborators, PlatformOperations
from flows.platform_wiring import collaborators
from flows.prefect_edge.secret_block import read_prefect_block
from flows.proposals.result import Remembered
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import TargetStatus
from flows.repository.clone import GitRepository
from flows.repository.contract import DesiredState
from flows.world import Clock, World, policies, select
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.errors import PermanentError, TemporaryError, UiciError
from infrastructure.identity import AgentIdentity, runtime_native_ids
from infrastructure.operation_registry import OperationRegistry
from infrastructure.pause import PauseFile, pauses_in
from infrastructure.redaction import Redactor
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from infrastructure.universal_interface import EngineProvider, UniversalInfrastructureInterface
from monitoring.alertmanager import silence_covers
from monitoring.http_source import MonitoringClients

_log = structlog.get_logger("uici")
SYSTEM_CLOCK = Clock(now=lambda: datetime.now(UTC), sleep=time.sleep)


@dataclass(frozen=True, slots=True)
class Runtime:
    """See the module. Safe to use from several threads; runs take turns."""

    config: UniversalConfig
    identity: AgentIdentity
    redactor: Redactor
    secrets: SecretResolver
    registry: OperationRegistry
    translator: CommandTranslator
    executors: Mapping[str, Executor]
    git: GitState
    clients: MonitoringClients
    clock: Clock
    on_llm_request: OnRequest = nobody
    proposed: Remembered = field(default_factory=Remembered)
    refused_branches: Refused = field(default_factory=Refused)

    @contextlib.contextmanager
    def one_run_at_a_time(self) -> Iterator[None]:
        """Hold the agent's run lock; the kernel frees it when the process ends, however.

        Raises:
            TemporaryError: another run of this agent is under way.
        """
        path = self.config.data_directory / "run.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = path.open("w")
        except OSError as exc:
            raise PermanentError(
                f"the data directory can't be used: {exc.strerror}: {exc.filename}: "
                "correct dataDirectory in platform.yml or its rights"
            ) from exc
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise TemporaryError(
                    "another run of this agent is under way: wait for its end"
                ) from exc
            yield

    def open_world(
        self, request: RunRequest, *, strays: Mapping[str, Service] | None = None
    ) -> World:
        """Read desired state and statuses, and bind everything to them.

        Args:
            request: what the run is about.
            strays: what desired state no longer has, to be removed; see `flows.pruning`.

        Raises:
            InvalidInputError: the request names what is not there.
            TemporaryError: no desired state could be read, now or ever before.
        """
        self.secrets.forget()  # a secret that was rotated is read anew by each run
        desired = self.git.desired()
        for name, executor in self.executors.items():
            executor.declare(
                frozenset(
                    service.metadata.name
                    for service in desired.services.values()
                    if service.metadata.environment == name
                )
            )
        told = desired  # as Git says, which approvals are bound to
        if strays:
            desired = replace(desired, services={**strays, **desired.services})
        selected = select(desired.services, request)
        started = self.clock.now()
        interface = self.interface(desired.services)
        guarded = GuardedInterface(
            interface,
            self.registry,
            self.identity,
            now=self.clock.now,
            paused=self._paused,
        )
        reported = self.git.reported()
        pauses = self.pauses()
        return World(
            request=request,
            config=self.config,
            desired=with_pauses(desired, pauses, started),
            reported=reported,
            installation=self.installation,
            held_off=held_off(
                at_work(
                    reported.intents,
                    installation=self.installation,
                    now=started,
                    deadline=self.config.platform.reconcile.deadline,
                )
            ),
            proposals=reported.proposals,
            selected=selected,
            policies=policies(self.config, desired.services, request),
            comparing=self._comparing(desired, selected, reported.statuses),
            identity=self.identity,
            registry=self.registry,
            guarded=guarded,
            pauses=pauses,
            interface=interface,
            planners=planners_over(
                desired.services,
                reported,
                config=self.config,
                interface=interface,
                guarded=guarded,
                registry=self.registry,
                redact=self.redactor.text,
                now=self.clock.now,
                on_llm_request=self.on_llm_request,
            ),
            redactor=self.redactor,
            clock=self.clock,
            deadline=started + self.config.platform.reconcile.deadline,
            observe=self.observe,
            approvals=view_of(
                self.git,
                told,
                reported.approvals,
                settings=self.config.platform.approvals,
                redactor=self.redactor,
                now=self.clock.now,
            ),
            knowledge=reported.knowledge,
            read_changes=lambda targets, limit, since, judged: self.git.changes(
                desired, targets, limit=limit, since=since, judged=judged
            ),
        )

    def desired(self) -> DesiredState:
        """The newest valid desired state, fetched now, with what people have paused.

        Raises:
            TemporaryError: no desired state could be read, now or ever before.
        """
        desired = self.git.desired()
        return with_pauses(desired, self.pauses(), self.clock.now())

    def pauses(self) -> tuple[PauseFile, ...]:
        """What people have paused; what names an unknown environment is of everything."""
        known = tuple(self.config.environments.environments)
        return tuple(each.within(known) for each in self.git.pauses())

    def _paused(self, environment: str) -> str | None:
        """Why nothing may be done there, as the clone knows it at this moment."""
        try:
            pauses = self.pauses()
        except UiciError as exc:
            return f"whether it is paused can't be read: {exc}"
        return pauses_in(pauses, (environment,), self.clock.now()).get(environment)

    def observe(self, services: Sequence[Service], all_services: bool) -> Observation:
        """Stage 1 with everything that this process has."""
        seen = observe(
            services,
            environments=self.config.environments.environments,
            executors=self.executors,
            settings=self.config.platform.observe,
            all_services=all_services,
            clients=self.clients,
            now=self.clock.now,
        )
        # They may be others than what references resolve to now, if they do so at all.
        self.redactor.learn(secrets_seen(services, seen))
        return seen

    def interface(self, services: Mapping[str, Service]) -> UniversalInfrastructureInterface:
        """The universal interface over these services, without a guard."""
        engines: dict[str, tuple[str, EngineProvider]] = {
            name: (self.config.environments.environments[name].executor, executor)
            for name, executor in self.executors.items()
        }
        return UniversalInfrastructureInterface(
            self.registry,
            self.translator,
            engines=engines,
            platform=PlatformOperations(self._collaborators, services),
            services=services,
            clock=self.clock.now,
        )

    @property
    def _collaborators(self) -> Collaborators:
        return collaborators(
            self.config,
            self.executors,
            self.clients,
            redactor=self.redactor,
            post_alert=self.people.escalate,
            now=self.clock.now,
        )

    @property
    def people(self) -> People:
        """How people are told, through Alertmanager."""
        return People(self.config, self.identity.agent, self.redactor, self.clients, self.clock)

    def close(self) -> None:
        """Release every connection. Idempotent."""
        for executor in self.executors.values():
            executor.close()
        self.clients.close()

    def _comparing(
        self,
        desired: DesiredState,
        selected: tuple[str, ...],
        statuses: Mapping[str, TargetStatus],
    ) -> CompareInput:
        def carried_out(target: str) -> bool:
            status, service = statuses.get(target), desired.services.get(target)
            if status is None or service is None:
                return False
            return status.last_synced_digest == service.spec_digest

        # Of all services: what another one's secret is must be cut from this one's logs.
        secrets, lacking = self._resolved(desired.services.values())
        return CompareInput(
            services=desired.services,
            selected=selected,
            settings=self.config.platform.compare,
            identity=self.identity,
            secrets=secrets,
            lacking=lacking,
            covers=silence_covers,
            first_seen=self.first_seen.read(self.clock.now()),
            repaired=repaired_at(statuses),
            carried_out=carried_out,
        )

    @property
    def installation(self) -> str:
        """What tells this agent from others that work from the same repository.

        Raises:
            PermanentError: the data directory can't be used.
        """
        return installation(self.config.data_directory)

    @property
    def first_seen(self) -> FirstSeen:
        """The memory behind grace periods."""
        return FirstSeen(self.config.data_directory, self.config.platform.compare.grace)

    def _resolved(self, services: Iterable[Service]) -> tuple[dict[str, str], dict[str, str]]:
        """The secrets in use: reference → value, and reference → why it has none."""
        values: dict[str, str] = {}
        lacking: dict[str, str] = {}
        for reference in {each for service in services for each in service.secrets.values()}:
            try:
                values[reference] = self.secrets.resolve(reference)
            except PermanentError as exc:
                lacking[reference] = str(exc)
        return values, lacking


@contextlib.contextmanager
def open_runtime(
    config: UniversalConfig, *, clock: Clock = SYSTEM_CLOCK, on_llm_request: OnRequest = nobody
) -> Iterator[Runtime]:
    """A runtime for this configuration, closed at the end.

    Raises:
        InvalidInputError: the `connection` of an environment is wrong.
        UiciError: the agent's own clone can't be opened.
    """
    identity = agent_identity(config, runtime_ids=runtime_native_ids())
    redactor = config.redactor()
    secrets = SecretResolver(read_block=read_prefect_block, on_resolved=redactor.learn)
    runtime = Runtime(
        config=config,
        identity=identity,
        redactor=redactor,
        secrets=secrets,
        registry=OperationRegistry(config.operations),
        translator=CommandTranslator(config.translations),
        executors=open_executors(config, identity, secrets),
        git=open_git(config, identity, redactor),
        clients=MonitoringClients(),
        clock=clock,
        on_llm_request=on_llm_request,
    )
    with contextlib.closing(runtime):
        yield runtime


def with_pauses(desired: DesiredState, pauses: Iterable[PauseFile], now: datetime) -> DesiredState:
    """Desired state with a remark for each pause that holds somewhere."""
    held = [p.problem() for p in pauses if not p.over(now)]
    return replace(desired, problems=(*desired.problems, *held)) if held else desired


def repaired_at(statuses: Mapping[str, TargetStatus]) -> dict[str, datetime]:
    """When each target was verified as repaired, if that is what was last told of it."""
    return {
        target: status.last_incident.at
        for target, status in statuses.items()
        if status.last_incident is not None
        and status.last_incident.result == IncidentResult.RECOVERED.value
    }


def open_git(config: UniversalConfig, identity: AgentIdentity, redactor: Redactor) -> GitState:
    """The agent's own clone and what reads and writes it."""
    settings, proposals = config.platform.git, config.platform.proposals
    parser = desired_state_parser(config, identity)
    repository = GitRepository.open(
        settings.remote,
        config.data_directory,
        seed=None if settings.remote else config.directory / Path(settings.seed),
        settings=settings,
        proposals=proposals.branch_prefix if proposals.enabled else None,
        folder=config.directory,
    )
    return GitState(repository, parser.read, settings, redactor=redactor)
