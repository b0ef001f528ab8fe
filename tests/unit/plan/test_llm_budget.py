"""Budgets hold across requests, incidents, runs, threads, processes and damage."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.llm.budget import BudgetSpentError, DayLedger, LlmBudget, Spending
from flows.llm.protocol import NOT_BILLED, TokenUsage
from infrastructure.config_models import Budget, Budgets, LlmPrice
from tests.fakes.llm_setting import NOW, budgets

PRICES = (LlmPrice(model="priced", input=1.0, output=2.0),)


def wide(**limits: float) -> Budget:
    return Budget.model_validate({"requests": 10**6, "tokens": 10**9, "dollars": 10**6} | limits)


class Clock:
    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def budget(directory: Path, limits: Budgets | None = None, clock: Clock | None = None) -> LlmBudget:
    ledger = DayLedger(directory / "llm" / "agent.json", clock or Clock())
    return LlmBudget(limits or budgets(), PRICES, ledger=ledger)


def spend(
    purse: LlmBudget,
    usage: TokenUsage | None = NOT_BILLED,
    *,
    incident: str = "i1",
    model: str = "priced",
) -> None:
    meter = purse.meter(incident, model=model, max_output_tokens=100)
    meter.expect(prompt_tokens=900)
    meter.before_request()
    meter.after_request(usage)


def kept(directory: Path) -> dict[str, object]:
    text = (directory / "llm" / "agent.json").read_text(encoding="utf-8")
    value: dict[str, object] = json.loads(text)
    return value


@pytest.mark.parametrize("scope", ["incident", "run", "day"])
@pytest.mark.parametrize(
    ("limit", "unit"),
    [
        ({"requests": 2}, "2 requests"),
        ({"tokens": 2200}, "2200 tokens"),
        ({"dollars": 0.0025}, "0.00 dollars"),
    ],
)
def test_each_limit_of_each_scope_refuses_the_third_request(
    tmp_path: Path, scope: str, limit: dict[str, float], unit: str
) -> None:
    limits = budgets().model_copy(update={scope: wide(**limit)})
    purse = budget(tmp_path, limits)
    spend(purse, None)  # 1000 tokens and 0.0011 dollars at worst
    spend(purse, None)
    with pytest.raises(BudgetSpentError, match=f"budget of the {scope} .{unit}. is spent"):
        spend(purse, None)


def test_incidents_do_not_share_their_budget_but_runs_and_days_are_shared(tmp_path: Path) -> None:
    limits = budgets(incident=wide(requests=1), run=wide(requests=2))
    purse = budget(tmp_path, limits)
    spend(purse, incident="i1")
    with pytest.raises(BudgetSpentError, match="of the incident"):
        spend(purse, incident="i1")
    spend(purse, incident="i2")
    with pytest.raises(BudgetSpentError, match="of the run"):
        spend(purse, incident="i3")
    spend(budget(tmp_path, limits), incident="i3")  # the next run
    assert kept(tmp_path)["requests"] == 3


def test_a_zero_budget_allows_nothing(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpentError):
        spend(budget(tmp_path, budgets(day=wide(requests=0))))


def test_the_worst_case_is_booked_before_and_the_truth_after(tmp_path: Path) -> None:
    purse = budget(tmp_path)
    meter = purse.meter("i1", model="priced", max_output_tokens=100)
    meter.expect(prompt_tokens=900)
    meter.before_request()
    assert (kept(tmp_path)["tokens"], kept(tmp_path)["dollars"]) == (1000, 0.0011)
    meter.after_request(TokenUsage(300, 10))
    assert (kept(tmp_path)["tokens"], kept(tmp_path)["dollars"]) == (310, 0.00032)
    assert (meter.requests, meter.used) == (1, TokenUsage(300, 10))
    assert meter.dollars == pytest.approx(0.00032)


def test_a_request_of_unknown_cost_keeps_its_worst_case(tmp_path: Path) -> None:
    spend(budget(tmp_path), None)
    assert kept(tmp_path)["tokens"] == 1000


def test_more_than_the_worst_case_is_booked_too(tmp_path: Path) -> None:
    spend(budget(tmp_path), TokenUsage(5000, 5000))
    assert kept(tmp_path)["tokens"] == 10_000


def test_a_model_without_a_price_costs_tokens_only(tmp_path: Path) -> None:
    purse = budget(tmp_path)
    meter = purse.meter("i1", model="local", max_output_tokens=100)
    meter.before_request()
    meter.after_request(TokenUsage(5, 5))
    assert meter.dollars is None
    assert (kept(tmp_path)["tokens"], kept(tmp_path)["dollars"]) == (10, 0.0)


def test_a_new_day_starts_at_zero_and_a_clock_set_back_does_not(tmp_path: Path) -> None:
    clock = Clock()
    limits = budgets(day=wide(requests=1))
    spend(budget(tmp_path, limits, clock))
    clock.now = NOW - timedelta(days=2)
    with pytest.raises(BudgetSpentError, match="of the day"):
        spend(budget(tmp_path, limits, clock))
    clock.now = NOW + timedelta(days=1)
    spend(budget(tmp_path, limits, clock))
    assert kept(tmp_path)["day"] == "2026-11-04"


def test_the_day_is_the_utc_day(tmp_path: Path) -> None:
    spend(budget(tmp_path, clock=Clock(datetime.fromisoformat("2026-11-04T01:30:00+03:00"))))
    assert kept(tmp_path)["day"] == "2026-11-03"


def test_a_correction_after_midnight_leaves_both_days_alone(tmp_path: Path) -> None:
    clock = Clock()
    purse = budget(tmp_path, clock=clock)
    meter = purse.meter("i1", model="priced", max_output_tokens=100)
    meter.before_request()
    clock.now = NOW + timedelta(days=1)
    spend(purse, TokenUsage(7, 7))
    meter.after_request(TokenUsage(1, 1))
    assert (kept(tmp_path)["day"], kept(tmp_path)["tokens"]) == ("2026-11-04", 14)


DAMAGE = [b"", b"{", b"[]", b'{"day": "2026-11-03"}', b"\xff\x00", b'{"day":"x","requests":-1}']


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_counts_as_a_spent_day_and_the_next_day_starts_clean(
    tmp_path: Path, damage: bytes
) -> None:
    file = tmp_path / "llm" / "agent.json"
    file.parent.mkdir()
    file.write_bytes(damage)
    os.utime(file, (NOW.timestamp(), NOW.timestamp()))
    clock = Clock()
    with pytest.raises(BudgetSpentError, match="is damaged and counts as a spent"):
        spend(budget(tmp_path, clock=clock))
    assert file.read_bytes() == damage
    clock.now = NOW + timedelta(days=1)
    spend(budget(tmp_path, clock=clock))
    assert kept(tmp_path)["requests"] == 1


def test_deleting_the_file_starts_anew(tmp_path: Path) -> None:
    limits = budgets(day=wide(requests=1))
    spend(budget(tmp_path, limits))
    (tmp_path / "llm" / "agent.json").unlink()
    spend(budget(tmp_path, limits))


def test_counters_that_cannot_be_kept_refuse_the_request(tmp_path: Path) -> None:
    (tmp_path / "llm").write_text("a file where a folder should be", encoding="utf-8")
    purse = budget(tmp_path, budgets(incident=wide(requests=1)))
    for _ in range(2):  # and nothing stays set aside
        with pytest.raises(BudgetSpentError, match="can't be kept in"):
            spend(purse)


def test_a_correction_that_cannot_be_kept_leaves_the_worst_case(tmp_path: Path) -> None:
    meter = budget(tmp_path).meter("i1", model="priced", max_output_tokens=100)
    meter.before_request()
    away = (tmp_path / "llm").rename(tmp_path / "away")
    (tmp_path / "llm").write_text("in the way", encoding="utf-8")
    meter.after_request(TokenUsage(1, 1))
    assert json.loads((away / "agent.json").read_text(encoding="utf-8"))["tokens"] == 100


def test_a_lock_that_is_never_released_refuses_the_request(tmp_path: Path) -> None:
    spend(budget(tmp_path))
    with (tmp_path / "llm" / "agent.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BudgetSpentError, match="can't be kept"):
            spend(budget(tmp_path))
    spend(budget(tmp_path))


def test_nothing_but_the_counters_stays_in_the_folder(tmp_path: Path) -> None:
    purse = budget(tmp_path)
    for _ in range(5):
        spend(purse, TokenUsage(1, 1))
    assert {p.name for p in (tmp_path / "llm").iterdir()} == {"agent.json", "agent.lock"}


def test_many_threads_never_exceed_a_limit(tmp_path: Path) -> None:
    purse = budget(tmp_path, budgets(run=wide(requests=10)))

    def attempt(number: int) -> bool:
        try:
            spend(purse, TokenUsage(1, 1), incident=f"i{number}")
        except BudgetSpentError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 10
    assert (kept(tmp_path)["requests"], kept(tmp_path)["tokens"]) == (10, 20)


def test_several_processes_share_the_day(tmp_path: Path) -> None:
    program = f"""
