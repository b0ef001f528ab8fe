"""What a commit meant for a service: one that only looks as if it changed nothing is a suspect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes.loop import LoopWorld, loop_world, service_yaml

TARGET = "local-docker/a"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        yield opened


def idle(world: LoopWorld) -> dict[str, bool]:
    """Subject of a commit → whether it changed nothing of the target."""
    git = world.runtime.git
    changes = git.changes(git.desired(), [TARGET], limit=5, since=LONG_AGO, judged=[TARGET])
    return {change.subject: TARGET in change.same_for for change in changes}


def declared(value: str) -> str:
    return service_yaml("a", env={"M": "VALUE"}).replace("VALUE", value)


@pytest.mark.parametrize(
    ("before", "after"), [("1", "true"), ("1.0", "1"), ("0", "false"), ("'1'", "'true'")]
)
def test_values_that_only_compare_alike_are_a_change(
    world: LoopWorld, before: str, after: str
) -> None:
    world.commit("base", a=declared("z"))
    world.commit("one", a=declared(before))
    first = world.runtime.git.desired().services[TARGET]
    world.commit("the culprit", a=declared(after))
    second = world.runtime.git.desired().services[TARGET]
    assert first.spec_digest != second.spec_digest
    assert idle(world)["the culprit"] is False


@pytest.mark.parametrize(("before", "after"), [("z", "'z'"), ("z", "z # a comment")])
def test_the_same_in_other_words_is_none(world: LoopWorld, before: str, after: str) -> None:
    world.commit("base", a=declared("y"))
    world.commit("one", a=declared(before))
    world.commit("words", a=declared(after))
    assert idle(world)["words"] is True


def test_what_a_revert_took_back_while_it_was_refused_was_never_in_force(world: LoopWorld) -> None:
    good = declared("debug")
    world.commit("base", a=declared("info"))
    world.commit("the culprit", a=good)
    world.commit("oops", a=good.replace("spec:\n", "spec:\n  replcas: 1\n"))
    world.commit("revert oops", a=good)
    found = idle(world)
    assert found["oops"]
    assert found["revert oops"]
    assert not found["the culprit"]


def test_what_was_refused_comes_into_force_with_the_commit_that_mends_it(world: LoopWorld) -> None:
    good = declared("debug")
    world.commit("base", a=declared("info"))
    world.commit("the culprit", a=good.replace("spec:\n", "spec:\n  replcas: 1\n"))
    world.commit("a comment", a=good.replace("spec:\n", "spec: # why\n  replcas: 1\n"))
    world.commit("mended", a=good)
    assert refused(world) == {"the culprit", "a comment"}
    found = idle(world)
    assert (found["mended"], found["a comment"], found["the culprit"]) == (False, True, False)


def test_another_service_s_mistake_holds_back_what_stands_beside_it(world: LoopWorld) -> None:
    """The mending commit says the same of this service, and it is the one in force."""
    other = service_yaml("b")
    both = "---\n".join([declared("debug"), other.replace("image", "imag")])
    world.commit("base", a="---\n".join([declared("info"), other]))
    world.commit("the culprit", a=both)
    world.commit("mended", a="---\n".join([declared("debug"), other]))
    assert refused(world) == {"the culprit"}
    assert not any(idle(world).values())


def refused(world: LoopWorld) -> set[str]:
    git = world.runtime.git
    changes = git.changes(git.desired(), [TARGET], limit=5, since=LONG_AGO, judged=[TARGET])
    return {change.subject for change in changes if TARGET in change.refused_for}
