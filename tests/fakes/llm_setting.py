"""A small world for tests of the LLM planner: real operations, one incident, one endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from flows.comparison.drift import Drift, Incident
from flows.llm.abilities import AbilityBook
from flows.llm.answer_book import NOTHING_KEPT, AnswerBook
from flows.llm.breaker import EndpointBreaker
from flows.llm.budget import DayLedger, LlmBudget
from flows.llm.client import LlmClient
from flows.llm.isolation import ReadOperation
from flows.llm.planner import LlmPlanner, PlanningWorld
from flows.llm.prompt import Prompt, load_prompt
from infrastructure.config_models import (
    Agent,
    AgentIdentity,
    AgentLlm,
    Budget,
    Budgets,
    CircuitBreaker,
    IsolationSettings,
    LlmAbilities,
    LlmPrice,
    LlmSettings,
    Operations,
    Retry,
)
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.service import Backoff, Service
from tests.fakes.llm_server import MODEL

CONFIG = Path(__file__).parents[2] / "infrastructure" / "config"
KEY = "test-key-0123456789abcdef"
NOW = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
ROOT = "local-docker/market-db"
DEPENDENT = "local-docker/market-predictor"


@cache
def registry() -> OperationRegistry:
    """The shipped operations."""
    text = (CONFIG / "operations.yml").read_text(encoding="utf-8")
    return OperationRegistry(Operations.model_validate(yaml.safe_load(text)))


def settings(base_url: str, **changes: Any) -> LlmSettings:
    """An endpoint with short waits."""
    values: dict[str, Any] = {
        "base_url": base_url,
        "api_key": KEY,
        "key_required": True,
        "timeout": timedelta(seconds=5),
        "retry": Retry(
            attempts=3,
            backoff=Backoff(
                initial=timedelta(milliseconds=10),
                max=timedelta(milliseconds=40),
            ),
        ),
        "repair_rounds": 1,
        "nothing_to_do_for": timedelta(hours=1),
        "keep_answers_for": timedelta(minutes=15),
        "max_response_bytes": 1_000_000,
        "prices": (LlmPrice(model=MODEL, input=1.0, output=2.0),),
        "abilities": LlmAbilities(strict_schema="yes", tools="no", keep_for=timedelta(days=1)),
        "circuit_breaker": CircuitBreaker(failures=3, open_for=timedelta(minutes=5)),
        "isolation": IsolationSettings(
            rounds=2, calls=4, timeout=timedelta(seconds=5), result_tokens=400
        ),
    }
    return LlmSettings(**(values | changes))


def budgets(
    *, incident: Budget | None = None, run: Budget | None = None, day: Budget | None = None
) -> Budgets:
    """Budgets that are never reached, but for those given."""
    wide = Budget(requests=1000, tokens=10**9, dollars=10**6)
    return Budgets(incident=incident or wide, run=run or wide, day=day or wide)


def agent(*, limits: Budgets | None = None, max_prompt_tokens: int = 6000) -> Agent:
    """An agent with the scripted model."""
    return Agent(
        description="plans",
        llm=AgentLlm(
            model=MODEL,
            temperature=0,
            max_output_tokens=500,
            max_prompt_tokens=max_prompt_tokens,
            prompt="prompts/plan.v3.md",
        ),
        budgets=limits or budgets(),
        identity=AgentIdentity(names=("uici-agent",), lives_on=(), native_ids=(), labels={}),
    )


def service(target: str, *, depends_on: Iterable[str] = ()) -> Service:
    """A Service with a secret reference and a limit."""
    environment, _, name = target.partition("/")
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": environment},
            "spec": {
                "image": f"{name}:1.4.2",
                "env": {"LOG_LEVEL": "info", "DB": {"secret": "env:MARKET_DB"}},
                "resources": {"memory": "256Mi"},
                "dependsOn": list(depends_on),
            },
        }
    )


def services() -> dict[str, Service]:
    """A database and its client."""
    return {ROOT: service(ROOT), DEPENDENT: service(DEPENDENT, depends_on=["market-db"])}


def incident(kind: DriftKind = DriftKind.STOPPED, message: str = "exited with code 1") -> Incident:
    """The database is down; its client suffers."""
    return Incident(
        fingerprint="f" * 16,
        environment="local-docker",
        root=ROOT,
        targets=(ROOT, DEPENDENT),
        drifts=(
            Drift(DEPENDENT, DriftKind.UNHEALTHY, observed="503", message="probe fails"),
            Drift(ROOT, kind, observed="exited", message=message, instance="market-db-1"),
        ),
    )


def prompt() -> Prompt:
    """The shipped instructions."""
    return load_prompt(CONFIG / "prompts" / "plan.v3.md")


def planner(
    base_url: str,
    directory: Path,
    *,
    limits: Budgets | None = None,
    max_prompt_tokens: int = 6000,
    redact: Callable[[str], str] = lambda text: text,
    read: ReadOperation | None = None,
    answers: AnswerBook = NOTHING_KEPT,
    **changes: Any,
) -> LlmPlanner:
    """A planner on that endpoint, its day counters in `directory`."""
    llm = settings(base_url, **changes)
    the_agent = agent(limits=limits, max_prompt_tokens=max_prompt_tokens)
    breaker = EndpointBreaker(
        directory / "breaker.json", base_url, llm.circuit_breaker, lambda: NOW
    )
    client = LlmClient(llm, redact=redact, breaker=breaker)
    ledger = DayLedger(directory / "day.json", lambda: NOW)
    return LlmPlanner(
        client,
        LlmBudget(the_agent.budgets, llm.prices, ledger=ledger),
        PlanningWorld(
            services(), registry(), lambda _: frozenset(registry().names()), redact, read
        ),
        book=AbilityBook(
            directory / "abilities.json",
            client,
            model=the_agent.llm,
            settings=llm,
            now=lambda: NOW,
        ),
        agent=the_agent,
        settings=llm,
        prompt=prompt(),
        answers=answers,
    )


def outcome(
    call: OperationCall, output: Any, status: OutcomeStatus = OutcomeStatus.SUCCEEDED
) -> OperationOutcome:
    """The end of a read."""
    return OperationOutcome(call, status, NOW, NOW, output=output)


def step(operation: str = "start", target: str = ROOT, **parameters: Any) -> dict[str, Any]:
    """A step as a model writes it."""
    return {
        "operation": operation,
        "target": target,
        "parameters": parameters,
        "why": "it is stopped",
        "expected_effect": "it runs",
    }


def as_asked(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer in the very form of the schema: no lists, and `do` for the operation."""

    def packed(one: dict[str, Any]) -> dict[str, Any]:
        rest = {key: one[key] for key in ("target", "why", "expected_effect")}
        return {"do": {"operation": one["operation"], **one["parameters"]}, **rest}

    steps, reads = [packed(one) for one in answer["steps"]], answer.get("look_first", [])
    finding: dict[str, Any] = {"state": "works"}
    if steps:
        state = "broken" if len(steps) == 1 else "broken_needs_two_steps"
        finding = {"state": state, "cause": answer["cause"], "cause_target": answer["cause_target"]}
        finding |= dict(zip(("step", "second_step"), steps, strict=False))
    elif reads:
        finding = {"state": "look_first", "read": reads[0]}
    return {
        "finding": finding,
        "confidence": answer["confidence"],
        "diagnosis": answer["diagnosis"],
        "evidence": " ".join(answer["evidence"]),
    }


def plan_answer(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A good answer, with changes."""
    return {
        "broken": True,
        "cause": "Stopped",
        "cause_target": steps[0].get("target", ROOT) if steps else ROOT,
        "steps": list(steps) or [step()],
        "confidence": 0.9,
        "diagnosis": "The database has ended.",
        "evidence": ["exit code 1"],
        "rollback": [],
    } | changes


def nothing_to_do(**changes: Any) -> dict[str, Any]:
    """The answer of a model that sees a service that works."""
    calm = {"steps": [], "broken": False, "cause": "FalseAlarm", "diagnosis": "It works."}
    return plan_answer(**(calm | changes))
