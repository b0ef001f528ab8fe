"""`uici explain`: one target's state, its past, what comes next, and who has to act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.explain import Explanation, as_data, explain, show
from infrastructure.errors import PermanentError, TemporaryError
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

NO_GRACE: dict[str, Any] = {"compare": {"grace": {"confirmAfter": "0s"}}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=NO_GRACE) as made:
        made.commit(shop=service_yaml("shop"), till=service_yaml("till", dependsOn=["shop"]))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def told(world: LoopWorld, name: str = "shop") -> Explanation:
    return explain(name, world.runtime, "an-explanation")


def test_what_is_well_has_nothing_to_do(world: LoopWorld) -> None:
    found = told(world)
    assert found.state.startswith("local-docker/shop is Healthy for ")
    assert "nothing differs from Git" in found.now
    assert found.next == ("nothing to do",)
    assert found.waiting == ()
    assert found.limits[0].startswith("mode enforce; alone up to risk ")
    assert any(" by ann: " in line for line in found.before)


def test_a_fault_tells_of_the_plan_and_leaves_the_world_alone(world: LoopWorld) -> None:
    world.engine.kill("shop")
    reports = world.reports()
    found = told(world)
    assert found.state.startswith("local-docker/shop is Degraded: ")
    assert any(line.startswith("Stopped: ") for line in found.now)
    assert found.next[0].startswith("the next run, every ")
    assert any(line.startswith("does start") for line in found.next)
    assert world.reports() == reports
    assert told(world).state == found.state  # it is still down


def test_a_refused_commit_waits_for_who_has_made_it(world: LoopWorld) -> None:
    world.commit(till=service_yaml("till").replace("image:", "imagee:"))
    found = told(world)
    assert any(line.startswith("that is the last good one: main@sha1:") for line in found.now)
    (waits,) = found.waiting
    assert waits.startswith("the newest commit of Git is refused, mend it: till.yml:")


def test_what_was_done_stays_told_after_the_recovery(world: LoopWorld) -> None:
    world.engine.kill("shop")
    world.run()
    found = told(world)
    assert found.state.startswith("local-docker/shop is Healthy")
    assert any("Stopped: start (runbook): recovered" in line for line in found.before)


def test_a_dependent_is_told_to_wait_for_its_root(world: LoopWorld) -> None:
    world.engine.kill("shop")
    world.engine.kill("till")
    found = told(world, "till")
    assert any("it suffers from local-docker/shop" in line for line in found.next)


def test_what_a_person_has_to_allow_waits_for_them(tmp_path: Path) -> None:
    strict = {**NO_GRACE, "guard": {"policy": {"allowUpTo": "read", "approveUpTo": "high"}}}
    with loop_world(tmp_path, platform=strict) as world:
        world.commit(shop=service_yaml("shop"))
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        world.run()
        world.engine.kill("shop")
        assert any(line.startswith("asks a person before start") for line in told(world).next)
        world.run()
        found = told(world)
        assert len(found.waiting) == 1
        asked = "needs approval: local-docker/shop: start: uici approve "
        assert found.waiting[0].startswith(asked)
        assert "(risk low, left: " in found.waiting[0]


def test_what_is_only_observed_is_planned_and_waits_for_a_person(tmp_path: Path) -> None:
    looks = {**NO_GRACE, "guard": {"policy": {"mode": "observe"}}}
    with loop_world(tmp_path, platform=looks) as world:
        world.commit(shop=service_yaml("shop"))
        world.run()
        found = told(world)
        mode = "the target's mode is observe, not enforce"
        assert found.next[0].startswith(f"nothing: {mode}; else it plans by runbook create-missing")
        [waiting] = found.waiting
        assert waiting.startswith(f"{mode}, so it is for you to mend")
        assert not world.engine.containers


def test_what_the_last_try_has_met_waits_for_a_person_before_and_after_people_are_told(
    tmp_path: Path,
) -> None:
    at_once = {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}
    with loop_world(tmp_path, platform={**NO_GRACE, "guard": at_once}) as world:
        world.commit(shop=service_yaml("shop"))
        world.engine.failures["create"] = PermanentError("create local-docker/shop: no image")
        world.run()
        [waiting] = told(world).waiting
        assert waiting.startswith("UICI has nothing to try (create: did not help: no image): ")
        assert "one try has not helped" in told(world).before
        world.run()
        assert told(world).next[0].startswith("nothing now: it was told in the report only")
        [waiting] = told(world).waiting
        assert waiting.startswith("it is stalled (create: did not help: no image): uici report")


def test_what_can_not_be_seen_is_not_called_the_same_as_git(world: LoopWorld) -> None:
    world.engine.broken = TemporaryError("the engine does not answer")
    found = told(world)
    assert "what differs from Git can't be known" in found.now
    assert found.next == ("nothing is done about what can't be seen: uici doctor",)
    assert found.waiting == (
        "it can't be seen, so nobody keeps it alive: uici doctor tells what to mend",
    )


def test_the_past_is_told_newest_first_and_the_commit_is_what_to_revert(tmp_path: Path) -> None:
    at_once = {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}
    with loop_world(tmp_path, platform={**NO_GRACE, "guard": at_once}) as world:
        world.commit(shop=service_yaml("shop"))
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        world.run()
        sha = world.commit("bigger", shop=service_yaml("shop", image="shop:9"))
        world.engine.failures["recreate"] = PermanentError("recreate local-docker/shop: no image")
        world.run()
        found = told(world)
        told_of = [line.partition(" ago ")[2] for line in found.before[:3]]
        assert told_of[0].startswith("ConfigDrift: recreate (runbook): failed")
        assert told_of[1] == f"commit {sha[:10]} by ann: bigger"
        [waiting] = found.waiting
        way = f"revert commit {sha[:10]} by ann or change its desired state, or mend it by hand or"
        assert waiting.endswith(f"{way} by uici run recreate local-docker/shop")


def test_a_suspended_target_is_left_alone(world: LoopWorld) -> None:
    world.commit(shop=service_yaml("shop", suspend={"reason": "moving house"}))
    world.engine.kill("shop")
    assert told(world).next == ("nothing while it lasts: suspended: moving house",)


def test_an_unknown_name_is_refused_with_those_that_are_known(world: LoopWorld) -> None:
    with pytest.raises(PermanentError, match=r"nothing-such \(known: local-docker/shop"):
        told(world, "nothing-such")


def test_the_terminal_shows_headings_and_no_markup_of_others(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.commit(
        "[red]hot[/] \x1b[31m" + "x" * 5000, shop=service_yaml("shop", env={"LEVEL": "debug"})
    )
    found = told(world)
    capsys.readouterr()
    show(found)
    out = capsys.readouterr().out
    for heading in ("Now", "Before", "Next", "Waits for you", "Limits"):
        assert f"\n{heading}\n" in out
    assert "[red]hot[/]" in out
    assert "\x1b[31m" not in out
    assert max(map(len, (*found.before, *found.next))) <= 600
    assert as_data(found)["state"] == found.state


def test_what_stalled_without_a_try_tells_the_known_error_and_the_command_that_starts_it(
    tmp_path: Path,
) -> None:
    with loop_world(tmp_path, platform=NO_GRACE) as world:
        world.commit(shop=service_yaml("shop"))
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        world.run()
        (running,) = world.engine.containers.values()
        running.logs = "write /data/x: No space left on device"
        world.engine.kill("shop")
        report = world.run()
        assert [i.result.value for i in report.incidents] == ["escalated"]
        [waiting] = told(world).waiting
        assert waiting.startswith("it is stalled (")
        assert "disk-full" in waiting
        assert "uici run start local-docker/shop" in waiting
