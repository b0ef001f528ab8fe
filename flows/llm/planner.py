"""The planner that asks a model: incident → question → checked answer → Plan, or a reason.

It has no power: what it returns is judged by `flows.guard` like any other plan. Whatever
the outside does (no key, no network, nonsense, an empty purse) it returns a sentence, and
the next planner of `flows.planners.order` takes over. Neighbours: `flows.llm.prompt` (what is
asked), `flows.llm.conversation` (in which turns), `flows.llm.answer` (what may come back),
`flows.llm.budget` (how often), `flows.llm.abilities` (in which form).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from flows.comparison.drift import Incident
from flows.llm.abilities import Abilities, AbilityBook, checking
from flows.llm.answer import Draft, Offer
from flows.llm.answer_book import NOTHING_KEPT, AnswerBook
from flows.llm.budget import IncidentMeter, LlmBudget
from flows.llm.client import LlmClient
from flows.llm.conversation import Conversation, NoPlanError, Topic
from flows.llm.exchange import Exchanges
from flows.llm.isolation import LookUps, ReadOperation
from flows.llm.menu import menu_of, reads, repairs
from flows.llm.prompt import Prompt, Question, build_question, new_marker, system_message
from flows.plan import (
    Declined,
    Evidence,
    LlmUsage,
    Phase,
    PhaseRecord,
    Plan,
    PlannerKind,
)
from infrastructure.config_models import Agent, LlmSettings
from infrastructure.errors import PermanentError, UiciError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome
from infrastructure.service import Service

_log = structlog.get_logger("uici")


@dataclass(frozen=True, slots=True)
class PlanningWorld:
    """What a plan is made of in this run.

    `capabilities` gives the operations that an environment can do; `redact` cuts secrets
    out of a text; `read` carries out a read-only operation, None: nothing can be looked up.
    """

    services: Mapping[str, Service]
    registry: OperationRegistry
    capabilities: Callable[[str], frozenset[str]]
    redact: Callable[[str], str]
    read: ReadOperation | None = None


@dataclass(slots=True)
class _Progress:
    """How far the planning of one incident has come, whichever way it ends."""

    exchanges: Exchanges
    looking: LookUps | None = None

    @property
    def meter(self) -> IncidentMeter:
        return self.exchanges.meter

    def looked(self, model: str) -> tuple[PhaseRecord, ...]:
        """The phase that may be over when the next ones failed."""
        looking = self.looking
        if looking is None or not looking.rounds:
            return ()
        return (PhaseRecord(Phase.ISOLATION, model, looking.finding),)


class NoLlm:
    """Stands in the planners' order where no model is configured, and says why."""

    kind = PlannerKind.LLM

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def plan(self, incident: Incident, evidence: Evidence) -> Declined:  # noqa: ARG002 - Planner's signature
        """The reason."""
        return Declined(self.kind, self._reason)


