"""An evaluation that is ended early keeps what it has."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.evals import __main__ as subject
from tests.evals import table
from tests.evals.answers import plan, step
from tests.evals.incident_file import load
from tests.evals.run import Score, run_incident
from tests.fakes.llm_server import MODEL, ScriptedLlm, answer


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores and page go to a folder of the test."""

    def save(setting: table.Setting, scores: list[Score]) -> Path:
        return table.save(setting, scores, tmp_path)

    monkeypatch.setattr(subject, "save", save)
    monkeypatch.setattr(subject, "PAGE", tmp_path / "EVALS.md")
    return tmp_path


def test_a_signal_ends_it_after_the_incident_it_is_at(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incident that was under way when the signal came is not the model's word."""
    before = signal.getsignal(signal.SIGTERM)
    runs: list[str] = []

    def counted(*given: object, **named: object) -> object:
        runs.append("x")
        if len(runs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return run_incident(*given, **named)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(subject, "run_incident", counted)
    good = plan("docker/api", step("restart", "docker/api", strategy=None, grace_seconds=None))
    with ScriptedLlm(answer(good)) as server:
        words = ["--planner", "llm", "--endpoint", server.base_url, "--model", MODEL]
        done = subject.main([*words, "--sample", "5", "--save"])

    document = json.loads((kept / f"{MODEL}.json").read_text(encoding="utf-8"))
    assert done == 0
    assert len(runs) == 3
    assert len(document["incidents"]) == 2
    assert document["scope"] == f"ended early: 2 of a sample of 5 of {len(load())}"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_model_is_not_asked_where_the_runbooks_suffice(kept: Path) -> None:
    """As in production; otherwise its figures would be those of another loop."""
    with ScriptedLlm(answer("{}")) as server:
        words = ["--planner", "llm", "--endpoint", server.base_url, "--model", MODEL]
        done = subject.main([*words, "--only", "missing-container", "--save"])
        asked = len(server.requests)

    document = json.loads((kept / f"{MODEL}.json").read_text(encoding="utf-8"))
    assert (done, asked) == (0, 0)
    assert document["totals"]["asked"] == 0
    assert document["totals"]["loop_first"] == {"right": 2, "of": 2}
