"""Recurring drift becomes a branch for a pull request, on real Git; moot ones go.

The loop, the engine in memory, the agent's own clone and a bare remote. The history that a
proposal rests on is written to the reports branch as earlier runs would have left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.command_line import propose as command
from flows.listener import RunRequest
from flows.proposals.result import Proposal, Result, Writing
from flows.reporting.status import TargetStatus
from flows.repository.process import GitProcess
from tests.fakes.forge import FakeForge, serving
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import KEY
from tests.fakes.loop import LoopWorld, git, loop_world

TARGET = "local-docker/shop"
BRANCH = "uici/propose/local-docker-shop-memory"
FILE = """\
# The shop. Ask Ann before you change it.
apiVersion: uici/v1
kind: Service
metadata: {name: shop, environment: local-docker} # where it is
spec:
  image: 'shop:2.0'   # as tested
  # Enough for a quiet day.
  resources:
    cpu: "0.5"
    memory:   256Mi     # tight
"""
EDIT = ["-    memory:   256Mi     # tight", "+    memory:   320Mi     # tight"]
SECRET = "ghp_0123456789abcdefghij"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as made:
        made.commit(shop=FILE)
        made.run()  # creates it, and the reports branch
        yield made


def remembered(world: LoopWorld, target: str = TARGET, **changes: Any) -> None:
    """Three incidents in the target's status, as if earlier runs had worked on them."""
    desired = world.runtime.git.desired()
    service = desired.services[target]
    now = datetime.now(UTC)
    history = [
        {
            "at": (now - timedelta(hours=hours)).isoformat(),
            "runId": f"run-{hours}",
            "specDigest": service.spec_digest,
            "incidentClass": "stopped",
            "kinds": ["Stopped"],
            "patterns": ["out-of-memory"],
            "planner": "runbook",
            "steps": [{"operation": "start", "parameters": {}}],
            "result": "recovered",
            "seconds": 4.0,
            **changes,
        }
        for hours in (5, 3, 1)
    ]
    kept = world.runtime.git.statuses().get(target) or TargetStatus(
        target=target,
        observed_revision=desired.revision,
        spec_digest=service.spec_digest,
        sync="Synced",
        health="Degraded",
        conditions=(),
    )
    status = kept.model_dump(mode="json", by_alias=True) | {"history": history}
    reports(world, {f"status/{target}.json": json.dumps(status)})


def reports(world: LoopWorld, files: dict[str, str]) -> None:
    """A commit on the reports branch by somebody else's agent."""
    work = world.root / "reports-work"
    if not work.exists():
        git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
    git(work, "pull", "-q", "--rebase")
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "history")
    git(work, "push", "-q")


@pytest.mark.parametrize("blank", ["\t", "  "])
def test_a_file_that_can_not_be_edited_ends_no_run(world: LoopWorld, blank: str) -> None:
    world.commit(shop=FILE.replace("'   #", f"'{blank}#"))
    world.run()
    remembered(world)
    assert not world.run().stopped
    assert bool(tip(world)) == (blank != "\t")


