"""Files of `knowledge/`: anyone may have written them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.learning.incident_class import class_name
from flows.learning.learn import Standing, standing
from flows.learning.shelf import Shelf, knowledge_text, parse_knowledge
from infrastructure.errors import InvalidInputError
from tests.unit.learning.made import STOPPED, after_three, only, shelf_of

NAME = class_name(STOPPED)
DOCS = Path(__file__).parents[3] / "docs/how-to"
EXAMPLE = DOCS / "knowledge-example/docker-crashlooping-out-of-memory.yml"


def test_what_is_written_is_read_back() -> None:
    shelf = after_three()
    known = shelf.get(NAME)
    assert known is not None
    assert parse_knowledge(knowledge_text(known), NAME) == known
    assert shelf.problems() == ()


def test_the_example_of_the_how_to_is_a_file_of_knowledge() -> None:
    known = parse_knowledge(EXAMPLE.read_bytes(), EXAMPLE.stem)
    states = [standing(known, each, 3) for each in known.resolutions]
    assert states == [Standing.TRUSTED, Standing.DISABLED]


def test_the_how_to_shows_the_example() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "knowledge.md").read_text(), re.DOTALL)
    assert yaml.safe_load(block) == yaml.safe_load(EXAMPLE.read_text())


GOOD = shelf_of({}).files[NAME].decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 documents"),
        (GOOD + "---\n" + GOOD, "2 documents"),
        ("{", "not valid YAML"),
        ("kind: !!python/object:os.system x", "tag"),
        (GOOD.replace("Knowledge", "Runbooks"), "kind"),
        (GOOD.replace("uici/v1", "uici/v9"), "apiVersion"),
        (GOOD + "surprise: 1\n", "surprise is not a known field"),
        (GOOD.replace("- Stopped", "- Missing"), "docker-missing"),
        (
            GOOD.replace("class: docker-stopped", "class: docker-other"),
            "class is not docker-stopped",
        ),
        (GOOD.replace("inARow: 0", "inARow: 5"), "inARow is greater"),
        (GOOD.replace("inARow: 0", "inARow: 0\n  trusted: true"), "need a reason"),
        (GOOD.replace("successes: 0", "successes: -1"), "successes"),
        (GOOD.replace("successes: 0", "successes: .inf"), "successes"),
    ],
)
def test_a_damaged_file_is_named_with_its_mistake_and_counts_as_absent(text: str, why: str) -> None:
    shelf = Shelf({NAME: text.encode()})
    assert shelf.get(NAME) is None
    assert shelf.all() == {}
    told = " ".join(map(str, shelf.problems()))
    assert f"knowledge/{NAME}.yml" in told
    assert why in told


@given(
    st.binary(max_size=400)
    | st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace"))
)
def test_no_content_is_an_error(content: bytes) -> None:
    shelf = Shelf({NAME: content})
    if shelf.get(NAME) is None:
        assert shelf.problems()


def test_nothing_is_read_before_it_is_asked_for() -> None:
    shelf = Shelf({NAME: b"{", "docker-missing": b"{"})
    assert shelf.problems() == ()
    shelf.get(NAME)
    assert {problem.file for problem in shelf.problems()} == {f"knowledge/{NAME}.yml"}


def test_a_class_that_is_not_there_is_none() -> None:
    assert Shelf().get(NAME) is None
    assert only(shelf_of({})).successes == 0
    with pytest.raises(InvalidInputError):
        parse_knowledge(b"x", NAME)
