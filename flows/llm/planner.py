"""The planner that asks a model: incident → question → checked answer → Plan, or a reason.

It has no power: what it returns is judged by `flows.guard` like any other plan. Whatever
the outside does (no key, no network, nonsense, an empty purse) it returns a sentence, and
the next planner of `flows.planners.order` takes over. Neighbours: `flows.llm.prompt` (what is
asked), `flows.llm.client` (how), `flows.llm.answer` (what may come back),
`flows.llm.budget` (how often).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from flows.comparison.drift import Incident
from flows.llm.answer import (
    SCHEMA_NAME,
    Draft,
    Offer,
    UnfitAnswerError,
    answer_schema,
    read_answer,
)
from flows.llm.budget import DayLedger, IncidentMeter, LlmBudget, OnRequest, nobody
from flows.llm.client import LlmClient
from flows.llm.prompt import (
    Prompt,
    build_question,
    estimate_tokens,
    load_prompt,
    system_message,
    with_repair,
)
from flows.plan import Evidence, LlmUsage, Plan, Planner, PlannerKind
from infrastructure.config_models import Agent, LlmSettings, Platform
from infrastructure.errors import UiciError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import Effect, Risk
from infrastructure.service import Service

_log = structlog.get_logger("uici")

# Changes nothing in an engine, and is what a planner can always do.
_ALWAYS_OFFERED = "escalate_to_human"


@dataclass(frozen=True, slots=True)
class PlanningWorld:
    """What a plan is made of in this run.

    `capabilities` gives the operations that an environment can do; `redact` cuts secrets
    out of a text.
    """

    services: Mapping[str, Service]
    registry: OperationRegistry
    capabilities: Callable[[str], frozenset[str]]
    redact: Callable[[str], str]


class NoLlm:
    """Stands in the planners' order where no model is configured, and says why."""

    kind = PlannerKind.LLM

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | str:  # noqa: ARG002 - Planner's signature
        """The reason."""
        return self._reason


