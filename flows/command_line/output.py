"""What every command shows things with: consoles, tables, sections; and what `run` and reports say.

Text from outside is never markup here: it is printed through `escape`, and reports are
cleaned when they are rendered. Neighbours: `plan_view`, `status_table`, `report_view`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape as as_text
from rich.table import Table

from flows.command_line.hints import here, in_others_words, in_report, outside_fences
from flows.command_line.sentence import Sentence
from flows.command_line.terminal import printable
from infrastructure.operations import OperationOutcome


def new_console() -> Console:
    """Wide where nobody watches, so that lines are whole for grep."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def escape(text: object) -> str:
    """Text from outside, fit for a console: no markup, and one line.

    A line of its own could pass for one of ours, or for a command to who reads a pipeline's log.
    """
    return as_text(printable(text))


def new_table(*headings: str) -> Table:
    """An empty table as all commands show them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_sections(headline: str, sections: Mapping[str, Iterable[Sentence]]) -> None:
    """A headline, then headings with their lines; a section without lines is left out."""
    console = new_console()
    console.print(f"[bold]{escape(headline)}[/]")
    for heading, lines in sections.items():
        told = [f"  {escape(line.shown)}" for line in lines]
        if told:
            console.print(f"\n[bold]{heading}[/]")
            console.print("\n".join(told))


def outcome_data(outcome: OperationOutcome) -> dict[str, Any]:
    """What an operation that changes nothing has answered."""
    return {
        "operation": outcome.call.operation,
        "target": outcome.call.target,
        "status": outcome.status.value,
        "seconds": round(outcome.seconds, 3),
        "output": outcome.output,
        "error": outcome.error,
        "remedy": outcome.remedy,
    }


def print_outcome(data: Mapping[str, Any]) -> None:
    """`uici run` of a read."""
    console = new_console()
    if data["error"]:
        remedy = here(f" ({data['remedy']})") if data["remedy"] else ""
        error = in_others_words(data["error"])  # an engine's, or a service's
        console.print(f"[red]{data['status']}[/]  {escape(error + remedy)}")
    output = data["output"]
    if isinstance(output, str):
        console.print("\n".join(map(escape, output.split("\n"))))
    elif output is not None:
        quiet = json.dumps(output, ensure_ascii=False).isprintable()
        console.print_json(data=output, ensure_ascii=not quiet)


def print_markdown(text: str) -> None:
    """A report: rendered for a terminal, as it is for a pipe."""
    # Cleaned when it was rendered; but this one comes from a branch, and from whoever can push.
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    if sys.stdout.isatty():
        # A terminal folds nothing away: what can be folded has a heading.
        text = _FOLD.sub(r"**\1:**", text).replace("\n</details>\n", "\n")
        text = _KNOWLEDGE.sub(r"`uici knowledge \1`", text)
        Console().print(Markdown(in_report(text)))
    else:
        text = outside_fences(_KNOWLEDGE.sub(r"`uici knowledge \1`", text), _as_typed)
        sys.stdout.write(in_report(text))


def _as_typed(line: str) -> str:
    """Markdown that means the same, and that a person reads more easily than an entity."""
    for entity, typed in _ENTITIES.items():
        line = line.replace(entity, typed)
    return line


_ENTITIES = {
    "&#96;": "\\`",
    "&#124;": "\\|",
    "&gt;": "\\>",
    "&lt;": "\\<",
    "&amp;": "\\&",
    "&#92;": "\\\\",
}


# Outside the reports branch its paths lead nowhere: a command says the same.
_KNOWLEDGE = re.compile(r"\[[^\]\n]*\]\([^)\s]*knowledge/([\w.-]+)\.yml\)")
_FOLD = re.compile(r"^<details><summary>(.*)</summary>$", re.MULTILINE)
