"""The LLM planner of a run, made from the configuration; and the files it remembers by.

The only place that knows where under the data directory they are. Neighbours:
`flows.runtime` (plans with it), `uici doctor` (looks at the parts).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.llm.abilities import AbilityBook
from flows.llm.answer_book import AnswerBook
from flows.llm.breaker import EndpointBreaker
from flows.llm.budget import DayLedger, LlmBudget, OnRequest, nobody
from flows.llm.client import LlmClient
from flows.llm.planner import LlmPlanner, NoLlm, PlanningWorld
from flows.llm.prompt import load_prompt
from flows.plan import Planner
from infrastructure.config_models import Agent, LlmSettings, Platform


@dataclass(frozen=True, slots=True)
class LlmFiles:
    """What is remembered between runs, in the data directory's folder `llm`."""

    day: Path
    abilities: Path
    breaker: Path
    answers: Path

    @classmethod
    def of(cls, data_directory: Path, agent_name: str) -> LlmFiles:
        """Those of an agent; the endpoint's are shared by the agents."""
        folder = data_directory / "llm"
        return cls(
            folder / f"{agent_name}.json",
            folder / "abilities.json",
            folder / "breaker.json",
            folder / "answers.json",
        )


def open_client(
    settings: LlmSettings,
    files: LlmFiles,
    redact: Callable[[str], str],
    now: Callable[[], datetime],
) -> LlmClient:
    """The endpoint of the configuration, with what earlier runs know of its failures."""
    endpoint = LlmClient(settings).endpoint
    breaker = EndpointBreaker(files.breaker, endpoint, settings.circuit_breaker, now)
    return LlmClient(settings, redact=redact, breaker=breaker)


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
    files = LlmFiles.of(data_directory, agent_name)
    client = open_client(platform.llm, files, world.redact, now)
    if client.missing:
        return NoLlm(client.missing)
    ledger = DayLedger(files.day, now)
    return LlmPlanner(
        client,
        LlmBudget(agent.budgets, platform.llm.prices, ledger=ledger, on_request=on_request),
        world,
        book=AbilityBook(files.abilities, client, model=agent.llm, settings=platform.llm, now=now),
        agent=agent,
        settings=platform.llm,
        prompt=load_prompt(config_directory / agent.llm.prompt),
        answers=AnswerBook(files.answers, keep_for=platform.llm.keep_answers_for, now=now),
    )
