"""The kill switch: two ways to pull it, one to let go, and no way to miss it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.command_line import pause as switch
from flows.command_line.preview import preview
from flows.guard import Decision
from flows.listener import NullListener, RunRequest
from flows.metrics import RunMetrics
from flows.report import IncidentResult, RunResult
from flows.repository.contract import CommitResult
from infrastructure.errors import InvalidInputError, PermanentError, UiciError
from infrastructure.observed import InstanceState
from infrastructure.pause import Pause, damaged_pause, pauses_in, read_pause
from tests.builders import NOW
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world, service_yaml

_NAMES = frozenset({"LOGNAME", "USER", "LNAME", "USERNAME"})
PAUSE = {"apiVersion": "uici/v1", "kind": "Pause", "reason": "a release"}


def text(**changes: object) -> str:
    return yaml.safe_dump({**PAUSE, **changes})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        opened.commit(a=service_yaml("a"), b=service_yaml("b"))
        opened.run()
        yield opened


def states(world: LoopWorld) -> dict[str, InstanceState]:
    return {c.name: c.state for c in world.engine.containers.values()}


def asked(*environments: str, until: str | None = None) -> switch.Asked:
    return switch.Asked("a release", until, environments)


def test_a_commit_pauses_and_its_removal_resumes(world: LoopWorld) -> None:
    world.engine.kill("a")
    world.commit(uici=text())
    report = world.run()
    assert states(world)["a"] is InstanceState.STOPPED
    assert report.result is RunResult.DRIFT_REMAINS
    assert report.paused == {ENVIRONMENT: "paused: a release"}
    assert any("nothing is changed" in str(p) for p in report.desired.problems)
    # Observation goes on: the status says what is wrong.
    status = json.loads(world.file(f"status/{ENVIRONMENT}/a.json"))
    assert status["health"] == "Degraded"
    assert "attempts" not in status
    world.commit(uici=None)
    assert world.run().incidents[0].result is IncidentResult.RECOVERED
    assert states(world)["a"] is InstanceState.RUNNING


def test_the_command_pauses_and_resumes(world: LoopWorld) -> None:
    told = switch.pause(asked(), world.runtime)
    assert "a release" in told
    assert world.reports()[0] == "pause: a release"
    world.engine.kill("a")
    assert world.run().paused
    assert states(world)["a"] is InstanceState.STOPPED
    assert "resumed" in switch.resume(world.runtime)
    assert world.run().incidents[0].result is IncidentResult.RECOVERED
    with pytest.raises(PermanentError, match="nothing is paused"):
        switch.resume(world.runtime)


def test_what_a_commit_pauses_the_command_does_not_resume(world: LoopWorld) -> None:
    world.commit(uici=text())
    switch.pause(asked(), world.runtime)
    with pytest.raises(PermanentError, match=r"desired state pauses still.*remove uici.yml"):
        switch.resume(world.runtime)
    assert world.reports()[0] == "resume: the pause is over"
    assert world.run().paused


def test_plan_and_status_tell_of_it(world: LoopWorld) -> None:
    switch.pause(asked(), world.runtime)
    world.engine.kill("a")
    seen = preview(RunRequest(None, None, None, "plan"), world.runtime)
    assert seen.cases == ()
    assert [(left.result, "a release" in left.reason) for left in seen.left] == [
        (IncidentResult.HELD, True)
    ]
    problems = [str(p) for p in world.runtime.desired().problems]
    assert [p for p in problems if "a release" in p and "uici resume ends it" in p]


def test_metrics_tell_of_it_and_of_its_end(world: LoopWorld) -> None:
    metrics = RunMetrics()

    def gauge() -> float:
        families = text_string_to_metric_families(metrics.text().decode())
        return next(f.samples[0].value for f in families if f.name == "uici_paused")

    switch.pause(asked(), world.runtime)
    world.run(listener=metrics)
    assert gauge() == 1
    switch.resume(world.runtime)
    world.run(listener=metrics)
    assert gauge() == 0


def test_only_the_environments_that_are_named(world: LoopWorld) -> None:
    pause = read_pause("uici.yml", text(environments=["there"]).encode(), max_bytes=1000)
    assert pauses_in([pause.within(("here", "there"))], ["here", "there"], NOW).keys() == {"there"}
    world.commit(uici=text(environments=[ENVIRONMENT]))
    world.engine.kill("a")
    assert world.run().paused
    assert states(world)["a"] is InstanceState.STOPPED


def test_an_unknown_environment_pauses_everything_and_is_told(world: LoopWorld) -> None:
    world.commit(uici=text(environments=["elswhere"]))
    world.engine.kill("a")
    report = world.run()
    assert states(world)["a"] is InstanceState.STOPPED
    assert "there is no elswhere (known: " in report.paused[ENVIRONMENT]
    assert any("there is no elswhere" in str(p) for p in report.desired.problems)


def test_a_pause_ends_by_itself(world: LoopWorld) -> None:
    world.commit(uici=text(until="2020-01-01T00:00:00Z"))
    world.engine.kill("a")
    report = world.run()
    assert report.paused == {}
    assert report.desired.problems == ()
    assert report.incidents[0].result is IncidentResult.RECOVERED


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "# nothing but this\n",
        "reason: [",
        "kind: Pause\n",
        text(until="tomorrow"),
        text(until="2020-01-01T00:00:00"),
        text(unknown=1),
        text(environments=[]),
        text(until="9999-12-31T23:59:59-05:00"),
        text(until="0001-01-01T00:00:00+05:00"),
        text() + "---\n" + text(),
        "apiVersion: uici/v1\nkind: Service\n",
        "reason: " + "x" * 2_000_000,
    ],
    ids=range(13),
)
def test_a_damaged_file_is_a_pause_and_says_so(world: LoopWorld, damaged: str) -> None:
    world.commit(uici=damaged)
    world.engine.kill("a")
    report = world.run()
    assert states(world)["a"] is InstanceState.STOPPED
    assert "can't be read, which counts as a pause" in report.paused[ENVIRONMENT]


def test_a_pause_in_another_file_counts_too(world: LoopWorld) -> None:
    world.commit(stop_it=text())
    world.engine.kill("a")
    assert world.run().paused
    assert states(world)["a"] is InstanceState.STOPPED


def test_a_pause_holds_while_the_rest_is_refused(world: LoopWorld) -> None:
    world.commit(uici=text(), a="no: service\n")
    world.engine.kill("b")
    report = world.run()
    assert report.desired.refused_revision is not None
    assert report.paused
    assert states(world)["b"] is InstanceState.STOPPED


def test_a_link_in_its_place_is_a_pause(world: LoopWorld) -> None:
    work = world.root / "work"
    (work / "uici.yml").symlink_to("/etc/passwd")
    world.commit("a link")
    world.engine.kill("a")
    assert world.run().paused
    assert states(world)["a"] is InstanceState.STOPPED


@pytest.mark.parametrize("inside", ["readme.txt", "a/b.yml", "link.yml"])
def test_a_folder_in_its_place_is_a_pause_and_is_told(world: LoopWorld, inside: str) -> None:
    path = world.root / "work" / "uici.yml" / inside
    path.parent.mkdir(parents=True)
    if inside == "link.yml":
        path.symlink_to("/etc/passwd")
    else:
        path.write_text("# nothing\n")
    world.commit("a folder")
    world.engine.kill("a")
    report = world.run()
    assert states(world)["a"] is InstanceState.STOPPED
    assert "it is a folder" in report.paused[ENVIRONMENT]
    assert any("it is a folder" in str(p) for p in report.desired.problems)


@pytest.mark.parametrize("folder", [True, False])
def test_a_folder_or_link_on_the_reports_branch_is_a_pause(world: LoopWorld, folder: bool) -> None:
    clone = world.root / "reports"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(clone))
    if folder:
        (clone / "pause.json").mkdir()
        (clone / "pause.json" / "x").write_text("{}")
    else:
        (clone / "pause.json").symlink_to("heartbeat.json")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "by hand")
    git(clone, "push", "-q")
    world.engine.kill("a")
    assert "can't be read" in world.run().paused[ENVIRONMENT]


def test_a_second_pause_ends_no_first_one(world: LoopWorld) -> None:
    switch.pause(switch.Asked("an outage", None, ()), world.runtime)
    switch.pause(switch.Asked("a release", "1h", (ENVIRONMENT,)), world.runtime)
    held = [(p.pause.reason, p.pause.environments) for p in world.runtime.git.pauses()]
    assert held == [("an outage", None), ("a release", (ENVIRONMENT,))]
    assert json.loads(world.file("pause.json"))["kind"] == "Pauses"
    world.engine.kill("a")
    assert "an outage" in world.run().paused[ENVIRONMENT]
    with pytest.raises(PermanentError, match="a pause holds everywhere"):
        switch.resume(world.runtime, [ENVIRONMENT])
    switch.resume(world.runtime)
    assert world.runtime.git.pauses() == ()


def test_a_pause_beside_a_damaged_one_leaves_everything_paused(world: LoopWorld) -> None:
    clone = world.root / "reports"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(clone))
    (clone / "pause.json").write_text("{")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "by hand")
    git(clone, "push", "-q")
    switch.pause(asked(ENVIRONMENT, until="1h"), world.runtime)
    first, second = world.runtime.git.pauses()
    assert first.pause.environments is None
    assert second.pause.environments == (ENVIRONMENT,)


def test_resume_in_one_environment_leaves_the_others_paused(world: LoopWorld) -> None:
    both = Pause(api_version="uici/v1", kind="Pause", reason="both", environments=("x", "y"))
    one = both.model_copy(update={"reason": "one", "environments": ("x",)})
    for each in (both, one):
        world.runtime.git.pausing().pause(each, world.runtime.clock.now())
    with pytest.raises(PermanentError, match="nothing is paused by command in z"):
        switch.resume(world.runtime, ["z"])
    with pytest.raises(PermanentError, match=r"pause\.json pauses still"):
        switch.resume(world.runtime, ["x"])  # y is no environment here: it pauses everything
    (left,) = world.runtime.git.pauses()
    assert (left.pause.reason, left.pause.environments) == ("both", ("y",))
    world.runtime.git.pausing().resume(world.runtime.clock.now(), [left.pause])
    switch.pause(asked(ENVIRONMENT), world.runtime)
    assert f"resumed in {ENVIRONMENT}" in switch.resume(world.runtime, [ENVIRONMENT])
    assert world.runtime.git.pauses() == ()


def test_a_user_without_a_name_can_pause() -> None:
    code = "from flows.command_line.pause import whoami; print(whoami())"
    bare = {k: v for k, v in os.environ.items() if k not in _NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("print", "import os; os.setuid(54321); print")]
        if os.getuid() == 0
        else [sys.executable, "-c", code],
        env=bare,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "uid 54321" or os.getuid() != 0


def test_a_damaged_file_on_the_reports_branch_is_a_pause(world: LoopWorld) -> None:
    clone = world.root / "reports"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(clone))
    (clone / "pause.json").write_text("{")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "by hand")
    git(clone, "push", "-q")
    world.engine.kill("a")
    assert "can't be read" in world.run().paused[ENVIRONMENT]
    assert states(world)["a"] is InstanceState.STOPPED


class _Meanwhile(NullListener):
    """A person who commits between the intent and the first step."""

    def __init__(self, world: LoopWorld) -> None:
        self._world = world

    def judged(self, incident: object, verdicts: object) -> None:  # noqa: ARG002 - the protocol's
        self._world.commit(uici=text())


def test_a_run_under_way_stops_before_its_next_step(world: LoopWorld) -> None:
    world.engine.kill("a")
    before = len(world.engine.calls)
    report = world.run(listener=_Meanwhile(world))
    assert [v.decision for v in report.incidents[0].verdicts] == [Decision.ALLOWED]
    assert report.intent_commit is not None
    assert (report.incidents[0].result, report.incidents[0].summary) == (
        IncidentResult.HELD,
        "paused: a release",
    )
    assert len(world.engine.calls) == before
    # It was no attempt, and the intent does not stay open.
    assert world.runtime.git.open_intents() == ()
    assert world.runtime.git.statuses()[f"{ENVIRONMENT}/a"].attempts is None


class _Another(NullListener):
    """Another process on the same clone, after the intent is out."""

    def __init__(self, world: LoopWorld) -> None:
        self._world = world

    def intent_committed(self, commit: CommitResult) -> None:  # noqa: ARG002 - the protocol's
        switch.pause(asked(), self._world.runtime)


def test_the_command_stops_a_run_under_way(world: LoopWorld) -> None:
    world.engine.kill("a")
    before = len(world.engine.calls)
    report = world.run(listener=_Another(world))
    assert report.incidents[0].result is IncidentResult.HELD
    assert len(world.engine.calls) == before


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (asked("nowhere"), "there is no nowhere"),
        (asked(until="soon"), "can't be read"),
        (asked(until="2099-01-01T00:00:00"), "can't be read"),
        (asked(until="2020-01-01T00:00:00Z"), "is over"),
        (asked(until="5 parsecs"), "can't be read"),
        (asked(until="9999-12-31T23:59:59-05:00"), "can't be read"),
        (asked(until="0001-01-01T00:00:00+05:00"), "can't be read"),
        (asked(until="9" * 30 + "d"), "can't be read"),
        (switch.Asked(" ", None, ()), "say why"),
    ],
)
def test_what_makes_no_pause_is_refused(world: LoopWorld, wanted: switch.Asked, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        switch.pause(wanted, world.runtime)
    assert world.runtime.git.pauses() == ()


def test_the_command_line_pauses_tells_and_resumes(world: LoopWorld) -> None:
    def uici(*words: str) -> Result:
        done = CliRunner().invoke(app, [*words, "--config", str(world.root / "config")])
        assert isinstance(done.exception, UiciError | SystemExit | None), done.output
        return done

    told = uici("pause", "--reason", "a release", "--until", "2h", "-e", ENVIRONMENT)
    assert told.exit_code == 0, told.output
    assert f"({ENVIRONMENT}; observation goes on)" in told.output
    assert "a release" in uici("status").output
    assert "a release" in uici("plan", "--json").output
    assert "resumed" in uici("resume").output
    assert "a release" not in uici("status").output
    assert uici("resume").exit_code == 1
    assert uici("pause").exit_code != 0  # without a reason


def test_until_is_how_long_or_a_moment(world: LoopWorld) -> None:
    switch.pause(asked(until="2h"), world.runtime)
    (first,) = world.runtime.git.pauses()
    assert first.pause.until is not None
    left = first.pause.until - world.runtime.clock.now()
    assert timedelta(minutes=119) < left <= timedelta(hours=2)
    switch.pause(asked(ENVIRONMENT, until="2099-01-01T00:00:00Z"), world.runtime)
    _, second = world.runtime.git.pauses()
    assert second.pause.environments == (ENVIRONMENT,)


@given(st.binary(max_size=200))
def test_whatever_bytes_a_pause_file_has_it_pauses(content: bytes) -> None:
    pause = read_pause("uici.yml", content, max_bytes=1000)
    assert pauses_in([pause], ["here"], NOW).keys() == {"here"}


def test_a_pause_without_an_environment_is_none_elsewhere() -> None:
    everywhere = damaged_pause("uici.yml", "why")
    assert pauses_in([everywhere], ["a", "b"], NOW).keys() == {"a", "b"}
    assert pauses_in([], ["a"], NOW) == {}
