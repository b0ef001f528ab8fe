"""The page about the command line, from its own parser."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

from flows.cli import app
from flows.command_line.commands.examples import EXAMPLES

_HEAD = """# Command line

`--help` after a command says the same in the terminal. `uici --install-completion` makes your shell
complete commands and options (bash, zsh, fish, PowerShell); `uici --show-completion` prints what it
would install.

| exit code | everywhere |
|---|---|
| 0 | well |
| 1 | an error, or a word that is not known; one line each on stderr, with the next step |
| 130 | ended by Ctrl-C or SIGTERM (`uici serve`, which is asked to end that way: 0) |

Where a command says more by its code, its section does. With `--json` there is one document on
stdout, and logs on stderr. Without `--config` the shipped configuration counts. In the examples,
`web` is a service, `production` an environment, and `ops` what `uici init ops` has made.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, command in all_commands():
        parts += [f"## uici {name}", *_section(name, command)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def all_commands() -> Iterator[tuple[str, TyperCommand]]:
    """Name and command, in the order of `uici --help`; of a group, what is in it."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for name, command in root.commands.items():
        if isinstance(command, TyperGroup):
            for inner, found in command.commands.items():
                assert isinstance(found, TyperCommand)
                yield f"{name} {inner}", found
        elif not command.hidden:
            assert isinstance(command, TyperCommand)
            yield name, command


def help_paragraphs(command: TyperCommand) -> list[str]:
    """What the help says, without its examples."""
    return inspect.cleandoc(command.help or "").split("\n\n")


def _section(name: str, command: TyperCommand) -> Iterator[str]:
    for paragraph in help_paragraphs(command):
        yield " ".join(paragraph.split())
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join(_metavar(p) for p in arguments)
    yield f"`uici {name} {words}".strip() + "`"
    wide = max(len(line) for line, _ in EXAMPLES[name])
    shown = (f"$ {line:{wide}}  # {what}" for line, what in EXAMPLES[name])
    yield "```console\n" + "\n".join(shown) + "\n```"
    rows = [f"| `{_metavar(p)}` | {_told(p)} |" for p in arguments]
    rows += [
        f"| {_option(p)} | {_told(p)} |"
        for p in command.params
        if p.param_type_name == "option" and "--help" not in p.opts
    ]
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows])


def _metavar(parameter: Any) -> str:
    name = (parameter.metavar or str(parameter.name).upper()).strip("[]")
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len, reverse=True))
    if parameter.is_flag:
        return names
    metavar = parameter.metavar or str(parameter.name).upper()
    return f"{names} `{metavar}`"


def _told(parameter: Any) -> str:
    text = " ".join((getattr(parameter, "help", "") or "").split())
    default = parameter.default
    if parameter.required and parameter.param_type_name == "option":
        text += " Required."
    elif isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        text += f" Default: `{default}`."
    return text.replace("|", "\\|").strip()
