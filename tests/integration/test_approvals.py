"""Steps that need a person, on real Git: asked, decided in each way, used once, or not done.

The loop over an engine in memory, the agent's own clone, a bare remote, and people who
commit, merge and run commands. Time is the test's own where expiry is the point.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.approvals.decision import Answer, decision_path, use_path
from flows.approvals.request import ApprovalRequest, RequestState
from flows.approvals.wiring import desk_of
from flows.cli import main
from flows.command_line import approve as command
from flows.command_line import manual
from flows.command_line.pause import whoami
from flows.comparison.drift import Incident
from flows.listener import Listener, NullListener, RunRequest
from flows.reconcile import reconcile
from flows.report import IncidentResult, RunReport
from flows.reporting.markdown import render_markdown
from flows.repository.contract import Durability
from flows.runtime import Runtime, open_git
from flows.world import Clock
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import PermanentError
from infrastructure.observed import InstanceState
from infrastructure.operations import OperationCall
from tests.fakes.forge import serving
from tests.fakes.loop import LoopWorld, git, loop_world, service_yaml, write_config
from tests.unit.approvals.made import decision

TARGET = "local-docker/shop"
# A person is asked before anything is started; creating needs nobody.
ASKS: Mapping[str, Any] = {
    "guard": {
        "alwaysApprove": ["start"],
        "policy": {"backoff": {"initial": "0s", "max": "0s"}},
    }
}


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclasses.dataclass
class People:
    """The loop's world, with people in it."""

    world: LoopWorld
    time: Time

    @property
    def runtime(self) -> Runtime:
        return self.world.runtime

    def run(self, runtime: Runtime | None = None, listener: Listener | None = None) -> RunReport:
        request = RunRequest(None, None, None, f"run-{time.monotonic_ns()}")
        return reconcile(request, runtime or self.runtime, listener or NullListener())

    def say(self, answer: Answer, request: str = "", reason: str = "") -> str:
        word = request or self.waiting().id
        return command.decide(self.runtime, word, command.said(answer, reason))

    def waiting(self) -> ApprovalRequest:
        self.runtime.git.refresh()
        (found,) = self.runtime.git.reported().approvals.waiting
        return found

    def asked(self, request: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.world.file(f"approvals/{request}.json"))
        return found

    @property
    def starts(self) -> int:
        """How often the engine was asked to start something."""
        return sum(call.primitive == "start" for _, call in self.world.engine.calls)

    def stop(self, name: str = "shop") -> None:
        self.world.engine.kill(name)

    def is_up(self, name: str = "shop") -> bool:
        found = [c for c in self.world.engine.containers.values() if c.name == name]
        return bool(found) and found[0].state is InstanceState.RUNNING

    def branches(self) -> list[str]:
        names = git(self.world.remote, "for-each-ref", "--format=%(refname:short)", "refs/heads")
        return [name for name in names.splitlines() if name.startswith("uici/approve/")]

    def work(self) -> Path:
        """A person's clone, as the remote is now."""
        path = self.world.root / "work"
        git(path, "fetch", "-q", "origin")
        git(path, "reset", "-q", "--hard", "origin/main")
        return path

    def merge(self, branch: str, edit: Callable[[str], str] | None = None) -> None:
        work = self.work()
        git(work, "merge", "-q", "--no-ff", "-m", "yes", f"origin/{branch}")
        if edit is not None:
            path = work / "approvals" / f"{branch.rpartition('/')[2]}.yml"
            path.write_text(edit(path.read_text()))
            git(work, "commit", "-qam", "with changes")
        git(work, "push", "-q", "origin", "main")

    def write(self, files: Mapping[str, str]) -> None:
        """Somebody pushes files to the reports branch."""
        work = self.world.root / "reports-work"
        if not work.exists():
            git(
                self.world.root,
                "clone",
                "-q",
                "-b",
                "uici/reports",
                str(self.world.remote),
                work.name,
            )
        git(work, "pull", "-q", "--rebase")
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        git(work, "add", "-A")
        git(work, "commit", "-qm", "by hand")
        git(work, "push", "-q")

    def second_agent(self) -> Runtime:
        """Another agent on the same repository and engine, with a clone of its own."""
        folder = self.world.root / "second"
        folder.mkdir()
        platform = {"git": {"remote": str(self.world.remote)}, **ASKS}
        loaded = UniversalConfigLoader(write_config(folder / "config", platform=platform)).load()
        first = self.runtime
        made = open_git(loaded, first.identity, first.redactor)
        return dataclasses.replace(first, config=loaded, git=made)


