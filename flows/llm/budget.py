"""Spending limits of an agent: requests, tokens and dollars, per incident, run and day.

Before each HTTP request the most that it can cost is set aside, or the request is
refused; after it, what it really cost takes that place. So the limits hold however many
incidents are planned at the same time, and a process that dies leaves its worst case
spent. A request whose cost nobody knows (no answer came) keeps its worst case too.

The day's counters are one small file an agent under the data directory, in UTC days,
replaced atomically under a file lock, so that several workers share them. A file that
can't be read counts as a spent day: its own day by its time stamp, so that the next day
starts clean without anybody's help, and deleting it starts anew at once. When the file
can't be written, nothing is asked: limits that can't be kept are not limits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import structlog
from pydantic import Field, ValidationError

from flows.llm.kept_file import locked, replace_file
from flows.llm.protocol import TokenUsage
from infrastructure.config_models import Budget, Budgets, LlmPrice
from infrastructure.errors import PermanentError
from infrastructure.service import Document

_log = structlog.get_logger("uici")


class BudgetSpentError(PermanentError):
    """The next request could exceed a limit, or the day's counters can't be kept."""


@dataclass(frozen=True, slots=True)
class Spending:
    """An amount, or a difference of two."""

    requests: int = 0
    tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.dollars + other.dollars,
        )

    def __neg__(self) -> Spending:
        return Spending(-self.requests, -self.tokens, -self.dollars)

    def not_negative(self) -> Spending:
        """Rounding and other people's edits never make a credit."""
        return Spending(max(0, self.requests), max(0, self.tokens), max(0.0, self.dollars))

    def beyond(self, limit: Budget) -> str | None:
        """Which limit this amount exceeds, in words, or None."""
        if self.requests > limit.requests:
            return f"{limit.requests} requests"
        if self.tokens > limit.tokens:
            return f"{limit.tokens} tokens"
        if self.dollars > limit.dollars:
            return f"{limit.dollars:.2f} dollars"
        return None


class _DayFile(Document):
    day: date
    requests: int = Field(ge=0)
    tokens: int = Field(ge=0)
    dollars: float = Field(ge=0, allow_inf_nan=False)

    @property
    def spending(self) -> Spending:
        return Spending(self.requests, self.tokens, self.dollars)


class DayLedger:
    """The day's counters on disk, shared by all processes of this machine."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        """Touch nothing yet.

        Args:
            path: the JSON file; its folder is made when needed.
            now: aware time; its UTC date is the day.
        """
        self._path = path
        self._now = now

    def reserve(self, amount: Spending, limit: Budget) -> date:
        """Add `amount` unless that exceeds `limit`; returns the day it was booked on.

        Raises:
            BudgetSpentError: limit reached, file damaged today, or not writable.
        """
        try:
            with locked(self._path):
                today = self._today()
                total = self._read(today) + amount
                beyond = total.beyond(limit)
                if beyond:
                    raise BudgetSpentError(f"the LLM budget of the day ({beyond}) is spent")
                self._write(today, total)
                return today
        except OSError as exc:
            raise BudgetSpentError(
                f"the LLM budget of the day can't be kept in {self._path}: {exc.strerror or exc}"
            ) from exc

    def correct(self, booked_on: date, difference: Spending) -> None:
        """Replace a worst case by what it really was. Another day's is left as it is."""
        try:
            with locked(self._path):
                today = self._today()
                if today == booked_on:
                    self._write(today, (self._read(today) + difference).not_negative())
        except (OSError, BudgetSpentError) as exc:  # the worst case simply stays booked
            _log.warning("llm_budget_not_corrected", file=str(self._path), error=str(exc))

    def spent_today(self) -> Spending:
        """What the day has cost so far; changes nothing.

        Raises:
            BudgetSpentError: the file is damaged or can't be read.
        """
        try:
            return self._read(self._today())
        except OSError as exc:
            raise BudgetSpentError(f"{self._path} can't be read: {exc.strerror or exc}") from exc

    def _today(self) -> date:
        return self._now().astimezone(UTC).date()

    def _read(self, today: date) -> Spending:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return Spending()
        try:
            kept = _DayFile.model_validate_json(text)
        except ValidationError as exc:
            damaged_on = datetime.fromtimestamp(self._path.stat().st_mtime, UTC).date()
            if damaged_on < today:
                return Spending()
            raise BudgetSpentError(
                f"{self._path} is damaged and counts as a spent LLM budget of the day; "
                "delete it to start anew"
            ) from exc
        # A clock that was set back must not give the same day's money twice.
        return Spending() if kept.day < today else kept.spending

    def _write(self, today: date, total: Spending) -> None:
        kept = _DayFile(
            day=today,
            requests=total.requests,
            tokens=total.tokens,
            dollars=round(total.dollars, 9),
        )
        replace_file(self._path, kept.model_dump_json() + "\n")


