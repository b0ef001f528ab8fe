"""Every `uici` command that a page, a pipeline or a unit file shows is one that exists.

It is parsed by the command line's own parser, with what a reader fills in left as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.core import TyperCommand
from typer.testing import CliRunner

from flows.cli import app
from flows.command_line.commands.examples import EXAMPLES
from flows.demo.place import ROOT
from tests.reference.commands import all_commands
from tests.unit.docs.pages import PAGES as MARKDOWN

PAGES = [*MARKDOWN, *sorted((ROOT / "deploy/ci").glob("*.yml"))]
# A command line of its own, or one in a sentence's code. What follows a comment, a pipe or
# a redirection is the shell's.
_LINE = re.compile(r"^\s*(?:\$|- |- run:|run:|entry:)?\s*(?:\.venv/bin/)?(uici .+)$", re.MULTILINE)
_CODE = re.compile(r"`(?:\.venv/bin/)?(uici [^`\n]+)`")
_SHELL = re.compile(r"\s+(#|\||>|&&|;).*$")
_GROUPS = {"import", "notifications"}


def commands(path: Path) -> Iterator[str]:
    text = path.read_text().replace("\\\n", " ")  # lines that go on
    for pattern in (_LINE, _CODE) if path.suffix == ".md" else (_LINE,):
        for found in pattern.findall(text):
            yield _SHELL.sub("", found).strip()


# Typer's group, which click does not type.
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SHOWN = {(str(p.relative_to(ROOT)), c) for p in PAGES for c in commands(p)}
TAUGHT = {
    ("--help", _SHELL.sub("", line))
    for lines in EXAMPLES.values()
    for line, _ in lines
    if line.startswith("uici ")
}
FOUND = sorted(SHOWN | TAUGHT)


def test_the_pages_show_commands() -> None:
    assert len(FOUND) > 40
    assert {path for path, _ in FOUND} >= {"README.md", "deploy/ci/github.yml"}


@pytest.mark.parametrize(("path", "line"), FOUND)
def test_it_is_a_command_with_options_that_exist(path: str, line: str) -> None:
    words = shlex.split(re.sub(r"\[[^\]]*\]|…|\.\.\.", "", line), comments=True)[1:]
    known = COMMANDS
    assert words, path
    if words[0].startswith("-"):
        assert words[0] in {"--help", "-h", "--install-completion", "--show-completion"}
        return
    # A sentence may name several: `uici pause/resume`.
    names = words[0].rstrip(",.:").split("/")
    assert set(names) <= known.keys(), f"{path}: {line}"
    chosen = known[names[0]]
    if names[0] in _GROUPS and len(words) > 1 and not words[1].startswith("-"):
        assert words[1].rstrip(",") in chosen.commands, f"{path}: {line}"
        chosen = chosen.commands[words[1].rstrip(",")]
    options = {name for parameter in chosen.params for name in (*parameter.opts, "--help", "-h")}
    used = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    assert used <= options, f"{path}: {line}: it has {sorted(options)}"


def test_every_command_teaches_by_examples() -> None:
    assert {"", *(name for name, _ in all_commands())} == EXAMPLES.keys()
    for name, lines in EXAMPLES.items():
        called = [line for line, _ in lines if not line.startswith("export ")]
        assert all(line.startswith(f"uici {name}".strip()) for line in called), name


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_the_help_of_a_command_ends_with_its_examples(
    name: str, command: TyperCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    told = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=100)
    assert told.exit_code == 0
    assert EXAMPLES[name][-1][0] in told.output.partition("Examples:")[2]
    assert command.get_short_help_str(100) in " ".join(told.output.split())


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_pipeline_fails_on_what_could_not_be_told_only(name: str) -> None:
    text = (ROOT / "deploy/ci" / name).read_text()
    assert 'test "$code" -ne 1' in text
    assert "--no-llm" in text
    assert yaml.safe_load(text)


def test_the_hook_runs_a_command_that_exists() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "uici validate"
    assert hook["pass_filenames"] is False
