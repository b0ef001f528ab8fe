"""Who changed what runs: Git, by a commit that is named, or somebody past Git."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.preview import preview
from flows.listener import NullListener, RunRequest
from flows.plan import News
from flows.report import IncidentReport
from flows.reporting.markdown import render_markdown
from flows.reporting.sentences import headline
from flows.reporting.text import unmarked
from infrastructure.cause_kinds import CauseKind
from infrastructure.errors import PermanentError
from infrastructure.observed import EngineHealth
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
    assert "still not as Git says; after its back-off UICI tries what is left to try" in page
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


def test_a_preview_blames_no_model_where_none_is_configured(world: LoopWorld) -> None:
    world.engine.named("shop").end(1)
    quiet = preview(RunRequest(None, None, None, "look"), world.runtime, unasked="a test")
    reason = quiet.cases[0].plan.planner_reason
    assert "no LLM configured" in reason
    assert "not asked" not in reason


def test_what_was_tried_is_told_without_saying_twice_that_it_did_not_help(
    world: LoopWorld,
) -> None:
    world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    world.run()
    [tried] = [line for line in incident(world).evidence.past if "tried on this" in line]
    assert tried.count("did not help") == 1
    assert tried.endswith(
        "did not help: recreate (by runbook: the engine has no image"
        " registry.test/shop:9: build it there)"
    )


# ── what breaks with a commit ───────────────────────────────────────────────────


def hang(world: LoopWorld) -> None:
    """The engine's health check of whatever runs fails, and no restart helps."""
    world.engine.named("shop").health = EngineHealth.UNHEALTHY
    world.engine.failures["restart"] = PermanentError("restart local-docker/shop: it hangs")
    world.engine.failures["recreate"] = PermanentError("recreate local-docker/shop: it hangs")


def moved_probe(path: str) -> str:
    """A spec that no container shows: nothing is to be rolled out."""
    return service_yaml("shop", alerts=[{"matchers": {"path": path}}])


def test_a_fault_that_came_with_a_commit_names_it_until_it_is_over(world: LoopWorld) -> None:
    sha = world.commit("ask elsewhere", shop=moved_probe("/healthz"))
    hang(world)
    first, second = incident(world), incident(world)
    third = world.run()
    for found in (first, second, *third.incidents):
        assert found.evidence.git_change is not None
        assert found.evidence.git_change.news is News.BROKE
        assert f", well until commit {sha[:10]} by ann →" in told(found)
        assert f"well until commit {sha[:10]} by ann" in found.plan.diagnosis
        assert "which is probably the cause" in found.plan.diagnosis
    assert first.plan.cause is not None
    assert first.plan.cause.kind is CauseKind.CHANGED_IN_GIT
    page = unmarked(render_markdown(third))
    assert f"If commit {sha[:10]} by ann is the cause, revert it in Git" in page
    assert "Probable cause: ChangedInGit" in unmarked(
        render_markdown(replace(third, incidents=(first,)))
    )
    [people] = [
        s for i in third.incidents for s in i.plan.steps if s.operation == "escalate_to_human"
    ]
    assert f"all was well until commit {sha[:10]} by ann" in people.parameters["summary"]


def test_a_fault_of_before_is_not_laid_to_a_later_commit(world: LoopWorld) -> None:
    hang(world)
    incident(world)
    world.commit("an attempt to mend it", shop=moved_probe("/healthz"))
    found = incident(world)
    assert found.evidence.git_change is None
    assert "well until" not in told(found)
    assert "revert" not in unmarked(render_markdown(world.run()))


def test_a_commit_that_came_after_the_fault_is_not_the_suspect(world: LoopWorld) -> None:
    sha = world.commit("ask elsewhere", shop=moved_probe("/healthz"))
    hang(world)
    incident(world)
    time.sleep(1.1)  # Git tells seconds
    world.commit("an attempt to mend it", shop=moved_probe("/alive"))
    found = incident(world)
    assert found.evidence.git_change is not None
    assert found.evidence.git_change.commit == sha[:10]


def test_a_commit_after_the_end_of_the_process_is_no_suspect(world: LoopWorld) -> None:
    world.engine.named("shop").end(1)
    time.sleep(1.1)  # Git tells seconds
    world.commit("a word for alerts", shop=moved_probe("/healthz"))
    found = incident(world)
    assert found.evidence.git_change is None
    assert "well until" not in told(found)


def test_a_change_of_another_service_in_the_same_file_is_no_suspect(world: LoopWorld) -> None:
    sha = world.commit("ask elsewhere", shop=moved_probe("/healthz"))
    world.commit("till", shop=f"{moved_probe('/healthz')}---\n{service_yaml('till')}")
    hang(world)
    found = next(i for i in world.run().incidents if i.incident.root.endswith("/shop"))
    assert found.evidence.git_change is not None
    assert found.evidence.git_change.commit == sha[:10]


def test_where_only_comments_are_known_no_commit_is_named(world: LoopWorld) -> None:
    world.commit("ask elsewhere", shop=moved_probe("/healthz"))
    for number in range(world.config.platform.evidence.changes + 1):
        world.commit(f"note {number}", shop=f"# {number}\n" + moved_probe("/healthz"))
    hang(world)
    found = incident(world)
    assert found.evidence.git_change is not None
    assert not found.evidence.git_change.commit


