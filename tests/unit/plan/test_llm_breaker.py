"""The circuit breaker over runs: opens, tries once, closes; never in the way when broken."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.llm.breaker import BreakerState, EndpointBreaker
from flows.plan import Declined, Evidence, Plan
from infrastructure.config_models import CircuitBreaker, Retry
from infrastructure.errors import TemporaryError
from infrastructure.service import Backoff
from tests.fakes.llm_server import ScriptedLlm, answer, error, raw, refusal
from tests.fakes.llm_setting import NOW, incident, plan_answer, planner

SETTINGS = CircuitBreaker(failures=2, open_for=timedelta(minutes=5))
ENDPOINT = "https://llm.example/v1"
ONCE = Retry(
    attempts=1,
    backoff=Backoff(initial=timedelta(milliseconds=1), max=timedelta(milliseconds=1)),
)


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def passes(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def breaker(directory: Path, watch: Watch, endpoint: str = ENDPOINT) -> EndpointBreaker:
    """Each is one of another process: nothing but the file is shared."""
    return EndpointBreaker(directory / "llm" / "breaker.json", endpoint, SETTINGS, watch)


def opened(directory: Path, watch: Watch) -> EndpointBreaker:
    for _ in range(SETTINGS.failures):
        breaker(directory, watch).failed("HTTP 500")
    return breaker(directory, watch)


def test_it_opens_after_so_many_failures_in_a_row_of_any_process(
    tmp_path: Path, watch: Watch
) -> None:
    breaker(tmp_path, watch).failed("HTTP 500")
    breaker(tmp_path, watch).before_question()
    assert breaker(tmp_path, watch).state()[0] is BreakerState.CLOSED
    breaker(tmp_path, watch).failed("HTTP 502")
    with pytest.raises(TemporaryError, match=r"until 2026-11-03T12:05:00\+00:00 after 2 .*502"):
        breaker(tmp_path, watch).before_question()
    assert breaker(tmp_path, watch).state()[0] is BreakerState.OPEN


def test_an_answer_between_failures_starts_the_count_anew(tmp_path: Path, watch: Watch) -> None:
    breaker(tmp_path, watch).failed("HTTP 500")
    breaker(tmp_path, watch).answered()
    breaker(tmp_path, watch).failed("HTTP 500")
    breaker(tmp_path, watch).before_question()


def test_half_open_lets_one_question_through_and_its_end_decides(
    tmp_path: Path, watch: Watch
) -> None:
    opened(tmp_path, watch)
    watch.passes(minutes=5)
    assert breaker(tmp_path, watch).state()[0] is BreakerState.HALF_OPEN
    breaker(tmp_path, watch).before_question()
    with pytest.raises(TemporaryError, match="being tried again"):
        breaker(tmp_path, watch).before_question()
    breaker(tmp_path, watch).failed("HTTP 503")  # one failure is enough now
    with pytest.raises(TemporaryError, match="HTTP 503"):
        breaker(tmp_path, watch).before_question()
    watch.passes(minutes=5)
    breaker(tmp_path, watch).before_question()
    breaker(tmp_path, watch).answered()
    breaker(tmp_path, watch).before_question()
    assert breaker(tmp_path, watch).state() == (BreakerState.CLOSED, "")


def test_of_many_at_the_same_time_one_is_the_trial(tmp_path: Path, watch: Watch) -> None:
    opened(tmp_path, watch)
    watch.passes(minutes=6)
    through: list[int] = []

    def ask(number: int) -> None:
        try:
            breaker(tmp_path, watch).before_question()
        except TemporaryError:
            return
        through.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 1


def test_a_trial_whose_process_died_keeps_nobody_out_for_ever(tmp_path: Path, watch: Watch) -> None:
    opened(tmp_path, watch)
    watch.passes(minutes=5)
    breaker(tmp_path, watch).before_question()
    watch.passes(minutes=5)
    breaker(tmp_path, watch).before_question()


def test_another_endpoint_is_another_matter(tmp_path: Path, watch: Watch) -> None:
    opened(tmp_path, watch)
    breaker(tmp_path, watch, "http://127.0.0.1:1/v1").before_question()


def test_a_clock_that_was_set_back_does_not_keep_it_open(tmp_path: Path, watch: Watch) -> None:
    opened(tmp_path, watch)
    watch.passes(days=-30)
    breaker(tmp_path, watch).before_question()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"endpoint": 1}', "\x00"])
def test_a_damaged_file_is_closed_and_written_anew(
    tmp_path: Path, watch: Watch, content: str
) -> None:
    file = tmp_path / "llm" / "breaker.json"
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    breaker(tmp_path, watch).before_question()
    opened(tmp_path, watch)
    assert breaker(tmp_path, watch).state()[0] is BreakerState.OPEN


def test_where_nothing_can_be_kept_nothing_is_in_the_way(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "llm").write_text("no folder", encoding="utf-8")
    opened(tmp_path, watch).before_question()
    breaker(tmp_path, watch).answered()


# ── with the planner ────────────────────────────────────────────────────────────


def test_runs_in_which_the_endpoint_fails_open_it_and_the_reason_says_so(tmp_path: Path) -> None:
    with ScriptedLlm(error(500)) as server:
        for _ in range(3):  # each is a run of its own
            planner(server.base_url, tmp_path, retry=ONCE).plan(incident(), Evidence())
        assert len(server.requests) == 3
        result = planner(server.base_url, tmp_path, retry=ONCE).plan(incident(), Evidence())
        assert len(server.requests) == 3
    assert isinstance(result, Declined)
    assert "left alone until" in result.reason
    assert "3 failed questions in a row" in result.reason
    assert result.usage is None


def test_a_page_that_is_no_api_counts_and_an_answer_that_is_no_plan_does_not(
    tmp_path: Path,
) -> None:
    with ScriptedLlm(refusal()) as server:
        for _ in range(4):
            planner(server.base_url, tmp_path).plan(incident(), Evidence())
        assert len(server.requests) == 4
        server.then(raw(b"<html>"))
        for _ in range(4):
            planner(server.base_url, tmp_path).plan(incident(), Evidence())
        assert len(server.requests) == 7


def test_an_endpoint_that_is_back_is_used_again(tmp_path: Path) -> None:
    with ScriptedLlm(error(500), error(500), answer(plan_answer())) as server:
        for _ in range(2):
            planner(server.base_url, tmp_path, retry=ONCE).plan(incident(), Evidence())
        for _ in range(2):
            result = planner(server.base_url, tmp_path).plan(incident(), Evidence())
            assert isinstance(result, Plan)
