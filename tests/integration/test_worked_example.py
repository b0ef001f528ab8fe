"""CONTRIBUTING's environment: its module and YAML, as they stand there, heal a service."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import executors
from flows.command_line.validation import validate
from flows.open_executors import open_executors
from flows.report import RunResult
from infrastructure.drift_kinds import DriftKind
from tests.fakes.loop import ENVIRONMENT, loop_world, service_yaml

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
SECTION = TEXT.split("## Add an environment")[1].split("\n## ")[0]


def _blocks(language: str) -> list[str]:
    return [part.split("```")[0] for part in SECTION.split(f"```{language}\n")[1:]]


def test_the_worked_example_of_an_environment_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,), (entry, translations) = _blocks("python"), map(yaml.safe_load, _blocks("yaml"))
    code, shelf = tmp_path / "code", tmp_path / "shelf"
    code.mkdir()
    (code / "folder.py").write_text(module)
    monkeypatch.setattr(executors, "__path__", [*executors.__path__, str(code)])
    entry["shelf"]["connection"]["path"] = str(shelf)
    root = tmp_path / "loop"
    root.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(sys.modules.pop, "executors.folder", None)
        loop = stack.enter_context(
            loop_world(
                root,
                environments={"environments": entry},
                command_translations={"translations": translations},
            )
        )
        runtime = loop.runtime
        opened = open_executors(loop.config, runtime.identity, runtime.secrets)
        for executor in opened.values():
            stack.callback(executor.close)
        loop.runtime = replace(runtime, executors={"shelf": opened["shelf"]})
        text = service_yaml("book").replace(f"environment: {ENVIRONMENT}", "environment: shelf")
        loop.commit(book=text)
        assert validate(root / "work", loop.config.directory).problems == ()
        assert loop.run().result is RunResult.CONVERGED
        assert (shelf / "book").read_text() == "book:1.0.0"
        (shelf / "book").write_text("scribbled over")
        report = loop.run()
        assert report.result is RunResult.CONVERGED, report.incidents
        assert {d.kind for d in report.incidents[0].incident.drifts} == {DriftKind.CONFIG_DRIFT}
        assert (shelf / "book").read_text() == "book:1.0.0"
