"""The last good commit is the newest that is good, whether or not a run has seen it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.loop import LoopWorld, loop_world, service_yaml

TARGET = "local-docker/a"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        yield opened


def image(world: LoopWorld) -> str:
    return world.runtime.git.desired().services[TARGET].spec.image


def test_what_was_mended_between_two_looks_is_in_force(world: LoopWorld) -> None:
    world.commit("base", a=service_yaml("a", image="a:1"))
    assert image(world) == "a:1"
    world.commit("an image that is not there", a=service_yaml("a", image="a:2"))
    assert image(world) == "a:2"
    mended = world.commit("its revert", a=service_yaml("a", image="a:1"))
    world.commit("a typo", a="no: service\n")
    for _ in range(2):
        assert image(world) == "a:1"
        assert world.runtime.git.desired().revision.endswith(mended)
    world.commit("another typo", a="neither: a service\n")
    assert image(world) == "a:1"


def test_where_nothing_good_came_between_the_one_that_was_seen_stays(world: LoopWorld) -> None:
    seen = world.commit("base", a=service_yaml("a", image="a:1"))
    assert image(world) == "a:1"
    world.commit("a typo", a="no: service\n")
    world.commit("another", a="nor: this\n")
    assert world.runtime.git.desired().revision.endswith(seen)
