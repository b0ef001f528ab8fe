"""What an endpoint can do is found out once, believed no longer than it proves true."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.llm.abilities import Abilities, AbilityBook
from flows.llm.client import LlmClient
from flows.llm.contract import Unmetered
from flows.llm.protocol import AnswerFormat
from flows.plan import Declined, Evidence, Plan
from infrastructure.config_models import Budget, LlmAbilities
from infrastructure.errors import TemporaryError
from tests.fakes.llm_server import (
    Behaviour,
    ScriptedLlm,
    answer,
    claims_and_writes_prose,
    error,
    only_understands,
    refusal,
    strict_with_tools,
    without_tools,
)
from tests.fakes.llm_setting import (
    NOW,
    agent,
    budgets,
    incident,
    outcome,
    plan_answer,
    planner,
    settings,
)

AUTO = LlmAbilities(strict_schema="auto", tools="auto", keep_for=timedelta(days=1))
SCHEMA, OBJECT, PLAIN = AnswerFormat.SCHEMA, AnswerFormat.OBJECT, AnswerFormat.PLAIN


def book(base_url: str, directory: Path, *, days: float = 0, **changes: Any) -> AbilityBook:
    llm = settings(base_url, **({"abilities": AUTO} | changes))
    return AbilityBook(
        directory / "llm" / "abilities.json",
        LlmClient(llm),
        model=agent().llm,
        settings=llm,
        now=lambda: NOW + timedelta(days=days),
    )


def found(made: AbilityBook) -> Abilities:
    return made.get(Unmetered)


ENDPOINTS: list[tuple[str, Behaviour, AnswerFormat, bool, int]] = [
    ("strict with tools", strict_with_tools(), SCHEMA, True, 2),
    ("strict, refuses tools", without_tools(strict_with_tools()), SCHEMA, False, 2),
    ("takes all, keeps nothing", claims_and_writes_prose(), OBJECT, False, 2),
    ("another word", answer({"word": "blue"}), OBJECT, False, 2),
    ("json mode", only_understands(("json_object",), answer("{}")), OBJECT, False, 3),
    ("no json mode", only_understands((), answer("Hello.")), PLAIN, False, 4),
    ("declines", refusal(), OBJECT, False, 2),
]


@pytest.mark.parametrize(
    ("check", "form", "tools", "asked"), [r[1:] for r in ENDPOINTS], ids=[r[0] for r in ENDPOINTS]
)
def test_it_is_found_out_by_what_the_endpoint_does(
    tmp_path: Path, check: Behaviour, form: AnswerFormat, tools: bool, asked: int
) -> None:
    with ScriptedLlm(answer({}), check=check) as server:
        abilities = found(book(server.base_url, tmp_path))
        assert (abilities.dialect.format, abilities.tools) == (form, tools)
        assert len(server.checks) == asked
        again = found(book(server.base_url, tmp_path))  # another run
        assert (again.dialect, again.tools) == (abilities.dialect, abilities.tools)
        assert len(server.checks) == asked


def test_it_is_asked_again_when_it_is_old_or_for_another_model(tmp_path: Path) -> None:
    with ScriptedLlm(answer({}), check=strict_with_tools()) as server:
        found(book(server.base_url, tmp_path))
        found(book(server.base_url, tmp_path, days=0.9))
        assert len(server.checks) == 2
        found(book(server.base_url, tmp_path, days=1.1))
        assert len(server.checks) == 4
        found(book(server.base_url, tmp_path, days=-9))  # found in the future: not believed
        assert len(server.checks) == 6


@pytest.mark.parametrize("content", ["", "{", '{"entries": [1]}', '{"entries": []}', "\x00\xff"])
def test_a_damaged_file_is_found_out_anew(tmp_path: Path, content: str) -> None:
    with ScriptedLlm(answer({}), check=strict_with_tools()) as server:
        found(book(server.base_url, tmp_path))
        file = tmp_path / "llm" / "abilities.json"
        file.write_text(content, encoding="utf-8")
        assert found(book(server.base_url, tmp_path)).tools
        assert json.loads(file.read_text(encoding="utf-8"))["entries"][0]["tools"] is True


def test_a_file_that_cannot_be_written_costs_questions_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "llm").write_text("no folder", encoding="utf-8")
    with ScriptedLlm(answer({}), check=strict_with_tools()) as server:
        assert found(book(server.base_url, tmp_path)).tools


def test_what_is_configured_is_not_asked(tmp_path: Path) -> None:
    said = LlmAbilities(strict_schema="no", tools="no", keep_for=timedelta(days=1))
    with ScriptedLlm(answer({})) as server:
        abilities = found(book(server.base_url, tmp_path, abilities=said))
        assert (abilities.dialect.format, abilities.tools) == (OBJECT, False)
        assert server.checks == []
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_is_down_is_not_an_endpoint_that_can_nothing(tmp_path: Path) -> None:
    with ScriptedLlm(answer({}), check=error(503)) as server, pytest.raises(TemporaryError):
        found(book(server.base_url, tmp_path))
    assert not (tmp_path / "llm").exists()


# ── with the planner ────────────────────────────────────────────────────────────


def test_a_run_finds_out_once_and_pays_from_the_days_budget(tmp_path: Path) -> None:
    with ScriptedLlm(answer(plan_answer())) as server:
        llm = planner(server.base_url, tmp_path, abilities=AUTO)
        for _ in range(2):
            assert isinstance(llm.plan(incident(), Evidence()), Plan)
        assert (len(server.checks), len(server.requests)) == (2, 2)
    day = json.loads((tmp_path / "day.json").read_text(encoding="utf-8"))
    assert day["requests"] == 4
    limits = budgets(day=Budget(requests=0, tokens=10**9, dollars=10))
    with ScriptedLlm(answer(plan_answer())) as server:
        llm = planner(server.base_url, tmp_path, abilities=AUTO, limits=limits)
        assert isinstance(llm.plan(incident(), Evidence()), Declined)
        assert (server.checks, server.requests) == ([], [])


def test_a_promise_of_strictness_that_is_broken_later_is_noticed_and_kept(tmp_path: Path) -> None:
    script = (answer("I would restart it."), answer(plan_answer()))
    with ScriptedLlm(*script) as server:
        llm = planner(server.base_url, tmp_path, abilities=AUTO)
        assert isinstance(llm.plan(incident(), Evidence()), Plan)
        first, second = server.requests
        assert first.body["response_format"]["type"] == "json_schema"
        assert second.body["response_format"]["type"] == "json_object"
        assert "It must fit this JSON Schema" in second.system
        planner(server.base_url, tmp_path, abilities=AUTO).plan(incident(), Evidence())
        assert server.requests[-1].body["response_format"]["type"] == "json_object"
        assert len(server.checks) == 2


def test_tools_that_are_refused_later_are_given_up_for_the_schema(tmp_path: Path) -> None:
    script = without_tools(answer(plan_answer()))
    with ScriptedLlm(script, check=strict_with_tools()) as server:
        llm = planner(
            server.base_url, tmp_path, abilities=AUTO, read=lambda call, _: outcome(call, "x")
        )
        assert isinstance(llm.plan(incident(), Evidence()), Plan)
        first, second = server.requests
        assert "get_logs" in first.tools
        assert second.tools == []
        schema = second.body["response_format"]["json_schema"]["schema"]
        assert "read" in schema["$defs"]