def tip(world: LoopWorld, branch: str = BRANCH) -> str:
    return git(world.remote, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


def edit_of(world: LoopWorld, branch: str = BRANCH) -> list[str]:
    lines = git(world.remote, "diff", "-U0", "main", branch).splitlines()
    return [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def note(world: LoopWorld, name: str = "local-docker-shop-memory") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.file(f"proposals/{name}.json"))
    return found


def asked(world: LoopWorld, writing: Writing = Writing.FOR_REAL) -> tuple[Proposal, ...]:
    request = RunRequest(None, None, None, "asked-by-a-person")
    return command.run(request, world.runtime, writing)


def merge(world: LoopWorld) -> None:
    work = world.root / "work"
    git(work, "fetch", "-q", "origin")
    git(work, "merge", "-q", "--no-edit", f"origin/{BRANCH}")
    git(work, "push", "-q", "origin", "main")


def test_out_of_memory_thrice_becomes_a_branch_with_a_one_line_edit(world: LoopWorld) -> None:
    remembered(world, patterns=["out-of-memory"], result=f"recovered {SECRET}")
    before = git(world.remote, "rev-parse", "main")
    world.run()
    assert edit_of(world) == EDIT
    message = git(world.remote, "log", "-1", "--format=%B", BRANCH)
    assert message.startswith("propose: shop: memory 256Mi → 320Mi\n")
    assert message.count("out-of-memory") == 3
    assert "run run-5" in message
    assert SECRET not in message
    assert "the rule alone proposes" in message
    assert f"UICI-Target: {TARGET}" in message
    assert git(world.remote, "rev-parse", "main", f"{BRANCH}~1").split() == [before, before]
    assert (note(world)["state"], note(world)["new"]) == ("open", "320Mi")


def test_what_its_model_was_asked_stands_in_the_note_without_secrets(tmp_path: Path) -> None:
    said = {
        "diagnosis": f"The cache grows: {SECRET}.",
        "change": {"pointer": "/resources/memory", "new": "512Mi"},
        "why": "It covers the highest use.",
        "risk": "Less room for others.",
    }
    with ScriptedLlm(answer(said)) as server:
        llm = {
            "baseUrl": server.base_url,
            "apiKey": KEY,
            "abilities": {"strictSchema": "yes", "tools": "no"},
        }
        with loop_world(tmp_path, platform={"llm": llm}) as world:
            world.commit(shop=FILE)
            world.run()
            remembered(world, patterns=["out-of-memory"])
            world.run()
            kept = note(world)
    assert kept["new"] == "512Mi"
    (exchange,) = kept["exchanges"]
    assert (exchange["promptTokens"], exchange["outputTokens"]) == (100, 20)
    assert "Field that may be changed: /resources/memory" in str(exchange["messages"])
    assert "It covers the highest use." in exchange["answer"]
    assert "propose.v2.md@" in kept["cost"]
    assert SECRET not in str(kept)
    assert KEY not in str(kept)


def test_a_second_run_makes_no_new_commit_anywhere(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    first, told = tip(world), world.reports()
    world.run()
    world.run()
    assert (tip(world), world.reports()) == (first, told)


def test_merged_it_is_moot_and_its_branch_is_gone(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    merge(world)
    world.run()
    assert tip(world) == ""
    listed = git(world.remote, "ls-tree", "-r", "--name-only", "uici/reports")
    assert "proposals/" not in listed
    assert world.runtime.git.desired().services[TARGET].spec.resources.memory == 320 * 1024**2


def test_another_declaration_makes_it_moot(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    world.commit(shop=FILE.replace('"0.5"', '"1"'))
    world.run()
    assert tip(world) == ""


TIGHTER = FILE.replace("# tight", "# very tight")


def test_an_open_proposal_that_would_conflict_is_made_anew_on_the_same_branch(
    world: LoopWorld,
) -> None:
    remembered(world)
    world.run()
    first = tip(world)
    world.commit(shop=TIGHTER)
    world.run()
    main = git(world.remote, "rev-parse", "main")
    assert git(world.remote, "rev-parse", f"{BRANCH}~1") == main
    assert edit_of(world) == [line.replace("tight", "very tight") for line in EDIT]
    assert note(world)["commit"] == tip(world) != first
    message = git(world.remote, "log", "-1", "--format=%B", BRANCH)
    assert message.startswith("propose: shop: memory 256Mi → 320Mi\n")
    assert (message.count("UICI-Desired: "), main in message) == (1, True)
    merge(world)
    world.run()
    assert tip(world) == ""


def test_one_that_merges_stays_as_it_is(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    first = tip(world)
    world.commit(shop=FILE.replace("Ask Ann", "Ask Bob"))
    world.run()
    assert tip(world) == first


def test_one_whose_file_is_elsewhere_now_is_made_anew_there(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    (world.root / "work" / "shop.yml").unlink()
    world.commit(store=FILE)
    world.run()
    assert git(world.remote, "diff", "--name-only", "main", BRANCH).split() == ["store.yml"]


def test_one_that_can_no_longer_be_made_goes(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    world.commit(shop=FILE.replace("256Mi     # tight", "&small 256Mi"))
    (told, *_) = [p for p in asked(world) if p.result is Result.CLOSED]
    assert "can't be made on the newest commit" in told.told
    assert tip(world) == ""
    (again,) = asked(world)
    assert "not one plain scalar" in again.told


def test_commits_of_others_are_never_overwritten(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    work = world.root / "work"
    git(work, "fetch", "-q", "origin")
    git(work, "checkout", "-q", BRANCH)
    git(work, "commit", "-q", "--allow-empty", "-m", "mine")
    git(work, "push", "-q", "origin", BRANCH)
    git(work, "checkout", "-q", "main")
    theirs = tip(world)
    world.commit(shop=TIGHTER)
    world.run()
    assert tip(world) == theirs


def test_a_branch_that_a_person_has_committed_to_is_left_to_them(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    work = world.root / "work"
    git(work, "fetch", "-q", "origin")
    git(work, "checkout", "-q", BRANCH)
    (work / "shop.yml").write_text((work / "shop.yml").read_text() + "# mine\n")
    git(work, "commit", "-qam", "better")
    git(work, "push", "-q", "origin", BRANCH)
    git(work, "checkout", "-q", "main")
    theirs = tip(world)
    world.commit(shop=FILE.replace('"0.5"', '"1"'))
    world.run()
    world.run()
    assert tip(world) == theirs
    assert note(world)["state"] == "left"


def test_a_branch_that_a_person_deleted_is_not_made_again(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    git(world.remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    world.run()
    world.run()
    assert tip(world) == ""
    assert note(world)["state"] == "refused"
    world.commit(shop=FILE.replace('"0.5"', '"1"'))  # another declaration: no longer refused
    remembered(world)
    world.run()
    assert tip(world) != ""


def test_a_branch_without_its_note_is_known_again(world: LoopWorld) -> None:
    remembered(world)
    world.run()
    first = tip(world)
    work = world.root / "reports-work"
    git(work, "pull", "-q", "--rebase")
    git(work, "rm", "-q", "proposals/local-docker-shop-memory.json")
    git(work, "commit", "-qm", "lost")
    git(work, "push", "-q")
    world.run()
    assert tip(world) == first
    assert note(world)["state"] == "open"
    merge(world)
    world.run()
    assert tip(world) == ""


def test_somebody_elses_branch_of_that_name_is_never_touched(world: LoopWorld) -> None:
    git(world.remote, "update-ref", f"refs/heads/{BRANCH}", "refs/heads/main")
    theirs = tip(world)
    remembered(world)
    for _ in range(2):
        world.run()
    assert tip(world) == theirs


def test_an_image_that_never_came_up_goes_back_to_the_one_that_ran(world: LoopWorld) -> None:
    world.commit(shop=FILE.replace("shop:2.0", "shop:2.1"))
    remembered(world, patterns=[], kinds=["CrashLooping"], result="failed", seconds=None)
    found = [p for p in asked(world) if p.result is Result.OPENED]
    assert [p.branch for p in found] == ["uici/propose/local-docker-shop-image"]
    assert edit_of(world, found[0].branch) == [
        "-  image: 'shop:2.1'   # as tested",
        "+  image: 'shop:2.0'   # as tested",
    ]


def test_an_image_before_it_that_never_ran_is_not_proposed(world: LoopWorld) -> None:
    till = FILE.replace("name: shop", "name: till")
    world.commit(till=till)
    world.commit(till=till.replace("shop:2.0", "shop:2.1"))  # no run has seen the first
    down = {"patterns": [], "kinds": ["CrashLooping"], "result": "failed", "seconds": None}
    remembered(world, "local-docker/till", **down)
    (found,) = asked(world)
    assert found.result is Result.NONE
    assert "no earlier image of it is known to have run" in found.told


@pytest.mark.parametrize(
    "resources",
    [
        "resources: {memory: &small 256Mi}\n  env: {LIMIT: *small}\n",
        "env: {LIMIT: &small 256Mi}\n  resources: {memory: *small}\n",
    ],
)
def test_a_shared_value_is_not_edited(world: LoopWorld, resources: str) -> None:
    head = FILE.partition("  # Enough")[0]
    world.commit(shop=f"{head}  {resources}")
    remembered(world)
    (found,) = asked(world)
    assert found.result is Result.NONE
    assert "a person must look" in found.told
    assert tip(world) == ""


def test_a_compose_service_is_told_and_not_edited(world: LoopWorld) -> None:
    source = """\
apiVersion: uici/v1
kind: Source
metadata: {name: till}
spec: {compose: till/compose.yaml, environment: local-docker, project: till}
"""
    compose = "services:\n  till:\n    image: till:1\n    mem_limit: 64m\n"
    work = world.root / "work"
    (work / "till").mkdir()
    (work / "till" / "compose.yaml").write_text(compose)
    world.commit(till=source)
    (target,) = world.runtime.git.desired().services.keys() - {TARGET}
    remembered(world, target)
    (found,) = asked(world)
    assert found.result is Result.NONE
    assert "comes from a Source" in found.told


def test_a_dry_run_shows_the_diff_and_writes_nothing(world: LoopWorld) -> None:
    remembered(world)
    told = world.reports()
    (found,) = asked(world, Writing.DRY_RUN)
    assert found.result is Result.WOULD_OPEN
    assert all(line in found.diff.splitlines() for line in EDIT)
    assert (tip(world), world.reports()) == ("", told)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Git commands as the agent starts them, really."""
    started: list[str] = []
    real = GitProcess.run

    def counting(self: GitProcess, command: Any, **rest: Any) -> Any:
        started.append(command[0])
        return real(self, command, **rest)

    monkeypatch.setattr(GitProcess, "run", counting)
    return started


def test_a_run_in_which_nothing_recurs_makes_no_git_call_more(
    tmp_path: Path, calls: list[str]
) -> None:
    """The same quiet run with proposals and without: the same commands, of the same number."""
    counted = {}
    for enabled in (True, False):
        root = tmp_path / str(enabled)
        root.mkdir()
        with loop_world(root, platform={"proposals": {"enabled": enabled}}) as quiet:
            quiet.commit(shop=FILE)
            quiet.run()
            quiet.run()
            calls.clear()
            quiet.run()
            counted[enabled] = list(calls)
    assert counted[True] == counted[False]
    assert counted[True].count("fetch") == 1


def test_an_open_proposal_costs_no_git_call_either(world: LoopWorld, calls: list[str]) -> None:
    remembered(world)
    world.run()
    world.run()
    calls.clear()
    world.run()
    assert calls == ["fetch"]


def test_the_command_line_shows_proposes_and_tells_of_it(world: LoopWorld) -> None:
    remembered(world)

    def uici(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--config", str(world.root / "config")])
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = uici("propose", "shop", "--dry-run")
    assert f"would open: {BRANCH}" in shown
    assert all(line in shown.splitlines() for line in EDIT)
    assert tip(world) == ""
    (made,) = json.loads(uici("propose", "--json"))["proposals"]
    assert (made["result"], made["commit"]) == ("opened", tip(world))
    (again,) = json.loads(uici("propose", TARGET, "--json"))["proposals"]
    assert again["result"] == "open"
    assert f"proposed: {TARGET} /resources/memory 256Mi → 320Mi: {BRANCH}" in uici("status")
    (told,) = json.loads(uici("status", "--json"))["proposals"]
    assert told["branch"] == BRANCH


# ── with a forge ────────────────────────────────────────────────────────────────


@pytest.fixture(params=["github", "gitlab", "gitea"])
def forged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LoopWorld, FakeForge]]:
    with serving(request.param) as forge:
        settings = forge.settings().model_dump(mode="json", by_alias=True)
        with loop_world(tmp_path, platform={"proposals": {"forge": settings}}) as made:
            made.commit(shop=FILE)
            made.run()
            forge.branches = lambda head: bool(tip(made, head))
            yield made, forge


def test_a_pull_request_is_opened_once(forged: tuple[LoopWorld, FakeForge]) -> None:
    world, forge = forged
    remembered(world)
    world.run()
    world.run()
    (pull,) = forge.pulls
    assert (pull.head, pull.base, pull.state) == (BRANCH, "main", "open")
    assert "out-of-memory" in pull.text
    assert note(world)["number"] == 1


def test_moot_its_pull_request_is_closed_with_a_sentence(
    forged: tuple[LoopWorld, FakeForge],
) -> None:
    world, forge = forged
    remembered(world)
    world.run()
    world.commit(shop=FILE.replace('"0.5"', '"1"'))
    world.run()
    (pull,) = forge.pulls
    assert pull.state == "closed"
    assert "moot" in pull.comments[0]
    assert tip(world) == ""


def test_closed_by_a_person_it_is_refused_and_its_branch_goes(
    forged: tuple[LoopWorld, FakeForge],
) -> None:
    world, forge = forged
    remembered(world)
    world.run()
    forge.pulls[0].state = "closed"
    world.runtime.proposed.asked.clear()  # as if some minutes had passed
    world.run()
    world.run()
    assert tip(world) == ""
    assert note(world)["state"] == "refused"
    assert len(forge.pulls) == 1


def test_a_forge_in_trouble_leaves_the_branch_and_is_asked_again(
    forged: tuple[LoopWorld, FakeForge],
) -> None:
    world, forge = forged
    remembered(world)
    forge.broken = 500
    found = asked(world)
    assert {p.result for p in found} == {Result.OPENED, Result.FAILED}
    assert edit_of(world) == EDIT
    forge.broken = None
    world.runtime.proposed.asked.clear()
    world.run()
    assert [pull.head for pull in forge.pulls] == [BRANCH]
    assert note(world)["pullRequest"].startswith("https://")


def proposed(world: LoopWorld) -> None:
    remembered(world)
    world.run()


def moot(world: LoopWorld) -> None:
    world.commit(shop=FILE.replace('"0.5"', '"1"'))


def later(world: LoopWorld) -> None:
    """As if the time to wait had passed."""
    work = world.root / "reports-work"
    git(work, "pull", "-q", "--rebase")
    kept = {**note(world), "notBefore": "2026-01-01T00:00:00Z"}
    reports(world, {"proposals/local-docker-shop-memory.json": json.dumps(kept)})


def test_what_may_not_be_closed_is_tried_now_and_then_and_nothing_is_said(
    forged: tuple[LoopWorld, FakeForge],
) -> None:
    world, forge = forged
    proposed(world)
    forge.unchangeable = True
    moot(world)
    world.run()
    told, forge.asked[:] = world.reports(), []
    for _ in range(2):
        world.run()
    (pull,) = forge.pulls
    assert (pull.state, pull.comments, forge.asked) == ("open", [], [])
    assert world.reports() == told
    assert (note(world)["unclosed"], tip(world) != "") == (1, True)
    later(world)
    world.run()
    assert note(world)["unclosed"] == 2
    assert datetime.fromisoformat(note(world)["notBefore"]) > datetime.now(UTC)
    forge.unchangeable = False
    later(world)
    world.run()
    assert (pull.state, len(pull.comments), tip(world)) == ("closed", 1, "")


def test_a_state_that_nobody_knows_is_no_refusal(forged: tuple[LoopWorld, FakeForge]) -> None:
    world, forge = forged
    proposed(world)
    forge.pulls[0].state = "locked"
    world.runtime.proposed.asked.clear()
    world.run()
    assert (note(world)["state"], tip(world) != "") == ("open", True)
    moot(world)
    world.run()
    assert (forge.pulls[0].state, tip(world) != "") == ("locked", True)


@pytest.mark.parametrize(
    ("head", "branch"),
    [
        ("feature/human-work", "uici/propose/q"),
        ("feature/human-work", "feature/human-work"),
    ],
)
def test_a_note_can_not_have_somebody_elses_pull_request_closed(
    forged: tuple[LoopWorld, FakeForge], head: str, branch: str
) -> None:
    world, forge = forged
    proposed(world)
    theirs = forge.add(head)
    kept = {**note(world), "target": "local-docker/gone", "branch": branch}
    reports(world, {"proposals/q.json": json.dumps({**kept, "number": theirs.number})})
    asked(world)
    assert (theirs.state, theirs.comments) == ("open", [])


def test_a_note_that_names_a_closed_one_of_others_refuses_nothing(
    forged: tuple[LoopWorld, FakeForge],
) -> None:
    world, forge = forged
    proposed(world)
    theirs = forge.add("feature/human-work", state="closed")
    kept = {**note(world), "number": theirs.number}
    reports(world, {"proposals/local-docker-shop-memory.json": json.dumps(kept)})
    world.runtime.proposed.asked.clear()
    asked(world)
    assert (note(world)["state"], tip(world) != "") == ("open", True)


def test_a_forge_that_drips_takes_no_more_than_is_left_of_the_run(tmp_path: Path) -> None:
    """The twenty pages at Gitea would take sixteen seconds, the run has four."""
    with serving("gitea") as forge:
        settings = forge.settings(timeout="5s").model_dump(mode="json", by_alias=True)
        platform = {"proposals": {"forge": settings}, "reconcile": {"deadline": "4s"}}
        with loop_world(tmp_path, platform=platform) as world:
            world.commit(shop=FILE)
            world.run()
            for number in range(1000):
                forge.add(f"feature-{number}")
            remembered(world)
            forge.slow = 0.8
            world.run()
            assert len(forge.asked) <= 6
            assert tip(world) != ""  # it was in time