@contextlib.contextmanager
def people_with(root: Path, **platform: Any) -> Iterator[People]:
    clock = Time()
    with loop_world(root, platform={**ASKS, **platform}) as made:
        made.runtime = dataclasses.replace(made.runtime, clock=Clock(clock.now, time.sleep))
        made.commit(shop=service_yaml("shop"), bank=service_yaml("bank"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield People(made, clock)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    """A shop and a bank that run; nothing is started without a person."""
    with people_with(tmp_path) as made:
        yield made


@pytest.fixture
def asked(people: People) -> People:
    """The shop is down, and a person is asked."""
    people.stop()
    people.run()
    return people


# ── asking ──────────────────────────────────────────────────────────────────────


def test_a_step_that_needs_a_person_is_asked_for_and_not_done(people: People) -> None:
    people.stop()
    report = people.run()

    (incident,) = report.incidents
    assert incident.result is IncidentResult.WAITING
    assert people.starts == 0
    request = people.waiting()
    assert f"uici approve {request.id}" in incident.summary
    kept = people.asked(request.id)
    assert kept["target"] == TARGET
    assert kept["planDigest"] == incident.plan.digest
    assert kept["plan"]["steps"][0]["operation"] == "start"
    assert kept["runId"] == report.run_id
    assert request.expires_at - request.requested_at == timedelta(hours=4)
    assert request.id in people.world.file("status/local-docker/shop.json")


def test_while_it_waits_nothing_is_asked_planned_or_committed_again(asked: People) -> None:
    before = asked.waiting()
    commits = asked.world.reports()
    report = asked.run()
    assert report.incidents == ()
    assert asked.waiting() == before
    assert asked.world.reports() == commits


def test_only_its_own_target_is_held(asked: People) -> None:
    asked.world.engine.remove("bank")  # created anew without a person
    asked.run()
    assert asked.is_up("bank")
    assert not asked.is_up("shop")


def test_a_fault_that_ends_by_itself_ends_the_question(asked: People) -> None:
    request = asked.waiting()
    asked.world.engine.named("shop").run()
    asked.run()
    assert asked.asked(request.id)["state"] == "over"
    assert asked.branches() == []


# ── the three ways ──────────────────────────────────────────────────────────────


def test_an_approval_by_command_is_carried_out_once(asked: People) -> None:
    request = asked.waiting()
    told = asked.say(Answer.APPROVE, reason="drained")
    assert "approved by" in told

    report = asked.run()

    (incident,) = report.incidents
    assert incident.result is IncidentResult.RECOVERED
    assert [v.rule for v in incident.verdicts] == ["approved"]
    assert asked.is_up()
    assert asked.starts == 1
    kept = asked.asked(request.id)
    assert kept["state"] == "used"
    assert report.run_id in kept["told"]

    asked.stop()  # the same fault again: the same plan, and another question
    again = asked.run()
    assert again.incidents[0].result is IncidentResult.WAITING
    assert asked.waiting().id != request.id
    assert asked.starts == 1


def test_the_use_is_in_git_before_the_engine_is_touched(asked: People) -> None:
    request = asked.waiting()
    asked.say(Answer.APPROVE)
    seen: list[str] = []

    class Watch(NullListener):
        def operation_started(self, incident: Incident, call: OperationCall) -> None:  # noqa: ARG002
            names = git(asked.world.remote, "ls-tree", "-r", "--name-only", "uici/reports")
            seen.extend(n for n in names.splitlines() if f"approvals/{request.id}/used-" in n)

    asked.run(listener=Watch())
    assert len(seen) == 1


def test_a_merge_of_its_branch_approves(asked: People) -> None:
    request = asked.waiting()
    (branch,) = asked.branches()
    assert branch == f"uici/approve/{request.id}"

    asked.merge(branch)
    report = asked.run()

    assert report.desired.refused_revision is None  # the file is no desired state
    assert set(report.desired.services) == {TARGET, "local-docker/bank"}
    (incident,) = report.incidents
    assert incident.result is IncidentResult.RECOVERED
    assert "approved by ann (merge" in incident.verdicts[0].reason
    assert asked.branches() == []
    asked.stop()
    assert asked.run().incidents[0].result is IncidentResult.WAITING  # the file stays, and is spent


def test_a_branch_that_could_not_be_deleted_is_by_a_later_run(people: People) -> None:
    people.stop()
    people.run()
    assert len(people.branches()) == 1
    remote, aside = people.world.remote, people.world.root / "aside.git"
    people.say(Answer.REJECT)
    remote.rename(aside)  # away while the request ends
    people.run()
    aside.rename(remote)
    assert len(people.branches()) == 1
    people.run()  # too soon; what could not be pushed is now
    assert len(people.branches()) == 1
    people.time.ahead += timedelta(minutes=11)
    later = people.second_agent()  # any agent, also one that has never heard of it
    people.run(later)
    assert people.branches() == []
    people.run(later)
    commits = len(people.world.reports())
    people.run(later)
    assert len(people.world.reports()) == commits


def test_a_merge_with_changes_approves_nothing(asked: People) -> None:
    (branch,) = asked.branches()
    asked.merge(branch, edit=lambda text: text.replace("start", "restart"))
    asked.run()
    assert asked.starts == 0
    assert not asked.is_up()


def test_the_branch_holds_the_file_in_words_and_nothing_else(asked: People) -> None:
    request = asked.waiting()
    (branch,) = asked.branches()
    assert git(asked.world.remote, "diff", "--name-only", f"main...{branch}") == (
        f"approvals/{request.id}.yml"
    )
    text = git(asked.world.remote, "show", f"{branch}:approvals/{request.id}.yml")
    assert "# UICI asks to be allowed to work on local-docker/shop." in text
    assert yaml.safe_load(text)["plan"]["digest"] == request.plan_digest


def test_a_pull_request_is_opened_and_closed_with_the_question(tmp_path: Path) -> None:
    with serving("github") as forge:
        settings = forge.settings().model_dump(mode="json", by_alias=True)
        with people_with(tmp_path, proposals={"forge": settings}) as people:
            people.stop()
            forge.broken = 503
            people.run()
            assert people.branches()  # the branch needs no forge
            assert forge.pulls == []
            forge.broken = None
            people.time.ahead = timedelta(minutes=11)
            people.run()
            people.run()
            (pull,) = forge.pulls
            request = people.waiting()
            assert (pull.head, pull.base, pull.state) == (people.branches()[0], "main", "open")
            assert f"`uici approve {request.id}`" in pull.text
            assert request.pull_request is not None
            people.say(Answer.REJECT)
            people.run()
            assert pull.state == "closed"
            assert people.branches() == []


def test_the_command_line_decides_and_tells(
    asked: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked.waiting()
    config = str(asked.world.root / "config")

    def uici(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["uici", *words, "--config", config])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out + out.err

    code, text = uici("approve")
    assert (code, request.id in text, "start local-docker/shop" in text) == (0, True, True)
    code, text = uici("approve", "--json")
    assert json.loads(text)["requests"][0]["id"] == request.id
    assert uici("approve", "0000")[0] == 1
    assert uici("approve", "--renew")[0] == 1
    assert uici("approve", "--renew", request.id)[0] == 1  # it waits
    assert f"needs approval: {TARGET}" in uici("status")[1]
    code, text = uici("approve", request.id[:6], "--reason", "drained \x1b[31m")
    assert code == 0
    assert "\x1b" not in text
    assert "drained" in text
    code, text = uici("approve", request.id)
    assert (code, "can't be decided any more, it is approved" in text) == (1, True)
    code, text = uici("reject", request.id, "--json")
    assert json.loads(text)["requests"][0]["standing"] == "rejected"


def test_people_see_what_would_be_done(asked: People, capsys: pytest.CaptureFixture[str]) -> None:
    request = asked.waiting()
    shown = command.listing(asked.runtime)
    command.show(shown, asked.time.now())
    text = capsys.readouterr().out
    for word in (
        request.id,
        "start local-docker/shop",
        "risk",
        "Expires",
        request.run_id,
        "uici reject",
    ):
        assert word in text
    (data,) = command.as_data(shown)["requests"]
    assert (data["id"], data["standing"]) == (request.id, "waiting")
    _show_unsettled(asked)
    assert f"needs approval: {TARGET}: start: uici approve {request.id}" in capsys.readouterr().out


def _show_unsettled(asked: People) -> None:
    """As `uici status` does."""
    runtime = asked.runtime
    desired = runtime.desired()
    found = command.unsettled(runtime, desired, runtime.git.reported().approvals)
    command.show_unsettled(found, [TARGET], asked.time.now())


def test_what_was_approved_is_not_called_waiting_and_names_who_said_yes(
    asked: People, capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked.waiting()
    asked.say(Answer.APPROVE)
    _show_unsettled(asked)
    told = capsys.readouterr().out
    assert "needs approval" not in told
    assert f"approved: {TARGET}: start: approved by {whoami()} (command)" in told
    assert "the next run does it" in told
    report = asked.run()
    (past,) = report.statuses[TARGET].history
    assert (past.approval, past.approved_by) == (request.id, whoami())
    assert f"start (approved by {whoami()}) → recovered" in render_markdown(report)


# ── no ──────────────────────────────────────────────────────────────────────────


def test_a_rejection_is_a_no_that_lasts(asked: People) -> None:
    request = asked.waiting()
    asked.say(Answer.REJECT, reason="the disk is being changed")
    for _ in range(2):
        assert asked.run().incidents == ()
    assert asked.asked(request.id)["state"] == "rejected"
    assert "the disk is being changed" in asked.asked(request.id)["told"]
    assert asked.starts == 0
    with pytest.raises(PermanentError, match="rejected"):
        asked.say(Answer.APPROVE, request.id)


def test_a_no_after_a_yes_is_a_no(asked: People) -> None:
    asked.say(Answer.APPROVE)
    asked.say(Answer.REJECT)
    asked.run()
    assert asked.starts == 0


def test_renewed_it_is_asked_again_and_approves_nothing(asked: People) -> None:
    first = asked.waiting()
    asked.say(Answer.REJECT)
    asked.run()
    asked.say(Answer.RENEW, first.id)
    asked.run()
    second = asked.waiting()
    assert second.id != first.id
    assert second.renews == first.id
    assert second.plan_digest == first.plan_digest
    assert asked.starts == 0
    asked.say(Answer.APPROVE)
    asked.run()
    assert asked.starts == 1


def test_expired_people_are_told_once_and_it_is_not_asked_again(asked: People) -> None:
    request = asked.waiting()
    asked.time.ahead = timedelta(hours=4, seconds=1)
    with pytest.raises(PermanentError, match="expired"):
        asked.say(Answer.APPROVE, request.id)

    report = asked.run()
    assert [i.result for i in report.incidents] == [IncidentResult.ESCALATED]
    assert f"--renew {request.id}" in report.incidents[0].summary
    assert asked.asked(request.id)["state"] == "expired"
    assert asked.branches() == []

    assert asked.run().incidents == ()
    asked.say(Answer.RENEW, request.id)
    asked.run()
    assert asked.waiting().renews == request.id
    assert asked.starts == 0


def test_approved_while_it_expires_is_not_done(asked: People) -> None:
    asked.say(Answer.APPROVE)
    asked.time.ahead = timedelta(hours=4, seconds=1)
    asked.run()
    assert asked.starts == 0


def test_expired_between_verdict_and_step_it_is_not_begun(asked: People) -> None:
    asked.say(Answer.APPROVE)

    class Late(NullListener):
        def operation_started(self, incident: Incident, call: OperationCall) -> None:  # noqa: ARG002
            asked.time.ahead = timedelta(hours=4, seconds=1)

    report = asked.run(listener=Late())
    assert "approval has ended" in report.incidents[0].summary
    assert asked.starts == 0


def test_another_desired_state_makes_the_approval_void_and_asks_anew(asked: People) -> None:
    first = asked.waiting()
    asked.say(Answer.APPROVE)
    asked.work()
    asked.world.commit(bank=service_yaml("bank", env={"A": "b"}))
    report = asked.run()
    assert asked.starts == 0
    shop = next(i for i in report.incidents if i.incident.root == TARGET)
    assert shop.result is IncidentResult.WAITING
    second = asked.waiting()
    assert (second.plan_digest, second.id != first.id) == (first.plan_digest, True)
    assert asked.asked(first.id)["state"] == "superseded"
    with pytest.raises(PermanentError):
        asked.say(Answer.APPROVE, first.id)


def test_another_requests_merge_and_a_pause_change_nothing_about_it(asked: People) -> None:
    asked.say(Answer.APPROVE)
    work = asked.work()
    (work / "approvals").mkdir()
    (work / "approvals" / f"{'0' * 12}.yml").write_text("not: even\n  yaml")
    (work / "uici.yml").write_text("apiVersion: uici/v1\nkind: Pause\nreason: tea\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "a pause")
    git(work, "push", "-q")
    asked.run()
    assert asked.starts == 0  # a pause stops what was approved, too
    git(work, "rm", "-q", "uici.yml")
    git(work, "commit", "-qm", "go on")
    git(work, "push", "-q")
    asked.run()
    assert asked.starts == 1


def test_while_the_remote_is_away_nothing_is_used(asked: People) -> None:
    asked.say(Answer.APPROVE)
    away = asked.world.remote.rename(asked.world.root / "away.git")
    report = asked.run()
    assert asked.starts == 0
    assert report.intent_commit is None
    away.rename(asked.world.root / "remote.git")
    asked.run()
    assert asked.starts == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"plan_digest": "0" * 64},
        {"desired_content": "0" * 64},
        {"request": "0" * 12},
    ],
)
def test_a_forged_approval_is_none(asked: People, lie: dict[str, str]) -> None:
    request = asked.waiting()
    said = decision(request, at=asked.time.now(), **lie)
    asked.write({decision_path(said): said.model_dump_json(by_alias=True)})
    asked.run()
    assert asked.starts == 0


def test_a_request_that_was_made_to_last_is_none(asked: People) -> None:
    request = asked.waiting()
    kept = {**asked.asked(request.id), "expiresAt": "2099-01-01T00:00:00Z"}
    lasting = request.model_copy(update={"expires_at": datetime(2099, 1, 1, tzinfo=UTC)})
    said = decision(lasting, at=asked.time.now())
    asked.write(
        {
            f"approvals/{request.id}.json": json.dumps(kept),
            decision_path(said): said.model_dump_json(by_alias=True),
        }
    )
    asked.run()
    assert asked.starts == 0


def test_a_plan_out_of_a_forged_request_does_not_run_alone(people: People) -> None:
    people.stop()
    first = people.run().incidents[0]
    known = people.waiting()
    wanted = [{"operation": "restart", "target": TARGET, "parameters": {}}]
    steps = (known.plan.steps[0].model_copy(update=wanted[0]),)
    plan = known.plan.model_copy(update={"steps": steps})
    digest = dataclasses.replace(
        first.plan, steps=(dataclasses.replace(first.plan.steps[0], operation="restart"),)
    ).digest
    forged = known.model_copy(
        update={"plan": plan, "plan_digest": digest, "renews": "x"}
    ).identified()
    over = known.settled(RequestState.SUPERSEDED, people.time.now(), "forged")
    people.write(
        {
            f"approvals/{known.id}.json": over.model_dump_json(by_alias=True),
            f"approvals/{forged.id}.json": forged.model_dump_json(by_alias=True),
        }
    )
    people.world.commit(bank=service_yaml("bank", env={"A": "b"}))  # so that it is looked at anew
    report = people.run()
    operations = {s.operation for i in report.incidents for s in i.plan.steps}
    assert "restart" not in operations
    assert "restart" not in {call.primitive for _, call in people.world.engine.calls}


def test_a_word_about_one_target_is_none_about_another(asked: People) -> None:
    asked.say(Answer.APPROVE)
    asked.stop("bank")
    report = asked.run()
    results = {i.incident.root: i.result for i in report.incidents}
    assert results == {
        TARGET: IncidentResult.RECOVERED,
        "local-docker/bank": IncidentResult.WAITING,
    }
    assert asked.starts == 1  # the word about the shop is none about the bank


# ── races ───────────────────────────────────────────────────────────────────────


def test_two_who_approve_at_once_approve_once(asked: People) -> None:
    request = asked.waiting()
    others = [
        desk_of(
            asked.runtime,
            open_git(asked.runtime.config, asked.runtime.identity, asked.runtime.redactor),
        )
        for _ in range(2)
    ]
    ready = threading.Barrier(2)
    refused: list[str] = []

    def approve(number: int) -> None:
        ready.wait()
        try:
            others[number].say(request.id, command.said(Answer.APPROVE, f"number {number}"))
        except PermanentError as exc:
            refused.append(str(exc))

    threads = [threading.Thread(target=approve, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) <= 1
    asked.run()
    asked.stop()
    asked.run()
    assert asked.starts == 1


def test_of_two_agents_only_one_uses_it(asked: People) -> None:
    asked.say(Answer.APPROVE)
    other = asked.second_agent()
    other.git.desired()
    reports: list[RunReport] = []

    class Overtaken(NullListener):
        """Once the first has judged, the second one does everything."""

        def judged(self, incident: Incident, verdicts: object) -> None:  # noqa: ARG002
            if not reports:
                reports.append(asked.run(runtime=other))
                asked.stop()  # as if it had fallen again: nothing else would show a second use

    report = asked.run(listener=Overtaken())
    assert reports[0].incidents[0].result is IncidentResult.RECOVERED
    assert report.incidents[0].result is IncidentResult.HELD
    assert asked.starts == 1


def test_the_branch_itself_says_who_was_the_first_to_use_it(asked: People) -> None:
    """Also where nothing else keeps two runs apart: the later commit holds both uses."""
    request, now = asked.waiting().id, asked.time.now()
    other = asked.second_agent()
    other.git.desired()
    shas: list[str] = []
    for number, state in enumerate((other.git, asked.runtime.git)):  # neither sees the other
        files = {use_path(request, f"run-{number}"): b"{}"}
        done = state.approvals()._commit(files, "use", now)
        assert done is not None
        assert done.durability is Durability.PUSHED
        shas.append(done.sha)
    first, second = other.git.approvals(), asked.runtime.git.approvals()
    assert first.used_by_others(shas[0], {request: use_path(request, "run-0")}) == frozenset()
    assert second.used_by_others(shas[1], {request: use_path(request, "run-1")}) == {request}
    # A commit that is not on the branch proves nothing.
    assert second.used_by_others("0" * 40, {request: use_path(request, "run-1")}) == {request}


def test_two_agents_ask_with_one_voice(people: People) -> None:
    other = people.second_agent()
    people.stop()
    people.run()
    people.run(runtime=other)
    assert people.waiting().target == TARGET


def test_two_agents_that_ask_at_once_hold_to_one_question(people: People) -> None:
    other = people.second_agent()
    people.stop()
    runs: list[RunReport] = []

    class Overtaken(NullListener):
        def judged(self, incident: Incident, verdicts: object) -> None:  # noqa: ARG002
            if not runs:
                runs.append(people.run(runtime=other))

    people.run(listener=Overtaken())
    people.runtime.git.refresh()
    first, second = people.runtime.git.reported().approvals.waiting
    with pytest.raises(PermanentError, match=first.id):
        people.say(Answer.APPROVE, second.id)
    people.say(Answer.APPROVE, first.id)
    people.run()
    assert people.starts == 1
    assert people.asked(first.id)["state"] == "used"
    people.run(runtime=other)
    assert people.asked(second.id)["state"] in {"over", "superseded"}


class Killed(BaseException):
    """As kill -9: nothing after it is done."""


def test_killed_between_use_and_step_it_is_spent_and_asked_again(asked: People) -> None:
    first = asked.waiting()
    asked.say(Answer.APPROVE)

    class Kill(NullListener):
        def intent_committed(self, result: object) -> None:  # noqa: ARG002
            raise Killed

    with pytest.raises(Killed):
        asked.run(listener=Kill())
    assert asked.starts == 0

    asked.time.ahead = timedelta(minutes=6)  # longer than the dead run could have lasted
    report = asked.run(runtime=asked.second_agent())
    assert asked.starts == 0
    assert report.incidents[0].result is IncidentResult.WAITING
    second = asked.waiting()
    assert second.id != first.id
    assert second.plan_digest == first.plan_digest  # what people were shown is shown again
    assert asked.asked(first.id)["state"] == "used"
    asked.say(Answer.APPROVE)
    asked.run()
    assert asked.starts == 1


def test_killed_after_the_step_it_is_not_done_twice(asked: People) -> None:
    asked.say(Answer.APPROVE)

    class Kill(NullListener):
        def operation_finished(self, incident: Incident, outcome: object) -> None:  # noqa: ARG002
            raise Killed

    with pytest.raises(Killed):
        asked.run(listener=Kill())
    assert asked.starts == 1
    asked.stop()
    other = asked.second_agent()
    for minutes in (0, 6):  # while the dead run might still work, and afterwards
        asked.time.ahead = timedelta(minutes=minutes)
        asked.run(runtime=other)
        assert asked.starts == 1


# ── approved often enough ───────────────────────────────────────────────────────


def test_after_enough_approvals_that_helped_it_runs_alone_until_one_does_not(
    tmp_path: Path,
) -> None:
    policy = {"allowUpTo": "read", "backoff": {"initial": "0s", "max": "0s"}}
    guard = {"alwaysApprove": [], "policy": policy}
    with people_with(tmp_path, guard=guard, approvals={"trustAfter": 2}) as people:
        for name in ("shop", "bank"):  # the class is what counts, whichever the target
            people.stop(name)
            assert people.run().incidents[0].result is IncidentResult.WAITING
            people.say(Answer.APPROVE)
            assert people.run().incidents[0].result is IncidentResult.RECOVERED
        assert people.starts == 2

        people.stop()
        (alone,) = people.run().incidents
        assert (alone.result, alone.verdicts[0].rule) == (IncidentResult.RECOVERED, "trusted")

        people.world.engine.failures["start"] = PermanentError("no such program")
        people.stop()
        (failed,) = people.run().incidents
        assert (failed.result, failed.verdicts[0].rule) == (IncidentResult.FAILED, "trusted")
        people.world.engine.failures.clear()

        people.stop("bank")
        bank = next(i for i in people.run().incidents if i.incident.root.endswith("bank"))
        assert bank.result is IncidentResult.WAITING
        assert bank.verdicts[0].rule == "risk"


# ── by hand ─────────────────────────────────────────────────────────────────────


def test_what_a_person_asks_for_waits_for_another_and_is_done_when_asked_again(
    people: People,
) -> None:
    people.stop()

    def by_hand() -> RunReport:
        wanted = manual.Asked("start", TARGET, {})
        done = manual.run(wanted, people.runtime, NullListener(), run_id=f"r{time.monotonic_ns()}")
        assert done.report is not None
        return done.report

    assert by_hand().incidents[0].result is IncidentResult.WAITING
    people.say(Answer.APPROVE)
    assert by_hand().incidents[0].result is IncidentResult.RECOVERED
    assert people.starts == 1