# Told of each request: model, tokens (None: no answer told them), dollars if priced.
OnRequest = Callable[[str, TokenUsage | None, float | None], None]


def nobody(model: str, usage: TokenUsage | None, dollars: float | None) -> None:
    """The `OnRequest` of those who do not count."""


class LlmBudget:
    """All limits of one agent. Make one a run; safe to use from several threads."""

    def __init__(
        self,
        budgets: Budgets,
        prices: Sequence[LlmPrice],
        *,
        ledger: DayLedger,
        on_request: OnRequest = nobody,
    ) -> None:
        """Start a run with nothing spent but what the ledger knows of the day."""
        self.on_request = on_request
        self._budgets = budgets
        self._prices = {price.model: price for price in prices}
        self._ledger = ledger
        self._lock = threading.Lock()
        self._run = Spending()
        self._incidents: dict[str, Spending] = {}

    def meter(self, incident: str, *, model: str, max_output_tokens: int) -> IncidentMeter:
        """A meter for the requests about one incident (its fingerprint)."""
        return IncidentMeter(self, incident, model=model, max_output_tokens=max_output_tokens)

    def dollars(self, model: str, usage: TokenUsage) -> float | None:
        """What that costs by the prices in platform.yml; None: the model has no price."""
        price = self._prices.get(model)
        if price is None:
            return None
        return (usage.prompt * price.input + usage.output * price.output) / 1_000_000

    def spending(self, model: str, usage: TokenUsage) -> Spending:
        """One request as an amount. A model without a price is limited by requests and tokens."""
        return Spending(1, usage.prompt + usage.output, self.dollars(model, usage) or 0.0)

    def reserve(self, incident: str, amount: Spending) -> date:
        """Set `amount` aside in all three budgets, or in none.

        Raises:
            BudgetSpentError: says which budget.
        """
        with self._lock:
            of_incident = self._incidents.get(incident, Spending()) + amount
            of_run = self._run + amount
            for name, total, limit in (
                ("incident", of_incident, self._budgets.incident),
                ("run", of_run, self._budgets.run),
            ):
                beyond = total.beyond(limit)
                if beyond:
                    raise BudgetSpentError(f"the LLM budget of the {name} ({beyond}) is spent")
            day = self._ledger.reserve(amount, self._budgets.day)
            self._incidents[incident] = of_incident
            self._run = of_run
            return day

    def correct(self, incident: str, booked_on: date, difference: Spending) -> None:
        """Replace what was set aside by what it really was."""
        with self._lock:
            self._incidents[incident] = (self._incidents[incident] + difference).not_negative()
            self._run = (self._run + difference).not_negative()
            self._ledger.correct(booked_on, difference)


class IncidentMeter:
    """Counts the requests about one incident; a `flows.llm.client.Meter`. One thread."""

    def __init__(
        self, budget: LlmBudget, incident: str, *, model: str, max_output_tokens: int
    ) -> None:
        self._budget = budget
        self._incident = incident
        self._model = model
        self._worst = TokenUsage(0, max_output_tokens)
        self._booked_on: date | None = None
        self.requests = 0
        self.used = TokenUsage(0, 0)

    def expect(self, prompt_tokens: int) -> None:
        """The most that the prompts of the next requests can have."""
        self._worst = TokenUsage(prompt_tokens, self._worst.output)

    def before_request(self) -> None:
        """Set the worst case aside.

        Raises:
            BudgetSpentError: a limit could be exceeded.
        """
        worst = self._budget.spending(self._model, self._worst)
        self._booked_on = self._budget.reserve(self._incident, worst)
        self.requests += 1

    def after_request(self, usage: TokenUsage | None) -> None:
        """Put what was used in the place of the worst case; None keeps the worst case."""
        dollars = None if usage is None else self._budget.dollars(self._model, usage)
        self._budget.on_request(self._model, usage, dollars)
        usage = self._worst if usage is None else usage
        self.used = TokenUsage(self.used.prompt + usage.prompt, self.used.output + usage.output)
        booked_on, self._booked_on = self._booked_on, None
        if booked_on is None or usage == self._worst:
            return
        worst = self._budget.spending(self._model, self._worst)
        difference = self._budget.spending(self._model, usage) + -worst
        self._budget.correct(self._incident, booked_on, difference)

    @property
    def dollars(self) -> float | None:
        """Cost so far by the prices in platform.yml; None: the model has no price."""
        return self._budget.dollars(self._model, self.used)