from datetime import datetime, UTC
from pathlib import Path
from flows.llm.budget import DayLedger, Spending
from infrastructure.config_models import Budget
ledger = DayLedger(Path({str(tmp_path)!r}) / "day.json", lambda: datetime(2026, 11, 3, tzinfo=UTC))
for _ in range(20):
    ledger.reserve(Spending(1, 2, 0.5), Budget(requests=1000, tokens=1000, dollars=1000))
"""
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    value = json.loads((tmp_path / "day.json").read_text(encoding="utf-8"))
    assert value == {"day": "2026-11-03", "requests": 40, "tokens": 80, "dollars": 20.0}


amounts = st.builds(
    Spending,
    requests=st.integers(0, 5),
    tokens=st.integers(0, 5000),
    dollars=st.floats(0, 5),
)


@given(first=amounts, second=amounts)
def test_adding_and_taking_away_leaves_what_was(first: Spending, second: Spending) -> None:
    result = first + second + -second
    assert (result.requests, result.tokens) == (first.requests, first.tokens)
    assert result.dollars == pytest.approx(first.dollars)


@given(amount=amounts, more=amounts, limit=st.integers(0, 3000))
def test_spending_more_is_never_within_a_limit_that_less_exceeds(
    amount: Spending, more: Spending, limit: int
) -> None:
    budget_limit = Budget(requests=3, tokens=limit, dollars=2)
    if amount.beyond(budget_limit):
        assert (amount + more).beyond(budget_limit)


def test_the_booked_day_is_told(tmp_path: Path) -> None:
    ledger = DayLedger(tmp_path / "day.json", lambda: datetime(2026, 1, 2, tzinfo=UTC))
    assert ledger.reserve(Spending(1), wide()) == date(2026, 1, 2)
