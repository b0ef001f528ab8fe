from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import InvalidInputError, Problem
from infrastructure.yaml_source import YamlDocument, parse_yaml
from tests.strategies import json_values

FILE = "state/a.yml"


def parse(text: str | bytes) -> tuple[YamlDocument, ...]:
    content = text.encode() if isinstance(text, str) else text
    return parse_yaml(content, file=FILE, max_bytes=100_000)


def refused(text: str | bytes) -> list[Problem]:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    return list(caught.value.problems)


def test_places_of_keys_and_values_are_known() -> None:
    (document,) = parse("a:\n  b: [x, {c: 'y'}]\n")
    assert document.position(("a",), of_key=True) == (1, 1)
    assert document.position(("a", "b"), of_key=True) == (2, 3)
    assert document.position(("a", "b", 0)) == (2, 7)
    assert document.position(("a", "b", 1, "c")) == (2, 14)
    assert document.position(("a", "b", 1, "c"), of_key=True) == (2, 11)


def test_what_is_missing_is_placed_at_the_nearest_key_above() -> None:
    (document,) = parse("a:\n  b:\n    c: 1\n")
    assert document.position(("a", "b", "missing", "deeper")) == (2, 3)
    assert document.position(("missing",)) == (1, 1)
    assert document.position(("a", 3)) == (1, 1)


def test_lines_go_on_counting_in_later_documents() -> None:
    first, second = parse("---\na: 1\n---\n---\nb: 2\n")
    assert first.position(("a",)) == (2, 4)
    assert second.position(("b",)) == (5, 4)


def test_a_file_without_values_has_no_document() -> None:
    assert parse("") == ()
    assert parse("# only a comment\n---\n# another\n") == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("22:22", "22:22"),
        ("2026-12-01", "2026-12-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5e3", 1500.0),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("9" * 40, "9" * 40),
        ("'5'", "5"),
        ("-", None),
    ],
)
def test_words_follow_yaml_1_2(text: str, value: object) -> None:
    if text == "-":
        assert parse("a: [-1, '-']")[0].data == {"a": [-1, "-"]}
        return
    (document,) = parse(f"a: {text}\n")
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_a_number_keeps_how_it_was_written() -> None:
    (document,) = parse("a: 1.10\nb: {c: x}\n")
    assert document.written(("a",)) == "1.10"
    assert document.written(("b",)) is None
    assert document.written(("b", "d", "e")) is None


def test_aliases_and_merges_are_followed() -> None:
    (document,) = parse("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\nw: {<<: [{b: 9}, *x]}\n")
    assert document.data["y"] == {"a": 1, "b": 3}
    assert document.data["z"] == {"a": 1, "b": 2}
    assert document.data["w"] == {"a": 1, "b": 9}
    assert document.position(("y", "a")) == (1, 11)
    assert document.position(("y", "b")) == (2, 16)


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "remedy"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "a is written twice", "the first is on line 1"),
        ("a: [1\nb: 2\n", 2, 2, "began on line 1", "bracket is missing"),
        ("a: b: c\n", 1, 5, "not valid YAML", "in quotes"),
        ("a:\n\t- b\n", 2, 1, "not valid YAML", "tabs"),
        ("a: 'b\n", 2, 1, "not valid YAML", "not closed"),
        ("a: !!python/object:os.system x\n", 1, 4, "the tag", "alone"),
        ("a: *b\n", 1, 4, "*b has no anchor", "&b"),
        ("a: &a [*a]\n", 1, 8, "*a has no anchor", "&a"),
        ("a: {{ x }}\n", 1, 5, "a plain word", "needs quotes"),
        ("? \n: 1\n", 1, 2, "a key is missing", "its name"),
        ("a:\n  <<: 5\n", 2, 3, "<< takes a mapping", "alias"),
        ("a: x\x07y\n", 1, 5, "a control character", ""),
        (b"a: 1\nb: \xff\n", 2, 4, "not UTF-8", "UTF-8"),
        ("a: " + "[" * 80 + "]" * 80, 1, 67, "nested deeper than 64", "flatten"),
    ],
)
def test_a_mistake_has_its_place_and_a_next_step(
    text: str | bytes, line: int, column: int, message: str, remedy: str
) -> None:
    problem = refused(text)[0]
    assert (problem.file, problem.line, problem.column) == (FILE, line, column)
    assert message in problem.message
    assert remedy in problem.remedy


def test_several_mistakes_are_told_at_once() -> None:
    assert [problem.line for problem in refused("a: 1\na: 2\nb: !x 1\nc: *d\n")] == [2, 3, 4]


def test_a_file_above_the_limit_is_not_read() -> None:
    problem = refused(b"#" * 100_001)[0]
    assert (problem.line, problem.column) == (0, 0)
    assert "100000" in problem.message


def test_a_yaml_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.process_time()
    assert "aliases expand" in refused("\n".join(lines))[0].message
    assert time.process_time() - started < 1


def test_deep_nesting_can_not_overflow_the_stack() -> None:
    assert refused(b"[" * 100_000)[0].message.startswith("nested deeper")
    assert refused(b"{a: " * 25_000)[0].message.startswith("nested deeper")


def outcome(content: bytes) -> tuple[YamlDocument, ...] | tuple[Problem, ...]:
    try:
        return parse(content)
    except InvalidInputError as exc:
        return exc.problems or pytest.fail("refused without a reason")


@given(st.one_of(st.text(), st.text("[]{}&*!|>'\"%@`#,:-? \n\tab01<~.$")))
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    for each in outcome(text.encode("utf-8", "surrogatepass")):
        assert isinstance(each, YamlDocument) or "\n" not in each.message


@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    for each in outcome(content):
        assert each.file == FILE


@given(st.dictionaries(st.text("abc", min_size=1), json_values, min_size=1))
def test_what_was_written_is_read_back(data: dict[str, object]) -> None:
    (document,) = parse(json.dumps(data))  # JSON is YAML 1.2
    assert document.data == data
