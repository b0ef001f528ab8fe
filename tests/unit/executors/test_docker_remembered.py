"""An inspect is read once for as long as the engine says the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from executors.docker.remembered import RememberedInstances
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    NativeObject,
    ObservedInstance,
)

ANSWER = b'{"Id": "a", "State": {"Status": "running", "ExitCode": 0}, "Env": ["A=1"]}'


def reading(read: list[Any]) -> Callable[[Any], Callable[[], ObservedInstance]]:
    """Makes an instance of an answer and notes that it did."""

    def of(answer: Any) -> Callable[[], ObservedInstance]:
        def make() -> ObservedInstance:
            read.append(answer)
            return ObservedInstance(
                native=NativeObject("container", "a", f"made {len(read)}", {}),
                state=InstanceState.RUNNING,
                health=EngineHealth.NONE,
            )

        return make

    return of


def test_the_same_answer_is_the_same_instance() -> None:
    read: list[Any] = []
    known, of = RememberedInstances(), reading(read)
    first = known.instance("a", ANSWER, {}, of(ANSWER))
    again = bytes(bytearray(ANSWER))  # equal, and another object
    assert known.instance("a", again, {}, of(again)) is first
    assert len(read) == 1


def test_any_other_answer_is_read_anew() -> None:
    read: list[Any] = []
    known, of = RememberedInstances(), reading(read)
    known.instance("a", ANSWER, {}, of(ANSWER))
    other = ANSWER.replace(b"A=1", b"A=2")
    known.instance("a", other, {}, of(other))
    assert read == [ANSWER, other]


def test_what_is_to_be_compared_counts_too_and_so_does_the_container() -> None:
    read: list[Any] = []
    known, of = RememberedInstances(), reading(read)
    known.instance("a", ANSWER, {}, of(ANSWER))
    known.instance("a", ANSWER, {"HostConfig": {}}, of(ANSWER))
    known.instance("b", ANSWER, {"HostConfig": {}}, of(ANSWER))
    assert len(read) == 3


def test_what_is_gone_is_forgotten() -> None:
    read: list[Any] = []
    known, of = RememberedInstances(), reading(read)
    for name in ("a", "b"):
        known.instance(name, ANSWER, {}, of(ANSWER))
    known.keep(["b"])
    for name in ("a", "b"):
        known.instance(name, ANSWER, {}, of(ANSWER))
    assert len(read) == 3


def test_an_answer_that_could_not_be_read_is_not_remembered() -> None:
    known = RememberedInstances()

    def fail() -> ObservedInstance:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 - it is our own
            known.instance("a", ANSWER, {}, fail)
