"""`uici knowledge`: what was learned, for people and for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from flows.cli import main
from flows.command_line.knowledge import knowledge_data, show
from flows.learning.shelf import Shelf
from infrastructure.errors import NotFoundError
from infrastructure.operation_registry import OperationRegistry
from tests.fakes.loop import loop_world, service_yaml
from tests.unit.learning.made import after_three, lesson, shelf_of, taught
from tests.unit.operations import shipped

REGISTRY = OperationRegistry(shipped.operations())


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def shown(shelf: Shelf, capsys: pytest.CaptureFixture[str], name: str = "") -> str:
    show(knowledge_data(shelf, name, 3, REGISTRY), one=bool(name))
    return capsys.readouterr().out


def test_an_empty_shelf_says_how_it_fills(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(Shelf(), capsys)
    assert "Nothing was learned yet" in told
    assert "3 recoveries in a row" in told


@pytest.mark.parametrize(
    ("shelf", "row"),
    [
        (after_three(), ["trusted", "3 of 3", "2.0 s", "2026-11-22 12:03"]),
        (taught(Shelf(), lesson(1, helped=False)), ["on trial", "0 of 1"]),
        (shelf_of({"disabled": True, "reason": "no"}), ["disabled", "0 of 0"]),
    ],
)
def test_each_class_has_a_line(
    shelf: Shelf, row: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [line for line in shown(shelf, capsys).splitlines() if "docker-stopped" in line]
    for word in (*row, "restart strategy=graceful"):
        assert word in line


def test_one_class_is_told_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(taught(after_three(), lesson(4, helped=False)), capsys, "docker-stopped")
    assert "knowledge/docker-stopped.yml" in told
    assert "worked 3 of 4, 0 in a row" in told
    assert "2026-11-22T12:04 local/shop did not help (run r4)" in told


def test_steps_that_nothing_can_carry_out_are_not_called_trusted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf = shelf_of({"steps": [{"operation": "explode"}], "trusted": True, "reason": "by hand"})
    for name in ("", "docker-stopped"):
        told = shown(shelf, capsys, name)
        assert "never used: " in told
        assert "explode" in told
        assert "trusted" not in told


def test_what_is_ignored_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(Shelf({"docker-stopped": b"{"}), capsys)
    assert "ignored" in told
    assert "knowledge/docker-stopped.yml" in told


EVIL = r"\e[2J\e]0;pwn\a\u202e\x9b31m\u200b[red]\nforged: line"


def test_nothing_of_a_file_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    file = f"""\
apiVersion: uici/v1
kind: Knowledge
class: docker-stopped
disabled: true
reason: "{EVIL}"
when: {{executor: docker, kinds: [Stopped]}}
resolutions:
- steps: [{{operation: restart, parameters: {{"strategy{EVIL}": "graceful{EVIL}"}}}}]
  planner: "llm{EVIL}"
  reason: "{EVIL}"
  evidence: [{{run: "r{EVIL}", target: "x{EVIL}", at: 2026-11-22T12:00:00Z, helped: true}}]
"""
    shelf = Shelf({"docker-stopped": file.encode(), "broken": f"{{{EVIL}".encode()})
    for name in ("", "docker-stopped"):
        told = shown(shelf, capsys, name)
        assert all(line.isprintable() for line in told.split("\n"))
        assert "restart" in told
        assert not any(line.startswith("forged") for line in told.splitlines())


def test_a_class_that_is_not_there_is_refused_with_the_closest() -> None:
    with pytest.raises(NotFoundError, match="did you mean docker-stopped"):
        knowledge_data(after_three(), "docker-stoped", 3, REGISTRY)


def test_the_command_reads_the_reports_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        assert world.run().incidents  # it was missing, and the runbook made it
        path = tmp_path / "config/environments.yml"
        places = yaml.safe_load(path.read_text())
        place = {"connection": {"host": "unix:///nowhere/docker.sock"}}
        places["environments"]["local-docker"].update(place)
        path.write_text(yaml.safe_dump(places))
    monkeypatch.setattr(sys, "argv", ["uici", "knowledge", "--json", "--config", str(path.parent)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    data = json.loads(capsys.readouterr().out)
    (known,) = data["classes"]
    assert known["class"] == "docker-missing"
    (resolution,) = known["resolutions"]
    assert (resolution["state"], resolution["successes"]) == ("on trial", 1)
