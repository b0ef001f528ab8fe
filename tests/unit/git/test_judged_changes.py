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
