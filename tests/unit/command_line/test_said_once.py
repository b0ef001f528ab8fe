"""An error that is known in several places is said once, and no other takes its place."""

from __future__ import annotations

import pytest

from flows.command_line.said_once import Said, said_once
from flows.command_line.sentence import Command, sentence

PULL = "pull access denied for registry.example.org/team/web-of-everything:"
FIRST = f"{PULL}1.2, repository does not exist"
KNOWN = Said(FIRST, "see the first line")


def told(*lines: str) -> list[str]:
    ((*found,),) = said_once([KNOWN], FIRST, [[sentence(line) for line in lines]])
    return [str(line) for line in found]


def test_the_same_and_the_same_cut_short_refer_to_it() -> None:
    assert told(f"the last try: {FIRST}") == ["the last try: see the first line"]
    assert told(f"the last try: {FIRST[:70]}…") == ["the last try: see the first line"]
    assert told(f"it was ({FIRST}), so") == ["it was (see the first line), so"]


def test_what_only_begins_alike_is_said_whole() -> None:
    other = f"{PULL}1.3, repository exists"
    assert told(f"the last try: {other}") == [f"the last try: {other}"]
    assert told(f"{other}; {FIRST}") == [f"{other}; see the first line"]


@pytest.mark.parametrize("limit", [1, 5, 12, 20, 40])
def test_a_sentence_that_is_cut_has_at_most_so_many_characters(limit: int) -> None:
    line = sentence(" aaaaaaaaaaaa ", Command("x"), " bbbb ", " ", "cc")
    assert len(str(line.cut(limit))) <= max(limit, len("uici x"))
