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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
from flows.lasting_alerts import Standing
from flows.learning.relapse import RelapseWindow
from flows.listener import RunRequest
from flows.llm.assembly import make_llm_planner
from flows.llm.budget import OnRequest, nobody
from flows.llm.isolation import ReadOperation
from flows.llm.planner import PlanningWorld
from flows.observe import Observation, observe
from flows.open_executors import desired_state_parser, open_executors
from flows.other_runs import at_work, held_off
from flows.plan import Planner
from flows.planners.learned import LearnedPlanner
from flows.planners.runbook import RunbookPlanner
from flows.planners.tried import Relapsing, TriedPlans
from flows.platform_operations import Collaborators, Escalation, PlatformOperations
from flows.prefect_edge.secret_block import read_prefect_block
from flows.proposals.result import Remembered
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import AGENT_FOLDER, Reported, TargetStatus
from flows.repository.clone import GitRepository
from flows.repository.contract import DesiredState
from flows.world import Clock, World, executor_types, policies, select
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.errors import PermanentError, TemporaryError, UiciError
from infrastructure.identity import AgentIdentity, runtime_native_ids
from infrastructure.observed import Alert, ObservedService, ProbeReading
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import ESCALATION_ALERT, OperationCall, OperationOutcome
from infrastructure.pause import PauseFile, pauses_in
from infrastructure.redaction import Redactor
from infrastructure.secret_references import SecretResolver
from infrastructure.service import SecretRef, Service
from infrastructure.universal_interface import EngineProvider, UniversalInfrastructureInterface
from monitoring.alertmanager import OwnAlert, post_alert, post_alerts, silence_covers
from monitoring.http_source import MonitoringClients
from monitoring.loki import LogLine, LogQuery, read_logs
from monitoring.probe import probe_services
from monitoring.prometheus import query

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
            guarded=GuardedInterface(
                interface,
                self.registry,
                self.identity,
                now=self.clock.now,
                paused=self._paused,
            ),
            pauses=pauses,
            interface=interface,
            planners=self._planners(desired.services, interface, reported),
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
            read_changes=lambda targets, limit, since: self.git.changes(
                desired, targets, limit=limit, since=since
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
        return observe(
            services,
            environments=self.config.environments.environments,
            executors=self.executors,
            settings=self.config.platform.observe,
            all_services=all_services,
            clients=self.clients,
            now=self.clock.now,
        )

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
            platform=PlatformOperations(self._collaborators(), services),
            services=services,
            clock=self.clock.now,
        )

    def escalate_own(self, alerts: Sequence[Alert]) -> None:
        """Tell people of alerts about the agent itself, wherever there is an Alertmanager.

        Raises:
            UiciError: no Alertmanager took it.
        """
        names = ", ".join(sorted({alert.name for alert in alerts}))
        agent = self.identity.agent
        summary = f"{names} fires about {agent}, which never acts on itself"
        errors: list[UiciError] = []
        places = self.config.environments.environments
        for name in (n for n, place in places.items() if place.alertmanager):
            labels = {"service": agent, "target": f"{AGENT_FOLDER}/{agent}"}
            try:
                self._tell(name, labels, summary)
            except UiciError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def escalate_environment(self, environment: str, summary: str) -> None:
        """Tell people of something that concerns a whole environment.

        Raises:
            UiciError: no Alertmanager took it.
        """
        self._tell(environment, {"target": environment}, summary)

    def keep_told(self, standing: Standing) -> None:
        """Renew the alerts of what lasts, end those of what is over: a request a place.

        Raises:
            UiciError: no Alertmanager of a place took them.
        """
        now, lasts = self.clock.now(), self.config.platform.escalation.lasts
        ends = [(told, now + lasts) for told in standing.lasting]
        ends += [(told, now) for told in standing.over]
        errors: list[UiciError] = []
        for name, place in self.config.environments.environments.items():
            alerts = [
                OwnAlert(told.labels, {"summary": self.redactor.text(told.summary)}, now, end)
                for told, end in ends
                if told.environment == name
            ]
            if not alerts or not place.alertmanager:
                continue
            settings = self.config.platform.observe.alerts
            try:
                post_alerts(self.clients.sources(place.alertmanager), alerts, settings=settings)
            except UiciError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def _tell(self, environment: str, labels: Mapping[str, str], summary: str) -> None:
        known = {
            "alertname": ESCALATION_ALERT,
            "environment": environment,
            "severity": "critical",
            **labels,
        }
        self._escalate(Escalation(environment, known, {"summary": summary}), 0)

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
        return CompareInput(
            services=desired.services,
            selected=selected,
            settings=self.config.platform.compare,
            identity=self.identity,
            # Of all services: what another one's secret is must be cut from this one's logs.
            secrets=self._resolved(desired.services.values()),
            covers=silence_covers,
            first_seen=self.first_seen.read(self.clock.now()),
            repaired=repaired_at(statuses),
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

    def _resolved(self, services: Iterable[Service]) -> dict[str, str]:
        """Values of the secrets in use; one that can't be resolved is not compared."""
        values: dict[str, str] = {}
        for service in services:
            for value in service.spec.env.values():
                if isinstance(value, SecretRef) and value.secret not in values:
                    with contextlib.suppress(PermanentError):
                        values[value.secret] = self.secrets.resolve(value.secret)
        return values

    def _planners(
        self,
        services: Mapping[str, Service],
        interface: UniversalInfrastructureInterface,
        reported: Reported,
    ) -> tuple[Planner, ...]:
        platform = self.config.platform
        executors = executor_types(self.config)
        window = RelapseWindow(platform.learning.relapse_within, self.clock.now())
        tried = TriedPlans.remembered(
            reported.statuses, services, self.registry, Relapsing(window, executors)
        )
        learned = LearnedPlanner(
            reported.knowledge,
            services,
            executors,
            self.registry,
            interface.capabilities,
            trust_after=platform.learning.trust_after,
            give_way_after=platform.learning.give_way_after,
            refusal=interface.refusal,
            tried=tried,
        )
        model = make_llm_planner(
            platform,
            platform.agent,
            self.config.get_agent(),
            PlanningWorld(
                services,
                self.registry,
                interface.capabilities,
                self.redactor.text,
                read=self._reader(interface),
            ),
            config_directory=self.config.directory,
            data_directory=self.config.data_directory,
            now=self.clock.now,
            on_request=self.on_llm_request,
        )
        runbooks = RunbookPlanner(
            self.config.runbooks,
            services,
            interface.capabilities,
            interface.refusal,
            tried=tried,
        )
        return (learned, model, runbooks)

    def _reader(self, interface: UniversalInfrastructureInterface) -> ReadOperation:
        """For a model's look-ups: the guard's reads, within so many seconds."""
        guarded = GuardedInterface(interface, self.registry, self.identity, now=self.clock.now)

        def read(call: OperationCall, seconds: float) -> OperationOutcome:
            return guarded.read(call, deadline=self.clock.now() + timedelta(seconds=seconds))

        return read

    def _collaborators(self) -> Collaborators:
        observing = self.config.platform.observe

        def look(service: Service, timeout: float) -> ObservedService:
            executor = self.executors.get(service.metadata.environment)
            if executor is None:
                raise PermanentError(f"{service.metadata.environment} has no executor")
            return executor.look(service, timeout=timeout)

        def probe(
            service: Service, observed: ObservedService, timeout: float
        ) -> Sequence[ProbeReading]:
            deadline = time.monotonic() + timeout
            return probe_services([(service, observed)], observing.probe, deadline=deadline)

        def ask(environment: str, expression: str, _timeout: float) -> Any:
            sources = self.config.environments.environments[environment].prometheus
            return query(self.clients.sources(sources), expression, observing.metrics)

        return Collaborators(
            look=look,
            probe=probe,
            query=ask,
            post_alert=self._escalate,
            redact=self.redactor.text,
            stored_logs=self._stored_logs,
        )

    def _stored_logs(
        self, environment: str, wanted: LogQuery, _timeout: float
    ) -> Sequence[LogLine]:
        store = self.config.environments.environments[environment].logs
        if store is None:
            raise PermanentError(
                f"{environment} keeps no logs: write `logs:` for it in environments.yml, or"
                " translate get_logs to the engine's own in command_translations.yml"
            )
        return read_logs(self.clients.sources(store.sources), wanted, store, self.clock.now())

    def _escalate(self, escalation: Escalation, _timeout: float) -> None:
        """An alert that ends by itself unless it is told again."""
        sources = self.config.environments.environments[escalation.environment].alertmanager
        if not sources:  # the report in Git, the log and Prefect's event tell it then
            _log.warning("escalation_without_alertmanager", **escalation.labels)
            return
        now = self.clock.now()
        post_alert(
            self.clients.sources(sources),
            labels=escalation.labels,
            annotations=escalation.annotations,
            starts_at=now,
            ends_at=now + self.config.platform.escalation.lasts,
            settings=self.config.platform.observe.alerts,
        )


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
