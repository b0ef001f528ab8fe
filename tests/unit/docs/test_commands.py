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

from flows.cli import app
from flows.demo.place import ROOT

PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "deploy/**/*.md",
        "deploy/ci/*.yml",
        "monitoring/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
# A command line of its own, or one in a sentence's code. What follows a comment, a pipe or
# a redirection is the shell's.
_LINE = re.compile(r"^\s*(?:\$|- |- run:|run:|entry:)?\s*(?:\.venv/bin/)?(uici .+)$", re.MULTILINE)
_CODE = re.compile(r"`(?:\.venv/bin/)?(uici [^`\n]+)`")
_SHELL = re.compile(r"\s+(#|\||>|&&|;).*$")
_GROUPS = {"import"}


def commands(path: Path) -> Iterator[str]:
    text = path.read_text().replace("\\\n", " ")  # lines that go on
    for pattern in (_LINE, _CODE) if path.suffix == ".md" else (_LINE,):
        for found in pattern.findall(text):
            yield _SHELL.sub("", found).strip()


FOUND = sorted({(str(p.relative_to(ROOT)), c) for p in PAGES for c in commands(p)})


def test_the_pages_show_commands() -> None:
    assert len(FOUND) > 40
    assert {path for path, _ in FOUND} >= {"README.md", "deploy/ci/github.yml"}


@pytest.mark.parametrize(("path", "line"), FOUND)
def test_it_is_a_command_with_options_that_exist(path: str, line: str) -> None:
    words = shlex.split(re.sub(r"\[[^\]]*\]|…|\.\.\.", "", line), comments=True)[1:]
    command = typer.main.get_command(app)
    known = command.commands  # type: ignore[attr-defined]  # typer's group, which click does not type
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
