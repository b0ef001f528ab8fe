"""The kill switch in several hands: nobody's pause ends another's, wherever it was written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.git_state import GitState
from flows.open_executors import desired_state_parser
from flows.reporting.as_json import json_bytes
from flows.repository.clone import GitRepository
from flows.repository.contract import Durability
from flows.repository.pause_merge import merged_pauses
from infrastructure.pause import PAUSE_PATH, Pause, pauses_data, read_pauses
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

NOW = datetime.now(UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        opened.commit(a=service_yaml("a"))
        yield opened


def of(reason: str, *environments: str) -> Pause:
    return Pause(
        api_version="uici/v1", kind="Pause", reason=reason, environments=environments or None
    )


def another(world: LoopWorld) -> GitState:
    """Another agent or person, with a clone of their own."""
    settings = world.config.platform.git
    assert settings.remote is not None
    repository = GitRepository.open(
        settings.remote,
        world.root / "other-data",
        None,
        settings,
        folder=world.config.directory,
        sleep=lambda _: None,
    )
    parser = desired_state_parser(world.config, world.runtime.identity)
    git = GitState(repository, parser.read, settings, redactor=world.runtime.redactor)
    git.refresh()
    return git


def reasons(git: GitState) -> list[str]:
    git.refresh()
    return [each.pause.reason for each in git.pauses()]


def test_the_first_commit_of_the_branch_may_be_a_pause(world: LoopWorld) -> None:
    other = another(world)
    done = other.pausing().pause(of("an outage"), NOW)
    assert done is not None
    assert done.durability is Durability.PUSHED
    assert reasons(world.runtime.git) == ["an outage"]


def test_what_was_written_while_the_remote_was_away_comes_beside_the_others(
    world: LoopWorld,
) -> None:
    world.run()
    other, ours = another(world), world.runtime.git
    away = world.remote.with_name("away.git")
    world.remote.rename(away)
    done = other.pausing().pause(of("x alone", "x"), NOW)
    assert done is not None
    assert done.durability is Durability.LOCAL
    away.rename(world.remote)
    ours.pausing().pause(of("stop everything"), NOW)
    other.refresh()
    other.push_pending()
    assert sorted(reasons(ours)) == sorted(reasons(other)) == ["stop everything", "x alone"]


@pytest.mark.parametrize("left", [[], [of("y alone", "y")]])
def test_nobody_ends_what_they_have_not_seen(world: LoopWorld, left: list[Pause]) -> None:
    world.run()
    other, ours = another(world), world.runtime.git
    for each in (of("x alone", "x"), of("y alone", "y")):
        ours.pausing().pause(each, NOW)
    other.refresh()
    seen = [each.pause for each in other.reported().pauses]
    assert len(seen) == 2
    ours.pausing().pause(of("stop everything"), NOW)  # meanwhile
    other.pausing().resume(NOW, seen, left)
    assert sorted(reasons(ours)) == ["stop everything", *(each.reason for each in left)]


def test_of_one_clone_nobody_ends_another_s(world: LoopWorld) -> None:
    """Two processes on one machine share the clone: nothing is made again then."""
    world.run()
    first, second = another(world), another(world)
    assert first.reported().pauses == second.reported().pauses == ()
    first.pausing().pause(of("one"), NOW)
    second.pausing().pause(of("two"), NOW)
    assert sorted(reasons(world.runtime.git)) == ["one", "two"]


def test_what_is_over_goes_with_the_next_pause(world: LoopWorld) -> None:
    git = world.runtime.git
    brief = of("brief").model_copy(update={"until": NOW + timedelta(minutes=1)})
    git.pausing().pause(brief, NOW)
    git.pausing().pause(of("long"), NOW + timedelta(minutes=2))
    assert reasons(git) == ["long"]


def test_a_damaged_file_of_others_stays_a_pause_of_everything() -> None:
    content = merged_pauses(file([of("x", "x")]), b"{", None)
    assert content is not None
    found = read_pauses(PAUSE_PATH, content, max_bytes=9999)
    assert any("counts as a pause of everything" in each.pause.reason for each in found)
    assert len(found) == 2


def file(pauses: list[Pause]) -> bytes | None:
    return json_bytes(pauses_data(pauses), lambda data: data) if pauses else None


SOME = st.lists(st.sampled_from([of(r) for r in "abcd"]), unique_by=lambda p: p.reason)


@given(mine=SOME, theirs=SOME, before=SOME)
def test_a_merge_does_to_theirs_what_ours_has_done(
    mine: list[Pause], theirs: list[Pause], before: list[Pause]
) -> None:
    content = merged_pauses(file(mine), file(theirs), file(before))
    found = (
        {each.pause.reason for each in read_pauses(PAUSE_PATH, content, max_bytes=9999)}
        if content is not None
        else set()
    )
    ours, others, stood = ({each.reason for each in side} for side in (mine, theirs, before))
    assert found == (others - (stood - ours)) | (ours - stood)
