"""The same question, word for word, is not asked twice for a while; any other is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.llm.answer_book import AnswerBook
from flows.plan import Declined, Evidence, Plan
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import NOW, ROOT, incident, plan_answer, planner, step

PLAN = plan_answer(step("restart"))
KEPT = timedelta(minutes=15)


def book(
    directory: Path, *, now: Callable[[], datetime] = lambda: NOW, keep_for: timedelta = KEPT
) -> AnswerBook:
    return AnswerBook(directory / "answers.json", keep_for=keep_for, now=now)


def asked(
    server: ScriptedLlm, directory: Path, evidence: Evidence | None = None, **changes: Any
) -> Plan | Declined:
    settings = {"answers": book(directory), **changes}
    made = planner(server.base_url, directory, **settings)
    return made.plan(incident(), evidence or Evidence(facts=("exit code 1",)))


def test_the_same_question_is_asked_once_and_the_plan_says_so(tmp_path: Path) -> None:
    with ScriptedLlm(answer(PLAN)) as server:
        first, second = asked(server, tmp_path), asked(server, tmp_path)
        assert len(server.requests) == 1
    assert isinstance(first, Plan)
    assert isinstance(second, Plan)
    assert (second.steps, second.diagnosis) == (first.steps, first.diagnosis)
    assert second.usage is not None
    assert (second.usage.requests, second.usage.prompt_tokens, second.usage.dollars) == (0, 0, 0.0)
    assert second.planner_reason.endswith(f"as it answered the same question at {NOW.isoformat()}")
    [exchange] = second.exchanges
    assert exchange.purpose == f"plan, answered at {NOW.isoformat()}"
    assert exchange.answer == first.exchanges[0].answer


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": Evidence(facts=("exit code 2",))},
        {"max_prompt_tokens": 6000, "base": "other"},
    ],
)
def test_another_question_is_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    changes.pop("base", None)
    with ScriptedLlm(answer(PLAN)) as server, ScriptedLlm(answer(PLAN)) as other:
        asked(server, tmp_path)
        if "evidence" in changes:
            asked(server, tmp_path, **changes)
            assert len(server.requests) == 2
        else:
            asked(other, tmp_path, **changes)
            assert len(other.requests) == 1


@pytest.mark.parametrize("minutes", [15, 600, -1])
def test_an_answer_holds_for_its_time_by_this_clock(tmp_path: Path, minutes: int) -> None:
    later = book(tmp_path, now=lambda: NOW + timedelta(minutes=minutes))
    with ScriptedLlm(answer(PLAN)) as server:
        asked(server, tmp_path)
        asked(server, tmp_path, answers=later)
        assert len(server.requests) == 2


def test_kept_for_no_time_it_is_not_written_at_all(tmp_path: Path) -> None:
    with ScriptedLlm(answer(PLAN)) as server:
        for _ in range(2):
            asked(server, tmp_path, answers=book(tmp_path, keep_for=timedelta(0)))
        assert len(server.requests) == 2
    assert not (tmp_path / "answers.json").exists()


@pytest.mark.parametrize("content", ["", "{", '{"answers": 3}', "[" * 100_000, "\x00"])
def test_a_damaged_file_is_no_answer_and_is_mended(tmp_path: Path, content: str) -> None:
    file = tmp_path / "answers.json"
    file.write_text(content)
    with ScriptedLlm(answer(PLAN)) as server:
        asked(server, tmp_path)
        asked(server, tmp_path)
        assert len(server.requests) == 1


def test_what_is_no_plan_is_asked_again(tmp_path: Path) -> None:
    with ScriptedLlm(answer("prose"), answer(PLAN)) as server:
        assert isinstance(asked(server, tmp_path), Plan)  # repaired
        asked(server, tmp_path)
        assert len(server.requests) == 3


def test_a_plan_that_rests_on_look_ups_is_asked_again(tmp_path: Path) -> None:
    def read(call: OperationCall, _: float) -> OperationOutcome:
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW, output="FATAL")

    wanted = {"operation": "get_logs", "target": ROOT, "about": None}
    look = {"state": "look_first", "read": wanted}
    first = {"finding": look, "confidence": 0.5, "diagnosis": "d", "evidence": "e"}
    with ScriptedLlm(answer(first), answer(PLAN), answer(PLAN)) as server:
        asked(server, tmp_path, read=read)
        assert len(server.requests) == 2
        asked(server, tmp_path, read=read)
        assert len(server.requests) == 3


def test_an_answer_that_was_tampered_with_is_checked_like_any_other(tmp_path: Path) -> None:
    with ScriptedLlm(answer(PLAN)) as server:
        asked(server, tmp_path)
        file = tmp_path / "answers.json"
        file.write_text(file.read_text().replace("restart", "execute_command"))
        plan = asked(server, tmp_path)
        assert isinstance(plan, Plan)
        assert [each.operation for each in plan.steps] == ["restart"]
        assert len(server.requests) == 2  # its repair


def test_an_answer_with_a_secret_is_not_kept(tmp_path: Path) -> None:
    spoken = plan_answer(step("restart"), diagnosis="the password is hunter2")
    with ScriptedLlm(answer(spoken)) as server:
        asked(server, tmp_path, redact=lambda text: text.replace("hunter2", "[redacted]"))
    assert not (tmp_path / "answers.json").exists()


def test_that_there_is_nothing_to_do_is_not_kept(tmp_path: Path) -> None:
    works = {
        "finding": {"state": "works"},
        "confidence": 0.9,
        "diagnosis": "it works",
        "evidence": "e",
    }
    with ScriptedLlm(answer(works)) as server:
        made = planner(server.base_url, tmp_path, answers=book(tmp_path))
        quiet = incident(DriftKind.ALERT_FIRING)
        for _ in range(2):
            result = made.plan(quiet, Evidence())
            assert isinstance(result, Plan)
            assert result.steps == ()
        assert len(server.requests) == 2
