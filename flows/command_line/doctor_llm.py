"""`uici doctor` about the model: does it answer, what can it do, what may it still cost?

Asks the endpoint at most two small questions, and writes nothing: what it finds is not
kept, and its questions (some hundred tokens) are not in the day's budget. Without a model
the runbooks plan, so nothing here is an error. Neighbour: `flows.llm.assembly`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from flows.command_line.finding import Finding, Level
from flows.llm.abilities import AbilityBook
from flows.llm.assembly import LlmFiles
from flows.llm.breaker import BreakerState, EndpointBreaker
from flows.llm.budget import BudgetSpentError, DayLedger
from flows.llm.client import LlmClient
from flows.llm.contract import Unmetered
from flows.llm.prices import unpriced
from infrastructure.config_loader import UniversalConfig
from infrastructure.config_models import Budget
from infrastructure.errors import UiciError


def llm_findings(config: UniversalConfig) -> Iterator[Finding]:
    """Endpoint, model and abilities; the day's budget; the circuit breaker."""
    llm = config.platform.llm
    if LlmClient(llm).missing:
        detail = "no API key (llm.apiKey in platform.yml is empty): the runbooks plan"
        yield Finding("LLM", Level.WARNING, detail)
        return
    files = LlmFiles.of(config.data_directory, config.platform.agent)
    yield _endpoint(config, files)
    yield _budget(DayLedger(files.day, _now), config.get_agent().budgets.day)
    for name, agent in config.agents.agents.items():
        if (wrong := unpriced(agent.llm.model, llm.prices)) is not None:
            detail = f"{name}: {wrong}: add it to llm.prices in platform.yml"
            yield Finding("LLM price", Level.WARNING, detail)
    endpoint = LlmClient(llm).endpoint
    state, why = EndpointBreaker(files.breaker, endpoint, llm.circuit_breaker, _now).state()
    level = Level.OK if state is BreakerState.CLOSED else Level.WARNING
    yield Finding("LLM circuit breaker", level, state.value + (f": {why}" if why else ""))


def _endpoint(config: UniversalConfig, files: LlmFiles) -> Finding:
    once = config.platform.llm.retry.model_copy(update={"attempts": 1})
    wanted = config.platform.llm.abilities
    # Asked even where the configuration knows it: to see whether it answers, and how fast.
    asked = wanted.model_copy(update={"strict_schema": "auto"})
    llm = config.platform.llm.model_copy(update={"retry": once, "abilities": asked})
    model = config.get_agent().llm
    client = LlmClient(llm, redact=config.redactor().text)
    where = f"{model.model} at {client.endpoint}, key {'present' if llm.api_key else 'not needed'}"
    book = AbilityBook(files.abilities, client, model=model, settings=llm, now=_now)
    try:
        found = book.find_out(Unmetered())
    except UiciError as exc:
        return Finding("LLM", Level.WARNING, f"{where}: {exc}: the runbooks plan")
    answered = f"; answered in {found.seconds:.1f} s" if found.seconds else ""
    said = "" if wanted.strict_schema == "auto" else f"; strictSchema: {wanted.strict_schema}"
    return Finding("LLM", Level.OK, f"{where}: {found.words}{answered}{said}")


def _budget(ledger: DayLedger, limit: Budget) -> Finding:
    name = "LLM budget of the day"
    try:
        spent = ledger.spent_today()
    except BudgetSpentError as exc:
        return Finding(name, Level.WARNING, str(exc))
    left = (
        f"left: {max(0, limit.requests - spent.requests)} of {limit.requests} requests, "
        f"{max(0, limit.tokens - spent.tokens)} of {limit.tokens} tokens, "
        f"{max(0.0, limit.dollars - spent.dollars):.2f} of {limit.dollars:.2f} dollars"
    )
    return Finding(name, Level.WARNING if spent.beyond(limit) else Level.OK, left)


def _now() -> datetime:
    return datetime.now(UTC)
