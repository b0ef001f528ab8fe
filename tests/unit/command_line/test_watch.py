"""`--watch`: again and again, through what passes by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer

from flows.command_line.commands.parsing import seconds
from flows.command_line.watch import Show, watch
from infrastructure.errors import PermanentError, TemporaryError


class _Looks:
    """Pictures in their order; an error is raised in its place."""

    def __init__(self, *pictures: str | Exception) -> None:
        self._left: Iterator[str | Exception] = iter(pictures)

    def __call__(self) -> Show:
        picture = next(self._left)
        if isinstance(picture, Exception):
            raise picture
        return lambda: print(picture)  # noqa: T201 - what a command would show


def test_each_picture_is_shown_after_the_time_between(capsys: pytest.CaptureFixture[str]) -> None:
    slept: list[float] = []
    watch(_Looks("one", "two", "three"), every=2.5, sleep=slept.append, rounds=3)
    out = capsys.readouterr().out
    assert [word for word in out.split() if word in {"one", "two", "three"}] == [
        "one",
        "two",
        "three",
    ]
    assert out.count("every 2.5 s") == 3
    assert slept == [2.5, 2.5]
    assert "\x1b" not in out  # a pipe gets no terminal commands


def test_a_remote_that_is_away_is_told_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    looks = _Looks("one", TemporaryError("the [remote] is away"), "two")
    watch(looks, every=1, sleep=lambda _: None, rounds=3)
    out = capsys.readouterr().out
    assert "not now  the [remote] is away" in out
    assert out.index("one") < out.index("not now") < out.index("two")


def test_what_does_not_pass_by_itself_ends_it() -> None:
    with pytest.raises(PermanentError):
        watch(_Looks("one", PermanentError("wrong")), every=1, sleep=lambda _: None, rounds=3)


def test_ctrl_c_ends_it_between_two_looks() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(_Looks("one", "two"), every=1, sleep=interrupted)


@pytest.mark.parametrize(
    ("text", "expected"), [("5", 5), ("0.5", 0.5), ("5s", 5), ("1m30s", 90), ("500ms", 0.5)]
)
def test_how_often_is_a_number_or_a_duration(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["--config", "five", "", "0.1", "-5", "nan", "inf", "2d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"no time: say how often|not within"):
        seconds(text)