class LlmPlanner:
    """See the module. Safe to use from several threads. Make one a run."""

    kind = PlannerKind.LLM

    def __init__(
        self,
        client: LlmClient,
        budget: LlmBudget,
        world: PlanningWorld,
        *,
        book: AbilityBook,
        agent: Agent,
        settings: LlmSettings,
        prompt: Prompt,
        answers: AnswerBook = NOTHING_KEPT,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: the endpoint.
            budget: limits; asked before each request.
            world: services, operations, redaction.
            book: what the endpoint can do.
            agent: the model's own settings.
            settings: time-out of one question and number of repair rounds.
            prompt: instructions.
            answers: what was answered lately.
        """
        self._client = client
        self._budget = budget
        self._world = world
        self._book = book
        self._agent = agent
        self._settings = settings
        self._prompt = prompt
        self._answers = answers

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | Declined:
        """A Plan of offered operations on the incident's targets, or why there is none.

        Takes at most (1 + repair rounds + rounds of isolation) × `llm.timeout`, and
        `llm.isolation.timeout`; the first of a day also what finding out abilities takes.
        """
        llm = self._agent.llm
        meter = self._budget.meter(
            incident.fingerprint, model=llm.model, max_output_tokens=llm.max_output_tokens
        )
        timeout = self._settings.timeout.total_seconds()
        progress = _Progress(Exchanges(self._client, meter, self._world.redact, timeout))
        try:
            return self._ask(incident, evidence, progress)
        except UiciError as exc:
            reason = self._reason(str(exc), progress.meter)
            _log.info("llm_made_no_plan", incident=incident.fingerprint, reason=reason)
            return Declined(
                self.kind,
                reason,
                usage=self._usage(progress) if progress.meter.requests else None,
                phases=progress.looked(llm.model),
                exchanges=tuple(progress.exchanges.done),
            )

    def offer(self, incident: Incident) -> Offer:
        """What an answer about this incident may hold: repairs, its targets, the root first.

        Reads are no steps of a plan, and what only leads away from desired state is no
        repair. Looked at can be the targets and what they depend on.
        """
        others = (target for target in incident.targets if target != incident.root)
        targets = (incident.root, *others)
        needs = (d for t in targets for d in self._dependencies(t))
        return Offer(
            operations=self._operations(incident.environment, incident.targets),
            targets=targets,
            reads=self._reads(incident.environment),
            places=tuple(dict.fromkeys((*targets, *needs))),
        )

    def menu(self, environment: str) -> Offer:
        """What any answer about this environment may hold: the same for all its incidents."""
        targets = sorted(
            target
            for target, service in self._world.services.items()
            if service.metadata.environment == environment
        )
        return menu_of(
            self._world.registry,
            self._world.capabilities(environment),
            targets=targets,
            may_stop=self._may_stop(targets),
            looks=self._looks,
        )

    def _operations(self, environment: str, targets: Iterable[str]) -> tuple[str, ...]:
        has = self._world.capabilities(environment)
        return repairs(self._world.registry, has, may_stop=self._may_stop(targets))

    def _may_stop(self, targets: Iterable[str]) -> bool:
        declared = [self._world.services[t] for t in targets if t in self._world.services]
        return any(service.spec.replicas == 0 for service in declared)

    @property
    def _looks(self) -> bool:
        return self._world.read is not None and self._settings.isolation.rounds > 0

    def _reads(self, environment: str) -> tuple[str, ...]:
        has = self._world.capabilities(environment)
        return reads(self._world.registry, has) if self._looks else ()

    def _dependencies(self, target: str) -> tuple[str, ...]:
        service = self._world.services.get(target)
        return tuple(service.dependencies) if service is not None else ()

    def _ask(self, incident: Incident, evidence: Evidence, progress: _Progress) -> Plan:
        topic = Topic(
            incident=incident,
            offer=self.offer(incident),
            menu=self.menu(incident.environment),
            registry=self._world.registry,
            redact=self._world.redact,
        )
        if not topic.offer.operations:
            raise NoPlanError(f"no operation can be offered to the LLM in {incident.environment}")
        abilities = self._book.get(
            lambda: checking(self._budget, self._agent.llm, incident.fingerprint)
        )
        marker = new_marker()
        progress.looking = self._look_ups(topic, marker)
        conversation = Conversation(
            exchanges=progress.exchanges,
            book=self._book,
            abilities=abilities,
            topic=topic,
            llm=self._agent.llm,
            settings=self._settings,
            looking=progress.looking,
            answers=self._answers,
        )
        question = self._question(topic, abilities, evidence, marker)
        draft = conversation.hold(question)
        plan = self._plan(incident, draft, progress, progress.looking)
        known = conversation.known
        if known is None or plan.usage is None or plan.usage.requests:
            return plan
        at = known.at.isoformat(timespec="seconds")
        reason = f"planned by {plan.usage.model}, as it answered the same question at {at}"
        return replace(plan, planner_reason=reason)

    def _question(
        self, topic: Topic, abilities: Abilities, evidence: Evidence, marker: str
    ) -> Question:
        registry = self._world.registry
        fixed = Conversation.fixed_tokens(topic, abilities)
        told = [(name, registry.get(name)) for name in topic.menu.operations]
        if not abilities.tools:  # those are described where they are declared
            told += [(name, registry.get(name)) for name in topic.menu.reads]
        question = build_question(
            system_message(self._prompt, [(n, o.risk.value, o.description) for n, o in told]),
            topic.incident,
            evidence,
            services=self._world.services,
            redact=self._world.redact,
            marker=marker,
            max_tokens=self._agent.llm.max_prompt_tokens - fixed,
        )
        if question is None:
            raise NoPlanError(
                "the incident does not fit the LLM's maxPromptTokens; raise it in agents.yml"
            )
        return question

    def _look_ups(self, topic: Topic, marker: str) -> LookUps:
        return LookUps(
            offer=topic.offer,
            registry=self._world.registry,
            read=self._world.read or _nothing_to_read,
            settings=self._settings.isolation,
            redact=self._world.redact,
            marker=marker,
        )

    def _plan(
        self, incident: Incident, draft: Draft, progress: _Progress, looking: LookUps
    ) -> Plan:
        usage = self._usage(progress)
        return Plan(
            fingerprint=incident.fingerprint,
            planner=PlannerKind.LLM,
            planner_reason=f"planned by {usage.model} in {_count(usage.requests, 'request')}",
            diagnosis=draft.diagnosis,
            confidence=draft.confidence,
            evidence=draft.evidence,
            steps=draft.steps,
            rollback=draft.rollback,
            usage=usage,
            cause=draft.cause,
            phases=_phases(draft, looking, usage.model),
            exchanges=tuple(progress.exchanges.done),
        )

    def _usage(self, progress: _Progress) -> LlmUsage:
        meter = progress.meter
        return LlmUsage(
            model=self._agent.llm.model,
            endpoint=self._client.endpoint,
            requests=meter.requests,
            prompt_tokens=meter.used.prompt,
            output_tokens=meter.used.output,
            dollars=meter.dollars,
            seconds=progress.exchanges.seconds,
            prompt_version=self._prompt.version,
        )

    def _reason(self, text: str, meter: IncidentMeter) -> str:
        """One line, clean of secrets, with what the attempt has cost."""
        spent = f" (after {_count(meter.requests, 'request')})" if meter.requests else ""
        return " ".join(self._world.redact(text).split()) + spent


def _phases(draft: Draft, looking: LookUps, model: str) -> tuple[PhaseRecord, ...]:
    """What came of each phase after triage, which is not the model's."""
    cause = f"{draft.cause.kind.value} at {draft.cause.target}"
    done = [f"{step.operation} {step.target}" for step in draft.steps]
    expected = [step.expected_effect for step in draft.steps if step.expected_effect]
    told = ", ".join(done) or "nothing to do: the service works as Git declares"
    if expected:
        told += f"; to be seen afterwards: {', '.join(expected)}"
    return (
        PhaseRecord(Phase.ISOLATION, model if looking.done else "rules", looking.finding),
        PhaseRecord(Phase.ROOT_CAUSE, model, f"{cause}: {draft.diagnosis}"),
        PhaseRecord(Phase.RESOLUTION, model, told),
    )


def _nothing_to_read(call: OperationCall, seconds: float) -> OperationOutcome:
    raise PermanentError(f"{call.operation} can't be looked up here within {seconds:.0f} s")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
