"""A small world for tests of the LLM planner: real operations, one incident, one endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from flows.comparison.drift import Drift, Incident
from flows.llm.budget import DayLedger, LlmBudget
from flows.llm.client import LlmClient
from flows.llm.planner import LlmPlanner, PlanningWorld
from flows.llm.prompt import Prompt, load_prompt
from infrastructure.config_models import (
    Agent,
    AgentIdentity,
    AgentLlm,
    Budget,
    Budgets,
    LlmPrice,
    LlmSettings,
    Operations,
    Retry,
)
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
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
        "max_response_bytes": 1_000_000,
        "prices": (LlmPrice(model=MODEL, input=1.0, output=2.0),),
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
            prompt="prompts/plan.v1.md",
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
    return load_prompt(CONFIG / "prompts" / "plan.v1.md")


def planner(
    base_url: str,
    directory: Path,
    *,
    limits: Budgets | None = None,
    max_prompt_tokens: int = 6000,
    redact: Callable[[str], str] = lambda text: text,
    **changes: Any,
) -> LlmPlanner:
    """A planner on that endpoint, its day counters in `directory`."""
    llm = settings(base_url, **changes)
    ledger = DayLedger(directory / "day.json", lambda: NOW)
    the_agent = agent(limits=limits, max_prompt_tokens=max_prompt_tokens)
    return LlmPlanner(
        LlmClient(llm, redact=redact),
        LlmBudget(the_agent.budgets, llm.prices, ledger=ledger),
        PlanningWorld(services(), registry(), lambda _: frozenset(registry().names()), redact),
        agent=the_agent,
        settings=llm,
        prompt=prompt(),
    )


def step(operation: str = "start", target: str = ROOT, **parameters: Any) -> dict[str, Any]:
    """A step as a model writes it."""
    return {
        "operation": operation,
        "target": target,
        "parameters": parameters,
        "why": "it is stopped",
        "expected_effect": "it runs",
    }


def plan_answer(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A good answer, with changes."""
    return {
        "diagnosis": "The database has ended.",
        "confidence": 0.9,
        "evidence": ["exit code 1"],
        "steps": list(steps) or [step()],
        "rollback": [],
        "nothing_to_do": False,
    } | changes