def test_a_comment_is_no_suspect(world: LoopWorld) -> None:
    sha = world.commit("ask elsewhere", shop=moved_probe("/healthz"))
    world.commit("a word for people", shop="# note\n" + moved_probe("/healthz"))
    hang(world)
    found = incident(world)
    assert found.evidence.git_change is not None
    assert found.evidence.git_change.commit == sha[:10]


def test_the_first_fault_after_a_change_was_carried_out_names_it_as_possible(
    world: LoopWorld,
) -> None:
    world.engine.named("shop").end(1)
    world.run()
    sha = world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.run()
    hang(world)
    found = incident(world)
    assert f"first fault of its own since commit {sha[:10]} by ann" in found.plan.diagnosis
    assert found.plan.cause is not None
    assert found.plan.cause.kind is CauseKind.HANGING
    assert "well until" not in told(found)


def test_what_was_rolled_out_and_then_hangs_is_laid_to_its_commit(world: LoopWorld) -> None:
    world.commit("refused by the engine", shop=service_yaml("shop", env={"LEVEL": "trace"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    world.run()
    world.engine.failures.clear()
    world.commit("back", shop=service_yaml("shop"))
    world.run()
    sha = world.commit("debug", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    first = incident(world)
    assert f"since commit {sha[:10]} by ann" in told(first)
    shop = world.engine.named("shop")
    shop.env["LEVEL"] = "debug"
    hang(world)
    found = incident(world)
    assert found.evidence.git_change is not None
    assert (found.evidence.git_change.commit, found.evidence.git_change.news) == (
        sha[:10],
        News.BROKE,
    )


# ── a commit that was refused, and one that mended it ────────────────────────────


def refused_then_mended(world: LoopWorld, wanted: str) -> tuple[str, str]:
    """A change with a mistake in it, and a second commit that takes away the mistake only."""
    mistake = wanted.replace("spec:\n", "spec:\n  replcas: 1\n")
    assert mistake != wanted
    first = world.commit("what is wanted", shop=mistake)
    assert world.run().desired.refused_revision is not None
    return first, world.commit("mend the typo", shop=wanted)


def test_a_change_is_laid_to_the_commit_that_brought_it_not_to_the_one_that_mended_its_typo(
    world: LoopWorld,
) -> None:
    wanted = service_yaml("shop", env={"LEVEL": "debug"})
    first, second = refused_then_mended(world, wanted)
    world.engine.failures["recreate"] = PermanentError(GONE)
    found = world.run()
    [found_in] = found.incidents
    assert f"since commit {first[:10]} by ann" in told(found_in)
    assert (
        f"(commit {first[:10]} by ann: what is wanted (it was refused until commit {second[:10]}))"
        in found_in.plan.diagnosis
    )
    page = unmarked(render_markdown(found))
    assert f"revert commit {second[:10]}, then {first[:10]} in Git" in page


def test_a_fault_is_laid_to_the_refused_commit_as_well(world: LoopWorld) -> None:
    first, second = refused_then_mended(world, moved_probe("/healthz"))
    world.commit("a word for people", shop="# note\n" + moved_probe("/healthz"))
    hang(world)
    found = incident(world)
    assert f", well until commit {first[:10]} by ann →" in told(found)
    assert f"it was refused until commit {second[:10]}" in found.plan.diagnosis


def test_a_commit_that_was_in_force_before_is_not_drawn_in(world: LoopWorld) -> None:
    world.commit("wanted", shop=service_yaml("shop", env={"LEVEL": "debug"}))
    world.run()
    sha = world.commit("wanted next", shop=service_yaml("shop", env={"LEVEL": "trace"}))
    world.engine.failures["recreate"] = PermanentError(GONE)
    found = incident(world)
    assert found.evidence.git_change is not None
    assert found.evidence.git_change.commit == sha[:10]
    assert found.evidence.git_change.accepted_with == ()


def test_a_refused_commit_that_changed_only_comments_is_not_drawn_in(world: LoopWorld) -> None:
    wanted = service_yaml("shop", env={"LEVEL": "debug"})
    broken = "spec:\n  replcas: 1\n"
    first = world.commit("what is wanted", shop=wanted.replace("spec:\n", broken))
    world.commit("a note", shop="# note\n" + wanted.replace("spec:\n", broken))
    second = world.commit("mend the typo", shop="# note\n" + wanted)
    world.engine.failures["recreate"] = PermanentError(GONE)
    found = incident(world)
    assert found.evidence.git_change is not None
    assert found.evidence.git_change.commit == first[:10]
    assert found.evidence.git_change.accepted_with == (second[:10],)


class Crashes(NullListener):
    """What the operation has made ends at once."""

    def __init__(self, world: LoopWorld) -> None:
        self._world = world

    def operation_finished(self, incident: object, outcome: object) -> None:  # noqa: ARG002 - the protocol's
        shop = self._world.engine.named("shop")
        shop.end(137)
        shop.oom_killed = True


def test_what_a_roll_out_has_broken_is_called_broken_and_how_it_ended(world: LoopWorld) -> None:
    world.commit("more cache", shop=service_yaml("shop", env={"CACHE": "200M"}))
    report = world.run(listener=Crashes(world))
    [found] = report.incidents
    ended = "engine: stopped: killed for using too much memory"
    assert f"→ recreate → not recovered: {ended}" in told(found)
    page = unmarked(render_markdown(report))
    assert "Broken now" in page
    assert "not as Git says" not in page
