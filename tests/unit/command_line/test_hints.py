"""Printed next steps ask the installation that was asked, and are commands that exist."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.cli import app
from flows.command_line import validation
from flows.command_line.commands.opening import load
from flows.command_line.hints import (
    WITH_STATE,
    WITHOUT_STATE,
    here,
    in_others_words,
    in_report,
    remember,
)
from flows.command_line.output import print_outcome, print_sections
from flows.command_line.sentence import Command, sentence
from infrastructure.config_loader import DEFAULT_DIRECTORY
from infrastructure.errors import UiciError
from tests.fakes.loop import write_config


def test_a_hint_names_the_folder_that_was_given(tmp_path: Path) -> None:
    folder = tmp_path / "my config"
    remember(folder, None)
    told = here("it waits: uici approve 3f2a, until noon; `uici run start web`")
    assert told == (
        f"it waits: uici approve --config '{folder}' 3f2a, until noon;"
        f" `uici run --config '{folder}' start web`"
    )
    words = shlex.split(told.partition("`")[2].rstrip("`"))
    assert words == ["uici", "run", "--config", str(folder), "start", "web"]


def test_the_state_repository_where_a_command_takes_one() -> None:
    remember(None, "/srv/state repo.git")
    assert here("uici report") == "uici report --state '/srv/state repo.git'"
    assert here("uici validate .") == "uici validate ."


def test_a_password_is_not_repeated() -> None:
    remember(None, "https://ann:hunter2@git.test/state.git")
    assert here("uici report") == "uici report --state 'https://…@git.test/state.git'"


@pytest.mark.parametrize("config", [None, DEFAULT_DIRECTORY])
def test_what_a_command_finds_by_itself_is_not_said(config: Path | None) -> None:
    remember(config, None)
    assert here("uici doctor") == "uici doctor"


@pytest.mark.parametrize("text", ["uici runs it", "uici approve-list", "uici demo", "my-uici"])
def test_what_is_no_command_with_these_options_is_left(text: str) -> None:
    remember(Path("ops"), None)
    assert here(text) == text


def test_every_command_with_these_options_is_known() -> None:
    found: dict[bool, list[str]] = {True: [], False: []}
    for name, command in _commands(typer.main.get_command(app)):
        options = {parameter.name for parameter in command.params}
        if "config" in options:
            found["state" in options].append(name)
    assert sorted(found[True]) == list(WITH_STATE)
    assert sorted(found[False]) == list(WITHOUT_STATE)


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} ")
        else:
            yield f"{before}{name}", command


def test_what_a_command_loads_is_what_its_hints_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    remote = {"git": {"remote": str(tmp_path / "state")}}
    config = write_config(tmp_path / "config", platform=remote)
    load(config)
    print_sections("web is Degraded", {"Next": [sentence(Command("approve 3f2a"))]})
    told = capsys.readouterr().out
    assert f"uici approve --config {shlex.quote(str(config))} 3f2a" in "".join(told.split("\n"))
    load(None)
    print_sections("web is Degraded", {"Next": [sentence(Command("approve 3f2a"))]})
    assert "  uici approve 3f2a\n" in capsys.readouterr().out


def test_a_folder_that_is_wrong_is_remembered_for_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(UiciError):
        load(tmp_path / "gone")
    assert str(tmp_path / "gone") in here("uici doctor")


def test_what_others_wrote_is_left_but_for_our_own_commands() -> None:
    remember(Path("ops"), None)
    said = (
        "paused by ann: after uici run start web (uici resume ends it): uici approve 0123456789ab"
    )
    assert in_others_words(said) == (
        "paused by ann: after uici run start web (uici resume --config ops ends it):"
        " uici approve --config ops 0123456789ab"
    )


def test_of_a_report_only_its_commands_are_completed() -> None:
    remember(Path("ops"), None)
    quoted = "Summary: somebody wrote uici run start web\n```\nlog: `uici status`\n```"
    waits = "**Waits for you:** web: uici approve 0123456789ab allows it"
    report = f"{quoted}\nand \\`uici status\\`\n{waits}\n- `uici status -t local/web`"
    assert in_report(report).splitlines() == [
        *report.splitlines()[:-2],
        "**Waits for you:** web: uici approve --config ops 0123456789ab allows it",
        "- `uici status --config ops -t local/web`",
    ]


def test_a_log_s_words_are_not_made_ours(capsys: pytest.CaptureFixture[str]) -> None:
    remember(Path("ops"), None)
    says = sentence("its last try did not help (run uici doctor): ", Command("doctor"))
    print_sections("web is Degraded", {"Next": [says]})
    told = capsys.readouterr().out
    assert "  its last try did not help (run uici doctor): uici doctor --config ops\n" in told
    print_outcome({"status": "failed", "error": "run uici status", "remedy": "", "output": None})
    assert "run uici status\n" in capsys.readouterr().out


def test_the_shipped_configuration_is_named_but_in_its_own_checkout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(None, stateless=True)
    assert capsys.readouterr().err == ""
    monkeypatch.chdir(tmp_path)
    load(None, stateless=True)
    told = capsys.readouterr().err
    assert told.startswith(
        "note: without --config DIR (or UICI_CONFIG) this is about the shipped configuration, the "
    )
    assert f"{DEFAULT_DIRECTORY}\n" in told
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "platform.yml").touch()
    load(None, stateless=True)
    assert "without --config config (or UICI_CONFIG) this" in capsys.readouterr().err
    load(write_config(tmp_path / "own"), stateless=True)
    load(None, stateless=True, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_variable_names_the_configuration_and_an_option_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = (write_config(tmp_path / name) for name in ("own", "other"))
    monkeypatch.setenv("UICI_CONFIG", str(own))
    asked: list[Path | None] = []

    def validate(_: Path | None, config: Path | None) -> tuple[tuple[()], int, tuple[()]]:
        asked.append(config)
        return (), 0, ()

    monkeypatch.setattr(validation, "validate", validate)
    for words in (["validate"], ["validate", "--config", str(other)]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert asked == [own, other]


def test_what_the_variable_names_is_not_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_config(tmp_path / "own")
    remember(own, None)
    assert here("uici plan") == f"uici plan --config {own}"
    monkeypatch.setenv("UICI_CONFIG", str(own))
    remember(own, None)
    assert here("uici plan") == "uici plan"
    remember(None, None)
