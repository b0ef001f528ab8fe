"""`uici explain`: one target's state, its past, what comes next, and who has to act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.command_line import manual
from flows.command_line import pause as switch
from flows.command_line.explain import as_data, explain, headline, show
from flows.command_line.explain_facts import Facts
from flows.command_line.hints import remember
from flows.command_line.moments import age, at_a_glance
from flows.command_line.preview import preview
from flows.command_line.status_view import status_view
from flows.listener import NullListener, RunRequest
from flows.reporting.status import ConditionType, status_path
from infrastructure.errors import PermanentError, TemporaryError
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml

NO_GRACE: dict[str, Any] = {"compare": {"grace": {"confirmAfter": "0s"}}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=NO_GRACE) as made:
        made.commit(shop=service_yaml("shop"), till=service_yaml("till", dependsOn=["shop"]))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


@dataclass(frozen=True)
class Told:
    """What `uici explain --json` tells."""

    state: str
    now: tuple[str, ...]
    before: tuple[str, ...]
    next: tuple[str, ...]
    waiting: tuple[str, ...]
    limits: tuple[str, ...]


def told(world: LoopWorld, name: str = "shop") -> Told:
    data = as_data(explain(name, world.runtime, "an-explanation"))
    lines = {field: tuple(data[field]) for field in data if isinstance(data[field], list)}
    return Told(state=data["state"], **lines)


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
    assert any(
        line.startswith("that is the last good one: commit ") and " by ann: " in line
        for line in found.now
    )
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
        in_git = f"revert commit {sha[:10]} by ann or change its desired state"
        way = f"{in_git}, or mend the cause by hand"
        assert waiting.endswith(
            f"{way}; recreate was tried on this spec without success, so only when the cause is"
            " mended: uici run recreate local-docker/shop"
        )


def test_what_a_person_asked_for_has_no_kind_of_fault(world: LoopWorld) -> None:
    asked = manual.Asked("restart", "shop", {})
    manual.run(asked, world.runtime, NullListener(), run_id="by-hand")
    assert any(line.partition(" ago ")[2].startswith("restart (") for line in told(world).before)


def test_a_status_that_can_not_be_read_is_not_called_untold(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    path = status_path("local-docker/shop")
    git(world.root, "clone", "-q", "--template=", "-b", "uici/reports", "remote.git", "reports")
    (world.root / "reports" / path).write_text("[1, 2]")
    git(world.root / "reports", "commit", "-qam", "damage")
    git(world.root / "reports", "push", "-q")
    [line] = told(world).before[-1:]
    assert line.startswith(f"{path} can't be read: ")
    status_view(world.runtime, None, None).show()
    [row] = [each for each in capsys.readouterr().out.splitlines() if f"{path} can't" in each]
    assert "unreadable" in row


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
    explained = explain("shop", world.runtime, "an-explanation")
    found = told(world)
    capsys.readouterr()
    show(explained)
    out = capsys.readouterr().out
    for heading in ("Now", "Before", "Next", "Waits for you", "Limits"):
        assert f"\n{heading}\n" in out
    assert "[red]hot[/]" in out
    assert "\x1b[31m" not in out
    assert max(map(len, (*found.before, *found.next))) <= 600
    assert explained.state == found.state


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


AT_ONCE = {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}
ERROR = "the new shop ended at once with exit code 1: no key colour: ask uici run start web"


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[LoopWorld]:
    """A commit whose image the engine does not take."""
    with loop_world(tmp_path, platform={**NO_GRACE, "guard": AT_ONCE}) as made:
        made.commit(shop=service_yaml("shop"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        made.commit("bigger", shop=service_yaml("shop", image="shop:9"))
        made.engine.failures["recreate"] = PermanentError(f"recreate local-docker/shop: {ERROR}")
        made.run()
        yield made


def test_one_error_is_said_once_and_referred_to_afterwards(failed: LoopWorld) -> None:
    for _ in ("nothing is left to try", "people were told"):
        found = told(failed)
        lines = [found.state, *found.now, *found.before, *found.next, *found.waiting]
        assert sum(line.count(ERROR) for line in lines) == 1
        assert f"the last try: recreate: did not help: {ERROR}" in found.before
        assert "(see the last try): " in found.waiting[0]
        assert (
            sum(line.count("image of shop is shop:1.0.0, Git says shop:9") for line in lines) == 1
        )
        failed.run()


def test_health_and_sync_have_an_age_each(failed: LoopWorld) -> None:
    status = failed.runtime.git.statuses()["local-docker/shop"]
    clock = failed.runtime.clock
    later = replace(clock, now=lambda: clock.now() + timedelta(hours=2))
    assert status.last_well is not None
    well = age(later.now() - status.last_well)
    found = explain("shop", replace(failed.runtime, clock=later), "an-explanation")
    assert found.state.startswith(
        f"local-docker/shop is Healthy for {well}, Drifted for 2 h 0 min: "
    )
    drifted = next(c for c in status.conditions if c.type is ConditionType.DRIFTED)
    ages = {
        ConditionType.READY: drifted.last_transition_time - timedelta(days=3),
        ConditionType.DRIFTED: drifted.last_transition_time,
    }
    aged = status.model_copy(
        update={
            "history": (),
            "conditions": tuple(
                c.model_copy(update={"last_transition_time": ages.get(c.type, clock.now())})
                for c in status.conditions
            ),
        }
    )
    facts = Facts(
        "local-docker/shop",
        preview(RunRequest(None, None, None, "look"), failed.runtime),
        aged,
        failed.runtime,
        drifted.last_transition_time + timedelta(seconds=11),
    )
    assert headline(facts)[0] == "local-docker/shop is Healthy for 3 d, Drifted for 11 s"


def test_what_is_unknown_is_said_once(world: LoopWorld) -> None:
    world.engine.broken = TemporaryError("the engine does not answer")
    world.run()
    assert told(world).state.startswith("local-docker/shop is Unknown for ")
    assert told(world).state.count("Unknown") == 1


def test_what_can_not_be_seen_is_no_case_for_a_command_on_it(failed: LoopWorld) -> None:
    failed.run()
    failed.engine.broken = TemporaryError("the engine does not answer")
    found = told(failed)
    assert not any("uici run" in line for line in found.waiting)
    assert found.waiting[0].endswith("uici report tells what was tried")


def test_a_command_in_an_error_is_no_hint(
    failed: LoopWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    remember(Path("ops"), None)
    explained = explain("shop", failed.runtime, "an-explanation")
    capsys.readouterr()
    show(explained)
    out = " ".join(capsys.readouterr().out.split())
    assert "uici run --config ops recreate local-docker/shop" in out
    assert "ask uici run start web" in out
    remember(None, None)


def test_grace_says_until_when(tmp_path: Path) -> None:
    waits = {"compare": {"grace": {"confirmAfter": "0s", "missing": "10m"}}}
    with loop_world(tmp_path, platform=waits) as world:
        world.commit(shop=service_yaml("shop"))
        found = told(world)
        assert any("within its grace: 10 min from the first run" in line for line in found.now)
        world.run()
        first = next(iter(world.runtime.first_seen.read(world.runtime.clock.now()).values()))
        until = at_a_glance(first + timedelta(minutes=10), world.runtime.clock.now())
        (line,) = [line for line in told(world).now if line.startswith("Missing: ")]
        assert f"(within its grace until {until} (9 min left): not acted upon yet)" in line


def test_a_pause_is_no_refused_commit(world: LoopWorld) -> None:
    switch.pause(switch.Asked("a release", None, ()), world.runtime)
    found = told(world)
    assert any("a release" in line and "uici resume ends it" in line for line in found.waiting)
    assert not any("refused" in line for line in found.waiting)


def test_a_dependent_is_told_whose_plan_it_is(world: LoopWorld) -> None:
    world.engine.kill("shop")
    world.engine.kill("till")
    found = told(world, "till")
    assert any("plans for local-docker/shop by" in line for line in found.next)
    assert any(line.startswith("does start on local-docker/shop: ") for line in found.next)
    assert not any(" on local-docker/shop" in line for line in told(world, "shop").next)


def test_what_lacks_its_secret_is_no_case_for_the_command_that_can_not_work(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    world.commit(shop=service_yaml("shop", env={"KEY": {"secret": "env:NOT_THERE"}}))
    found = told(world)
    assert any("KEY can't be compared" in line for line in found.now)
    (line,) = found.waiting
    assert "set the environment variable NOT_THERE where UICI runs" in line
    assert "see to that, or " in line
    assert "uici run" not in line
