"""`uici doctor` about the model: what it can do, what is left, never the key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.command_line.doctor_llm import llm_findings
from flows.command_line.finding import Finding, Level
from flows.command_line.validation import validate
from flows.llm.budget import DayLedger, Spending
from infrastructure.config_models import Budget
from tests.fakes.llm_server import (
    Behaviour,
    ScriptedLlm,
    answer,
    claims_and_writes_prose,
    error,
    strict_with_tools,
)
from tests.fakes.llm_setting import KEY
from tests.fakes.loop import loop_world, service_yaml


def examined(root: Path, base_url: str, **llm: Any) -> dict[str, Finding]:
    settings = {"baseUrl": base_url, "apiKey": KEY, **llm}
    with loop_world(root, platform={"llm": settings}) as world:
        before = sorted(world.runtime.config.data_directory.rglob("*"))
        findings = {finding.name: finding for finding in llm_findings(world.runtime.config)}
        assert sorted(world.runtime.config.data_directory.rglob("*")) == before
    assert KEY not in str(findings)
    return findings


def test_it_shows_endpoint_model_abilities_latency_and_what_is_left(tmp_path: Path) -> None:
    with ScriptedLlm(answer({}), check=strict_with_tools()) as server:
        found = examined(tmp_path, server.base_url)
        assert (len(server.checks), server.requests) == (2, [])
        where = server.base_url
    assert found["LLM"].level is Level.OK
    assert (
        f"at {where}, key present: strict JSON Schema; tools; answered in " in found["LLM"].detail
    )
    assert found["LLM budget of the day"].detail.startswith("left: 300 of 300 requests, ")
    assert found["LLM circuit breaker"] == Finding("LLM circuit breaker", Level.OK, "closed")


def test_an_endpoint_that_only_claims_is_shown_as_it_is(tmp_path: Path) -> None:
    with ScriptedLlm(answer({}), check=claims_and_writes_prose()) as server:
        found = examined(tmp_path, server.base_url)
    assert "JSON, the schema in the prompt; no tools" in found["LLM"].detail


def _fails(tmp_path: Path, check: Behaviour) -> Finding:
    with ScriptedLlm(answer({}), check=check) as server:
        return examined(tmp_path, server.base_url)["LLM"]


def test_an_endpoint_that_fails_is_a_warning_and_says_who_plans(tmp_path: Path) -> None:
    finding = _fails(tmp_path, error(401, f"Incorrect API key provided: {KEY}"))
    assert finding.level is Level.WARNING
    assert "refused the API key" in finding.detail
    assert finding.detail.endswith("the runbooks plan")


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    with ScriptedLlm(answer({})) as server:
        found = examined(tmp_path, server.base_url, apiKey="")
        assert server.checks == []
    assert list(found) == ["LLM"]
    assert "llm.apiKey" in found["LLM"].detail


def test_what_the_day_has_cost_and_an_open_breaker_show(tmp_path: Path) -> None:
    settings = {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": KEY}
    with loop_world(tmp_path, platform={"llm": settings}) as world:
        folder = world.runtime.config.data_directory / "llm"
        now = datetime.now(UTC)
        wide = Budget(requests=1000, tokens=10**9, dollars=1000)
        ledger = DayLedger(folder / "devops-ai-agent.json", lambda: now)
        ledger.reserve(Spending(300, 5000, 0.5), wide)
        (folder / "breaker.json").write_text(
            '{"endpoint": "http://127.0.0.1:9/v1", "failures": 3, "reason": "HTTP 500", '
            f'"openedAt": "{now.isoformat()}"}}',
            encoding="utf-8",
        )
        found = {finding.name: finding for finding in llm_findings(world.runtime.config)}
    left = found["LLM budget of the day"]
    assert left.detail.startswith("left: 0 of 300 requests, 1495000 of 1500000 tokens, 1.50 of")
    assert left.level is Level.OK
    assert found["LLM circuit breaker"].level is Level.WARNING
    assert "open: the LLM endpoint is left alone until" in found["LLM circuit breaker"].detail


def test_a_model_without_a_price_has_no_limit_in_money_and_both_say_so(tmp_path: Path) -> None:
    with ScriptedLlm(answer({})) as server:
        found = examined(tmp_path, server.base_url, prices=[])
    price = found["LLM price"]
    assert price.level is Level.WARNING
    assert "has no price: no limit in dollars holds" in price.detail
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "a.yml").write_text(service_yaml("a"))
    remarks = validate(tmp_path / "state", tmp_path / "config").remarks
    (told,) = [remark for remark in remarks if "has no price" in remark.message]
    named = (tmp_path / "config" / "agents.yml").read_text().splitlines()[told.line - 1]
    assert "model:" in named


def test_of_models_with_a_price_nothing_is_said(tmp_path: Path) -> None:
    with ScriptedLlm(answer({})) as server:
        assert "LLM price" not in examined(tmp_path, server.base_url)
    assert validate(None, None).remarks == ()