class LlmPlanner:
    """See the module. Safe to use from several threads. Make one a run."""

    kind = PlannerKind.LLM

    def __init__(
        self,
        client: LlmClient,
        budget: LlmBudget,
        world: PlanningWorld,
        *,
        agent: Agent,
        settings: LlmSettings,
        prompt: Prompt,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: the endpoint.
            budget: limits; asked before each request.
            world: services, operations, redaction.
            agent: the model's own settings.
            settings: time-out of one question and number of repair rounds.
            prompt: instructions.
        """
        self._client = client
        self._budget = budget
        self._world = world
        self._agent = agent
        self._settings = settings
        self._prompt = prompt

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | str:
        """A Plan of offered operations on the incident's targets, or why there is none.

        Takes at most (1 + repair rounds) × `llm.timeout`.
        """
        llm = self._agent.llm
        meter = self._budget.meter(
            incident.fingerprint, model=llm.model, max_output_tokens=llm.max_output_tokens
        )
        try:
            result = self._ask(incident, evidence, meter)
        except UiciError as exc:
            result = self._reason(str(exc), meter)
        if isinstance(result, str):
            _log.info("llm_made_no_plan", incident=incident.fingerprint, reason=result)
        return result

    def offer(self, incident: Incident) -> Offer:
        """Operations that the environment has and that can repair, and the targets, root first.

        Reads are no steps of a plan, and what only leads away from desired state is no repair.
        """
        registry = self._world.registry
        has = self._world.capabilities(incident.environment)
        declared = [self._world.services[t] for t in incident.targets if t in self._world.services]
        may_stop = any(service.spec.replicas == 0 for service in declared)
        names = [n for n in registry.names() if n in has and self._repairs(n, may_stop=may_stop)]
        others = (target for target in incident.targets if target != incident.root)
        return Offer(tuple(names), (incident.root, *others))

    def _repairs(self, name: str, *, may_stop: bool) -> bool:
        operation = self._world.registry.get(name)
        if name == _ALWAYS_OFFERED:
            return True
        if operation.risk is Risk.READ or operation.leaves_desired_state:
            return False
        return may_stop or operation.effect not in {Effect.STOPPED, Effect.PAUSED}

    def _ask(self, incident: Incident, evidence: Evidence, meter: IncidentMeter) -> Plan | str:
        offer = self.offer(incident)
        if not offer.operations:
            return f"no operation can be offered to the LLM in {incident.environment}"
        schema = answer_schema(self._world.registry, offer)
        # Endpoints count the schema as part of the prompt.
        schema_tokens = estimate_tokens(json.dumps(schema, separators=(",", ":")))
        question = build_question(
            system_message(self._prompt, self._operations(offer)),
            incident,
            evidence,
            services=self._world.services,
            redact=self._world.redact,
            marker=secrets.token_hex(8),
            max_tokens=self._agent.llm.max_prompt_tokens - schema_tokens,
        )
        if question is None:
            return "the incident does not fit the LLM's maxPromptTokens; raise it in agents.yml"
        meter.expect(prompt_tokens=question.tokens + schema_tokens)
        seconds = 0.0
        refused = ""
        for _ in range(1 + self._settings.repair_rounds):
            asked = with_repair(question, refused) if refused else question
            answer = self._client.complete(
                model=self._agent.llm.model,
                temperature=self._agent.llm.temperature,
                max_output_tokens=self._agent.llm.max_output_tokens,
                system=asked.system,
                user=asked.user,
                schema_name=SCHEMA_NAME,
                schema=schema,
                timeout=self._settings.timeout.total_seconds(),
                meter=meter,
            )
            seconds += answer.seconds
            try:
                draft = read_answer(
                    answer.text,
                    incident,
                    offer,
                    registry=self._world.registry,
                    redact=self._world.redact,
                )
            except UnfitAnswerError as exc:
                refused = str(exc)
                _log.info("llm_answer_refused", incident=incident.fingerprint, error=refused)
                continue
            return self._plan(incident, draft, self._usage(meter, seconds))
        return self._reason(f"the LLM's answer was refused: {refused}", meter)

    def _operations(self, offer: Offer) -> list[tuple[str, str, str]]:
        registry = self._world.registry
        declared = [(name, registry.get(name)) for name in offer.operations]
        return [(name, op.risk.value, op.description) for name, op in declared]

    def _plan(self, incident: Incident, draft: Draft, usage: LlmUsage) -> Plan:
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
        )

    def _usage(self, meter: IncidentMeter, seconds: float) -> LlmUsage:
        return LlmUsage(
            model=self._agent.llm.model,
            endpoint=self._client.endpoint,
            requests=meter.requests,
            prompt_tokens=meter.used.prompt,
            output_tokens=meter.used.output,
            dollars=meter.dollars,
            seconds=seconds,
            prompt_version=self._prompt.version,
        )

    def _reason(self, text: str, meter: IncidentMeter) -> str:
        """One line, clean of secrets, with what the attempt has cost."""
        spent = f" (after {_count(meter.requests, 'request')})" if meter.requests else ""
        return " ".join(self._world.redact(text).split()) + spent


def make_llm_planner(
    platform: Platform,
    agent_name: str,
    agent: Agent,
    world: PlanningWorld,
    *,
    config_directory: Path,
    data_directory: Path,
    now: Callable[[], datetime],
    on_request: OnRequest = nobody,
) -> Planner:
    """The LLM planner of a run as the configuration wants it; NoLlm where it has no key.

    Args:
        platform: platform.yml.
        agent_name: name of the agent in agents.yml.
        agent: its settings.
        world: what plans are made of.
        config_directory: where the prompt's file is named from.
        data_directory: the day's counters are kept in its folder `llm`.
        now: aware time.
        on_request: told of each request to the endpoint.

    Raises:
        InvalidInputError: the prompt can't be read.
    """
    client = LlmClient(platform.llm, redact=world.redact)
    if client.missing:
        return NoLlm(client.missing)
    ledger = DayLedger(data_directory / "llm" / f"{agent_name}.json", now)
    return LlmPlanner(
        client,
        LlmBudget(agent.budgets, platform.llm.prices, ledger=ledger, on_request=on_request),
        world,
        agent=agent,
        settings=platform.llm,
        prompt=load_prompt(config_directory / agent.llm.prompt),
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
