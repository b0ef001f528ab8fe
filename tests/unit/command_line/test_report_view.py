"""`uici report` as a list, and `--publish`: what a person asks for, and what is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.command_line import progress, publishing, report_view
from infrastructure.errors import InvalidInputError, NotFoundError, PermanentError
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

PAGES = {"every": "1h", "days": 30, "rows": 200}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    quick = {"guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}}
    with loop_world(tmp_path, platform={**quick, "reports": {"pages": PAGES}}) as made:
        made.commit(shop=service_yaml("shop"), db=service_yaml("db"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        for name in ("shop", "db"):
            made.engine.kill(name)
            made.run()
            time.sleep(1.01 - time.time() % 1)  # of one second, reports lie in no order
        yield made


def test_lists_are_by_day_and_target(world: LoopWorld, capsys: pytest.CaptureFixture[str]) -> None:
    git = world.runtime.git
    assert [r.title.partition(":")[0] for r in report_view.listed_runs(git)] == ["db", "shop"]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert len(report_view.listed_runs(git, day=today)) == 2
    for target in ("shop", "local-docker/shop"):
        [one] = report_view.listed_runs(git, target=target)
        assert one.title.startswith("shop: ")
    report_view.show(report_view.listed_runs(git))
    told = capsys.readouterr().out
    assert "recovered" in told
    assert "\x1b" not in told  # no terminal, no colour
    data = report_view.as_data(report_view.listed_runs(git, target="db"))
    assert [i["root"] for i in data["items"][0]["incidents"]] == ["local-docker/db"]


def test_what_is_not_there_is_said(world: LoopWorld) -> None:
    git = world.runtime.git
    with pytest.raises(NotFoundError, match="no report on 2020-01-01 about shop"):
        report_view.listed_runs(git, day="2020-01-01", target="shop")
    with pytest.raises(NotFoundError, match="about nobody"):
        report_view.listed_runs(git, target="nobody")
    today = datetime.now(UTC)
    for odd in ("yesterday", f"{today:%G-W%V-%u}", f"{today:%Y%m%d}", f"{today:%Y-%j}", "2026-1-2"):
        with pytest.raises(InvalidInputError, match="no day"):
            report_view.listed_runs(git, day=odd)


def test_publishing_says_what_was_written(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    done = publishing.publish(world.runtime)
    publishing.show(done, as_json=False)
    assert "published: commit " in capsys.readouterr().out
    publishing.show(done, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["pushed"]) == ("Publication", True)
    again = publishing.publish(world.runtime)
    publishing.show(again, as_json=False)
    assert "up to date" in capsys.readouterr().out


def test_without_pages_publishing_says_where_to_set_them(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world, pytest.raises(PermanentError, match=r"platform\.yml"):
        publishing.publish(world.runtime)


def test_a_spinner_says_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.busy("reading"):
        pass
    assert capsys.readouterr() == ("", "")
