"""Variables and environment files, by the forms that the Compose Specification lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.sources.draft import Findings
from infrastructure.sources.env_file import parse_env_file
from infrastructure.sources.variables import VariableError, fill, sole_variable

VALUES = {"SET": "x", "EMPTY": "", "_2": "y"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("$SET-${SET}", "x-x"),
        ("$_2", "y"),
        ("$$SET", "$SET"),
        ("$$$SET", "$x"),
        ("5$", "5$"),
        ("a $1 b", "a $1 b"),
        ("${SET:-d}${EMPTY:-d}${NONE:-d}", "xdd"),
        ("${SET-d}${EMPTY-d}${NONE-d}", "xd"),
        ("${SET:+r}${EMPTY:+r}${NONE:+r}", "r"),
        ("${SET+r}${EMPTY+r}${NONE+r}", "rr"),
        ("${SET:?e}${EMPTY?e}", "x"),
        ("${NONE:-${SET}}", "x"),
        ("${NONE:-${ALSO:-${SET}-z}}", "x-z"),
        ("${NONE:-$SET}", "x"),
        ("${NONE:-a:b}", "a:b"),
        ("${NONE:-}", ""),
    ],
)
def test_each_form(text: str, filled: str) -> None:
    found = fill(text, VALUES)
    assert (found.text, found.unset) == (filled, ())


def test_what_has_no_value_is_named_once() -> None:
    found = fill("$A ${B} $A", {})
    assert (found.text, found.unset) == ("  ", ("A", "B"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NONE:?say it}", "NONE has to be set: say it"),
        ("${EMPTY:?}", "EMPTY has to be set"),
        ("${SET/a/b}", "form"),
        ("${SET", "closing brace"),
        ("${}", "name of a variable"),
        ("${1}", "name of a variable"),
        ("${A:-" * 20 + "}" * 20, "nested"),
    ],
)
def test_what_can_not_be_filled(text: str, said: str) -> None:
    with pytest.raises(VariableError, match=said):
        fill(text, VALUES)


@given(st.text())
def test_a_text_without_dollars_stays_and_doubled_ones_are_halved(text: str) -> None:
    assert fill(text.replace("$", "$$"), {}).text == text


@given(st.text(alphabet="${}:-?+AB "))
def test_nothing_but_variable_errors_ever_comes_out(text: str) -> None:
    with contextlib.suppress(VariableError):
        assert "A" not in fill(text, {"A": "$B"}).unset


def test_a_value_is_not_filled_in_again() -> None:
    assert fill("$A", {"A": "$B"}).text == "$B"


@pytest.mark.parametrize(
    ("text", "name"), [("$A", "A"), ("${A_1}", "A_1"), ("${A:-}", None), ("x$A", None), ("", None)]
)
def test_a_sole_variable(text: str, name: str | None) -> None:
    assert sole_variable(text) == name


def env(text: str) -> tuple[dict[str, str | None], list[str]]:
    findings = Findings()
    found = parse_env_file(text.encode(), file=".env", values={"OUT": "o"}, findings=findings)
    return {k: v.value for k, v in found.items()}, [str(p) for p in findings.errors]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=VAL", "VAL"),
        ('A="VAL"', "VAL"),
        ("A='VAL'", "VAL"),
        ("A=VAL # comment", "VAL"),
        ("A=VAL# not", "VAL# not"),
        ('A="VAL # not"', "VAL # not"),
        ('A="VAL" # comment', "VAL"),
        ("A='$OUT'", "$OUT"),
        ("A='${OUT}'", "${OUT}"),
        ('A="$OUT"', "o"),
        ("A=${OUT}p", "op"),
        ("A='Let\\'s go!'", "Let's go!"),
        ('A="{\\"hello\\": \\"json\\"}"', '{"hello": "json"}'),
        ('A="some\\tvalue"', "some\tvalue"),
        ("A='some\\tvalue'", "some\\tvalue"),
        ('A="one\ntwo"', "one\ntwo"),
        ("export A=x", "x"),
        ("A=", ""),
        ("A", None),
        ("OUT", "o"),
        ("A = b", "b"),
        ("A: b", "b"),
        ("A=a=b", "a=b"),
    ],
)
def test_each_line_of_an_environment_file(line: str, value: str | None) -> None:
    found, errors = env(f"# first\n\n{line}\n")
    assert errors == []
    assert list(found.values()) == [value]


def test_later_lines_see_and_replace_earlier_ones() -> None:
    assert env("A=1\nB=${A}2\nA=3\n")[0] == {"A": "3", "B": "12"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=x", ".env:1:1: this line is no variable"),
        ("B=1\nA='open", ".env:2:1: a quote is not closed"),
        ("A='x' y", ".env:1:1: something stands after"),
        ("A=$NONE", ".env:1:1: the variable NONE has no value"),
        ("A=${NONE:?why}", ".env:1:1: NONE has to be set: why"),
    ],
)
def test_mistakes_of_an_environment_file_have_a_line(text: str, said: str) -> None:
    _, errors = env(text)
    assert len(errors) == 1
    assert errors[0].startswith(said)


def test_an_environment_file_that_is_no_text() -> None:
    findings = Findings()
    assert parse_env_file(b"A=\xff", file=".env", values={}, findings=findings) == {}
    assert "UTF-8" in str(findings.errors[0])


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text()))
def test_values_in_double_quotes_come_back(values: dict[str, str]) -> None:
    plain = {k: "".join(c for c in v if c.isprintable()) for k, v in values.items()}
    escaped = {
        k: v.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") for k, v in plain.items()
    }
    text = "".join(f'{key}="{value}"\n' for key, value in escaped.items())
    found, errors = env(text)
    assert errors == []
    assert found == plain
