"""Who changed what runs: Git, by a commit that is named, or somebody past Git."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.report import IncidentReport
from flows.reporting.markdown import render_markdown
from flows.reporting.sentences import headline
from flows.reporting.text import unmarked
from infrastructure.cause_kinds import CauseKind
from infrastructure.errors import PermanentError
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

AT_ONCE: dict[str, Any] = {
    "compare": {"grace": {"confirmAfter": "0s"}},
    "guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}},
}
GONE = "recreate local-docker/shop: the engine has no image registry.test/shop:9: build it there"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=AT_ONCE) as made:
        made.commit(shop=service_yaml("shop"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def incident(world: LoopWorld) -> IncidentReport:
    [found] = world.run().incidents
    return found


def told(report: IncidentReport) -> str:
    return headline(report, str)


def test_a_commit_is_named_as_the_cause_and_its_author(world: LoopWorld) -> None:
    sha = world.commit("use level debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    found = incident(world)
    assert found.plan.cause is not None
    assert found.plan.cause.kind is CauseKind.CHANGED_IN_GIT
    assert f"(commit {sha[:10]} by ann: use level debug)" in found.plan.diagnosis
    assert f"since commit {sha[:10]} by ann → recreate → recovered" in told(found)


def test_what_was_changed_past_git_is_not_laid_to_a_commit(world: LoopWorld) -> None:
    world.commit("an older commit", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.run()
    world.engine.named("shop").env["LEVEL"] = "trace"
    found = incident(world)
    assert found.plan.cause is not None
    assert found.plan.cause.kind is CauseKind.CHANGED_BY_HAND
    assert "no change of Git explains it" in found.plan.diagnosis
    assert "since commit" not in told(found)


def test_the_commit_stays_the_cause_until_it_runs(world: LoopWorld) -> None:
    sha = world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    first, second = incident(world), incident(world)
    for found in (first, second):
        assert f"since commit {sha[:10]} by ann" in told(found)
    reason = "the engine has no image registry.test/shop:9: build it there"
    assert f"→ recreate → not recovered: {reason}" in told(first)
    assert f"recreate: did not help: {reason}" in told(second)
    status = json.loads(world.file("status/local-docker/shop.json"))
    assert status["syncedDigest"] not in ("", status["specDigest"])
    world.engine.failures.clear()
    world.commit("revert", shop=service_yaml("shop"))
    world.run()
    assert not json.loads(world.file("status/local-docker/shop.json")).get("syncedDigest")


def test_a_new_service_is_news_of_git_and_a_removed_one_is_none(world: LoopWorld) -> None:
    sha = world.commit("add till", till=service_yaml("till"))
    found = incident(world)
    assert found.plan.cause is not None
    assert found.plan.cause.kind is CauseKind.CHANGED_IN_GIT
    assert told(found).startswith(
        f"till: no instance yet, declared in commit {sha[:10]} by ann → create"
    )
    world.engine.remove("till")
    again = incident(world)
    assert again.plan.cause is not None
    assert again.plan.cause.kind is CauseKind.REMOVED


def test_what_runs_with_another_configuration_is_not_called_broken(world: LoopWorld) -> None:
    world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    report = world.run()
    page = unmarked(render_markdown(report))
    assert "still not as Git says; UICI tries again after its back-off" in page
    assert "broken" not in page
    assert "To take it back, revert commit" in page


def test_an_engine_s_words_of_any_length_are_redacted_before_they_are_cut(
    world: LoopWorld,
) -> None:
    filler = "words " * 22  # the secret stands where a headline's reason is cut
    said = f"{GONE.partition(': ')[0]}: {filler}password = hunter2hunter2 {'y' * 100_000}"
    world.engine.failures["recreate"] = PermanentError(said)
    world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    [found] = world.run().incidents
    world.run()
    assert "hunter2" not in headline(found, world.runtime.redactor.text)
    status = world.file("status/local-docker/shop.json")
    assert "hunter2" not in status
    assert len(status) < 10_000
