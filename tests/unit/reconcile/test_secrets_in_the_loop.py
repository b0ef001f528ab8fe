"""Secrets that are ordinary words, rotated, or not to be resolved here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.errors import PermanentError
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml

AT_ONCE: dict[str, Any] = {
    "compare": {"grace": {"confirmAfter": "0s"}},
    "guard": {"policy": {"backoff": {"initial": "1h", "max": "1h"}}},
}
TARGET = "local-docker/shop"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=AT_ONCE) as made:
        yield made


def declared(world: LoopWorld, reference: str) -> None:
    world.commit(shop=service_yaml("shop", env={"DSN": {"secret": reference}}))
    for service in world.runtime.git.desired().services.values():
        world.engine.run(service)


def everything_in_git(world: LoopWorld) -> str:
    """All that was ever written to the reports branch, with messages."""
    return git(world.remote, "log", "-p", "--format=%B", "uici/reports")


@pytest.mark.parametrize("value", ["shop", "uici", "local-docker", "Ready"])
def test_a_secret_that_is_an_ordinary_word_costs_no_memory(
    world: LoopWorld, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", value)
    declared(world, "env:SHOP_DSN")
    world.engine.named("shop").end(1)
    world.engine.failures["start"] = PermanentError("start: it can't")
    world.run()
    status = world.remembered().statuses[TARGET]
    assert status.attempts is not None
    assert status.attempts.count == 1
    before = len(world.engine.calls)
    again = world.run()
    assert again.incidents == ()
    assert "backing off" in again.left_alone[TARGET]
    assert len(world.engine.calls) == before


@pytest.mark.parametrize("now", ["a-newer-one-22", None])
def test_a_secret_that_only_the_engine_knows_reaches_nobody(
    world: LoopWorld, now: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", "some-value-00")
    declared(world, "env:SHOP_DSN")
    if now is not None:
        monkeypatch.setenv("SHOP_DSN", now)
    else:
        monkeypatch.delenv("SHOP_DSN")
    world.runtime.secrets.forget()
    shop = world.engine.named("shop")
    shop.env["DSN"] = "rotated-away-11"
    shop.logs = "FATAL cannot log in with rotated-away-11"
    shop.end(1)
    report = world.run()
    assert report.incidents
    told = everything_in_git(world)
    assert "FATAL cannot log in with [redacted]" in told
    assert "rotated-away-11" not in told


def test_a_secret_that_git_no_longer_refers_to_reaches_nobody(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", "some-value-00")
    declared(world, "env:SHOP_DSN")
    shop = world.engine.named("shop")
    shop.env["DSN"] = "left-behind-33"
    shop.logs = "FATAL cannot log in with left-behind-33"
    world.commit(shop=service_yaml("shop", env={"DSN": "plain"}))
    report = world.run()
    assert [d.field for i in report.incidents for d in i.incident.drifts] == ["/env/DSN"]
    assert "left-behind-33" not in everything_in_git(world)


def test_a_secret_that_is_not_there_costs_no_attempt_and_is_tried_as_soon_as_it_is(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_DSN", raising=False)
    world.commit(shop=service_yaml("shop", env={"DSN": {"secret": "env:SHOP_DSN"}}))
    report = world.run()
    why = "create can't be done now: the secret env:SHOP_DSN is not there"
    assert [i.result.value for i in report.incidents] == ["escalated"]
    assert why in report.incidents[0].summary
    assert world.engine.calls == []
    assert world.remembered().statuses[TARGET].attempts is None
    assert world.run().incidents == ()  # told once
    monkeypatch.setenv("SHOP_DSN", "some-value-00")
    assert [i.result.value for i in world.run().incidents] == ["recovered"]
    assert world.engine.named("shop").env["DSN"] == "some-value-00"


def test_what_runs_is_started_although_it_could_not_be_made_anew(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", "some-value-00")
    declared(world, "env:SHOP_DSN")
    monkeypatch.delenv("SHOP_DSN")
    world.engine.named("shop").end(1)
    report = world.run()
    assert [call.primitive for _, call in world.engine.calls] == ["start"]
    assert [i.result.value for i in report.incidents] == ["recovered"]
