"""Variables in compose files: `$NAME`, `${NAME:-default}` and its kin.

Source of the forms: the interpolation chapter of the Compose Specification. Values come from
the file `.env` beside the compose file and from nowhere else: a process environment would
make the same commit mean different things on different machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_MOST_NESTED = 16
# A value made of values made of values must not fill the memory.
_MOST_CHARACTERS = 100_000


class VariableError(ValueError):
    """A text can't be filled in; the message says what is wrong with it."""


class BudgetSpentError(VariableError):
    """All texts of a file together have become too long; the message says how long."""


class Budget:
    """How many characters the texts of one project may have when they are filled in.

    One text is bounded by itself, but a short file can have many of them, all with the same
    long value.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent = 0

    def spend(self, characters: int) -> None:
        """Count some more.

        Raises:
            BudgetSpentError: they are too many now.
        """
        self._spent += characters
        if self._spent > self._limit:
            raise BudgetSpentError(
                f"variables fill the project's files up to more than {self._limit} characters"
            )


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its variables filled in; `unset` are names that had no value."""

    text: str
    unset: tuple[str, ...] = ()


def fill(text: str, values: Mapping[str, str], budget: Budget | None = None) -> Filled:
    """The text with every variable replaced; what has no value is replaced by nothing.

    Args:
        text: without variables it costs nothing.
        values: of the variables.
        budget: is charged with the text before and after; None: nobody counts.

    Raises:
        VariableError: a variable that has to be set is not, or its form is unknown.
        BudgetSpentError: there were too many such texts before.
    """
    if "$" not in text:
        return Filled(text)
    if budget is not None:
        budget.spend(len(text))
    filler = _Filler(values)
    filled = filler.fill(text, 0)
    if budget is not None:
        budget.spend(len(filled))
    return Filled(filled, tuple(dict.fromkeys(filler.unset)))


def sole_variable(text: str) -> str | None:
    """The name if the whole text is one variable, `$NAME` or `${NAME}`."""
    match = re.fullmatch(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", text, re.ASCII)
    return (match[1] or match[2]) if match else None


class _Filler:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.unset: list[str] = []

    def fill(self, text: str, depth: int) -> str:
        if depth > _MOST_NESTED:
            raise VariableError(f"variables are nested deeper than {_MOST_NESTED} levels")
        made, position = "", 0
        while (dollar := text.find("$", position)) >= 0:
            made += text[position:dollar]
            replacement, position = self._variable(text, dollar, depth)
            made += replacement
            if len(made) > _MOST_CHARACTERS:
                raise VariableError(f"it is longer than {_MOST_CHARACTERS} characters when filled")
        return made + text[position:]

    def _variable(self, text: str, dollar: int, depth: int) -> tuple[str, int]:
        """What stands for the variable at `dollar`, and where the text goes on."""
        if text.startswith("$$", dollar):
            return "$", dollar + 2
        if text.startswith("${", dollar):
            end = _closing(text, dollar + 2)
            return self._braced(text[dollar + 2 : end], depth), end + 1
        match = _NAME.match(text, dollar + 1)
        if match is None:
            return "$", dollar + 1
        return self._plain(match[0]), match.end()

    def _plain(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            self.unset.append(name)
        return value or ""

    def _braced(self, inside: str, depth: int) -> str:
        match = _NAME.match(inside)
        if match is None:
            raise VariableError(f"${{{inside}}} does not begin with the name of a variable")
        name, rest = match[0], inside[match.end() :]
        if not rest:
            return self._plain(name)
        operator = next((o for o in _OPERATORS if rest.startswith(o)), None)
        if operator is None:
            raise VariableError(f"${{{inside}}} has a form that compose files do not have")
        return self._operated(name, operator, rest[len(operator) :], depth)

    def _operated(self, name: str, operator: str, operand: str, depth: int) -> str:
        value = self._values.get(name)
        present = value is not None and (value != "" or not operator.startswith(":"))
        match operator[-1]:
            case "-":
                return (value or "") if present else self.fill(operand, depth + 1)
            case "+":
                return self.fill(operand, depth + 1) if present else ""
            case _:
                if not present:
                    raise VariableError(f"{name} has to be set: {operand or 'the file says so'}")
                return value or ""


def _closing(text: str, start: int) -> int:
    """The index of the brace that ends what begins at `start`."""
    depth = 1
    for index in range(start, len(text)):
        if text.startswith("${", index - 1) and index > start:
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise VariableError("${ has no closing brace")
