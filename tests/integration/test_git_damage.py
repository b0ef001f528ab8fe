"""The agent's own clone after a power cut, a bad disk or a full one: it mends itself.

Each damage is done by hand to a real clone that has fetched, reported and holds a commit
that was not pushed; the loop's own entry (open, desired state, report) is what has to go on.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flows.git_state import GitState
from flows.repository.clone import GitRepository
from flows.repository.contract import CloneDamagedError, Durability
from infrastructure.errors import TemporaryError
from tests.fakes.loop import loop_world, service_yaml
from tests.integration.git_world import NOW, REPORTS, Remote, agent, git, state

UNPUSHED = "unpushed.md"


class Agent:
    """One agent whose clone is going to be damaged."""

    def __init__(self, tmp_path: Path) -> None:
        self.remote = Remote(tmp_path / "remote.git")
        self.remote.commit({"services/shop.yml": b"shop:1"})
        self.data = tmp_path / "data"
        repository = agent(self.remote.path, self.data)
        self.clone = repository.directory
        self.good = state(repository).desired().revision
        repository.push(REPORTS, write(repository, "pushed.md"))

    def leave_unpushed(self, name: str = UNPUSHED) -> str:
        """Commit a report that the remote does not get."""
        return write(agent(self.remote.path, self.data), name)

    def open(self) -> GitState:
        """As a process does that has just started."""
        return state(agent(self.remote.path, self.data))

    def aside(self) -> list[Path]:
        return sorted(self.clone.parent.glob("*.damaged-*"))

    def pack(self) -> None:
        """Everything in one pack and one file of refs, as after garbage collection."""
        git(self.clone, "gc", "--quiet", "--prune=now")

    def loosen(self) -> None:
        """Every object a file of its own."""
        packs = self.clone / "objects" / "pack"
        moved = self.clone / "moved"
        shutil.move(packs, moved)
        packs.mkdir()
        for pack in moved.glob("*.pack"):
            git(self.clone, "unpack-objects", "-q", stdin=pack.read_bytes())
        shutil.rmtree(moved)

    def object(self, revision: str) -> Path:
        """A loose object's file, ready to be hurt."""
        sha = git(self.clone, "rev-parse", revision)
        path = self.clone / "objects" / sha[:2] / sha[2:]
        path.chmod(0o644)
        return path


def write(repository: GitRepository, name: str) -> str:
    made = repository.commit(REPORTS, {name: name.encode()}, message=f"{name}\n", at=NOW)
    assert made is not None
    return made.sha


@pytest.fixture
def hurt(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


# ── damages ─────────────────────────────────────────────────────────────────────


def truncated_pack(hurt: Agent) -> None:
    hurt.pack()
    for pack in (hurt.clone / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o644)
        os.truncate(pack, pack.stat().st_size // 2)


def missing_pack(hurt: Agent) -> None:
    hurt.pack()
    for pack in (hurt.clone / "objects" / "pack").glob("*.pack"):
        pack.unlink()


def truncated_index(hurt: Agent) -> None:
    hurt.pack()
    for index in (hurt.clone / "objects" / "pack").glob("*.idx"):
        index.chmod(0o644)
        os.truncate(index, 100)


def empty_head(hurt: Agent) -> None:
    (hurt.clone / "HEAD").write_bytes(b"")


def empty_ref(hurt: Agent) -> None:
    (hurt.clone / "refs" / "remotes" / "origin" / "main").write_bytes(b"")


def empty_last_good(hurt: Agent) -> None:
    (hurt.clone / "refs" / "uici" / "last-good" / "main").write_bytes(b"")


def zeros_in_ref(hurt: Agent) -> None:
    (hurt.clone / "refs" / "remotes" / "origin" / "main").write_bytes(b"\0" * 41)


def garbage_in_packed_refs(hurt: Agent) -> None:
    git(hurt.clone, "pack-refs", "--all")
    with (hurt.clone / "packed-refs").open("ab") as file:
        file.write(b"\0\xff garbage\n")


def empty_commit(hurt: Agent) -> None:
    hurt.loosen()
    hurt.object("refs/remotes/origin/main").write_bytes(b"")


def empty_blob(hurt: Agent) -> None:
    hurt.loosen()
    hurt.object("refs/remotes/origin/main:services/shop.yml").write_bytes(b"")


def missing_blob(hurt: Agent) -> None:
    hurt.loosen()
    hurt.object("refs/remotes/origin/main:services/shop.yml").unlink()


def missing_tree(hurt: Agent) -> None:
    hurt.loosen()
    hurt.object("refs/remotes/origin/main:services").unlink()


def garbage_in_blob(hurt: Agent) -> None:
    hurt.loosen()
    hurt.object("refs/remotes/origin/main:services/shop.yml").write_bytes(b"no zlib stream")


def no_refs_folder(hurt: Agent) -> None:
    shutil.rmtree(hurt.clone / "refs")


def no_objects_folder(hurt: Agent) -> None:
    shutil.rmtree(hurt.clone / "objects")


def garbage_in_config(hurt: Agent) -> None:
    (hurt.clone / "config").write_text("[[[")


def a_file_in_its_place(hurt: Agent) -> None:
    shutil.rmtree(hurt.clone)
    hurt.clone.write_text("no folder")


# What leaves the unpushed commit readable, and what does not.
SPARING = [
    empty_head,
    empty_ref,
    empty_last_good,
    zeros_in_ref,
    garbage_in_packed_refs,
    empty_commit,
    empty_blob,
    missing_blob,
    missing_tree,
    garbage_in_blob,
    garbage_in_config,
]
RUINOUS = [
    truncated_pack,
    missing_pack,
    truncated_index,
    no_refs_folder,
    no_objects_folder,
    a_file_in_its_place,
]


@pytest.mark.parametrize("damage", SPARING)
def test_a_damaged_clone_is_made_anew_and_keeps_unpushed_reports(
    hurt: Agent, damage: Callable[[Agent], None]
) -> None:
    hurt.leave_unpushed("first.md")
    hurt.leave_unpushed()
    damage(hurt)
    agent_state = hurt.open()
    with capture_logs() as log:
        desired = agent_state.desired()
    assert desired.revision == hurt.good
    assert set(desired.services) == {"local/shop"}
    (aside,) = hurt.aside()
    (told,) = [line for line in log if line["event"] == "clone_damaged"]
    assert (told["clone"], told["set_aside"]) == (str(hurt.clone), str(aside))
    assert [p.file for p in desired.problems] == [str(hurt.clone)]
    assert str(aside) in desired.problems[0].message
    assert desired.lost == ()
    pushed = agent_state.push_pending()
    assert pushed is not None
    assert pushed.durability is Durability.PUSHED
    assert set(hurt.remote.files()) == {"pushed.md", "first.md", UNPUSHED}
    assert hurt.remote.messages() == ["pushed.md", "first.md", UNPUSHED]
    again = agent_state.desired()
    assert (again.problems, again.lost) == ((), ())
    assert hurt.aside() == [aside]
    assert "error" not in git(hurt.clone, "fsck", "--no-dangling")


@pytest.mark.parametrize("damage", RUINOUS)
def test_what_can_not_be_saved_is_told(hurt: Agent, damage: Callable[[Agent], None]) -> None:
    hurt.leave_unpushed()
    damage(hurt)
    agent_state = hurt.open()
    desired = agent_state.desired()
    assert desired.revision == hurt.good
    (aside,) = hurt.aside()
    (lost,) = desired.lost
    assert REPORTS in lost
    assert str(aside) in lost
    result = agent_state.heartbeat(NOW.replace(year=2027))
    assert result is not None
    assert result.durability is Durability.PUSHED
    assert agent_state.desired().lost == ()


@pytest.mark.parametrize("damage", [empty_head, empty_blob, truncated_pack])
def test_a_process_that_runs_on_mends_its_clone_too(
    hurt: Agent, damage: Callable[[Agent], None]
) -> None:
    agent_state = hurt.open()
    agent_state.desired()
    damage(hurt)
    hurt.remote.commit({"services/more.yml": b"more:1"})
    assert set(agent_state.desired().services) == {"local/shop", "local/more"}
    assert len(hurt.aside()) == 1


def test_nothing_is_lost_where_nothing_was_unpushed(hurt: Agent) -> None:
    empty_head(hurt)
    desired = hurt.open().desired()
    assert desired.lost == ()
    assert hurt.open().push_pending() is None


def test_the_readable_part_of_the_unpushed_is_saved(hurt: Agent) -> None:
    hurt.leave_unpushed("first.md")
    hurt.leave_unpushed("second.md")
    hurt.loosen()
    hurt.object(f"refs/heads/{REPORTS}:second.md").unlink()
    agent_state = hurt.open()
    agent_state.desired()
    empty_head(hurt)
    agent_state = hurt.open()
    (lost,) = agent_state.desired().lost
    assert lost.startswith("1 commits of uici/reports")
    agent_state.push_pending()
    assert set(hurt.remote.files()) == {"pushed.md", "first.md"}


def test_saved_reports_stand_on_what_others_have_pushed_since(hurt: Agent) -> None:
    hurt.leave_unpushed()
    other = agent(hurt.remote.path, hurt.data.with_name("other"))
    other.fetch("main", REPORTS)
    other.push(REPORTS, write(other, "theirs.md"))
    empty_head(hurt)
    agent_state = hurt.open()
    agent_state.desired()
    agent_state.push_pending()
    assert hurt.remote.messages() == ["pushed.md", "theirs.md", UNPUSHED]


@pytest.mark.parametrize("damage", [empty_head, empty_commit, missing_blob, garbage_in_packed_refs])
def test_without_the_remote_nothing_changes_and_both_places_are_named(
    hurt: Agent, tmp_path: Path, damage: Callable[[Agent], None]
) -> None:
    hurt.leave_unpushed()
    damage(hurt)
    away = hurt.remote.path.rename(tmp_path / "away.git")
    before = {p for p in hurt.clone.rglob("*") if not p.name.endswith(".lock")}
    for _ in range(2):
        with pytest.raises(CloneDamagedError) as caught:
            hurt.open().desired()
        text = str(caught.value)
        assert str(hurt.clone) in text
        assert str(hurt.remote.path) in text
        assert "\n" not in text
    assert {p for p in hurt.clone.rglob("*") if not p.name.endswith(".lock")} == before
    names = {path.name for path in hurt.clone.parent.iterdir()}
    assert names == {hurt.clone.name, f"{hurt.clone.name}.renewal.lock"}
    away.rename(hurt.remote.path)
    agent_state = hurt.open()
    assert agent_state.desired().revision == hurt.good
    agent_state.push_pending()
    assert UNPUSHED in hurt.remote.files()


def test_a_damaged_remote_is_no_damage_of_the_clone(hurt: Agent) -> None:
    hurt.remote.commit({"services/more.yml": b"more:1"})
    for path in (hurt.remote.path / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")
    desired = hurt.open().desired()
    assert desired.revision == hurt.good
    assert str(hurt.remote.path) in (desired.stale or "")
    assert hurt.aside() == []


def test_only_the_newest_damaged_clones_are_kept(hurt: Agent) -> None:
    for _ in range(5):
        empty_head(hurt)
        hurt.open().desired()
    assert len(hurt.aside()) == 3


def test_two_processes_mend_it_once(hurt: Agent) -> None:
    hurt.leave_unpushed()
    first, second = hurt.open(), hurt.open()
    empty_head(hurt)
    assert first.desired().revision == hurt.good
    assert second.desired().revision == hurt.good
    assert len(hurt.aside()) == 1


# ── the last good revision ──────────────────────────────────────────────────────


def break_tip(hurt: Agent) -> str:
    return f"main@sha1:{hurt.remote.commit({'services/shop.yml': b'broken'})}"


@pytest.mark.parametrize("damage", [empty_head, no_refs_folder, no_objects_folder, truncated_pack])
def test_the_last_good_revision_stays_in_force(
    hurt: Agent, damage: Callable[[Agent], None]
) -> None:
    damage(hurt)
    refused = break_tip(hurt)
    for _ in range(2):
        desired = hurt.open().desired()
        assert (desired.revision, desired.refused_revision) == (hurt.good, refused)
        assert set(desired.services) == {"local/shop"}


def test_a_last_good_revision_that_names_the_invalid_tip_is_not_believed(hurt: Agent) -> None:
    refused = break_tip(hurt)
    hurt.open().desired()
    tip = refused.rpartition(":")[2]
    (hurt.clone / "refs" / "uici" / "last-good" / "main").write_text(f"{tip}\n")
    empty_head(hurt)
    desired = hurt.open().desired()
    assert (desired.revision, desired.refused_revision) == (hurt.good, refused)
    assert set(desired.services) == {"local/shop"}


def test_nothing_is_in_force_when_no_commit_before_the_tip_is_valid(hurt: Agent) -> None:
    no_refs_folder(hurt)
    for number in range(21):
        hurt.remote.commit({"services/shop.yml": b"broken %d" % number})
    agent_state = hurt.open()
    with capture_logs() as log:
        for _ in range(2):
            desired = agent_state.desired()
            assert (desired.revision, desired.services) == ("main@none", {})
    assert [line["event"] for line in log].count("no_valid_desired_state") == 1


# ── what dead processes and full disks leave ────────────────────────────────────


def test_the_lock_of_a_living_process_is_waited_for(hurt: Agent) -> None:
    lock = hurt.clone / "refs" / "heads" / f"{REPORTS}.lock"
    lock.touch()
    threading.Timer(0.5, lock.unlink).start()
    begun = time.monotonic()
    hurt.leave_unpushed()
    assert 0.3 < time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "name", [f"refs/heads/{REPORTS}.lock", "packed-refs.lock", "refs/remotes/origin/main.lock"]
)
def test_the_lock_of_a_dead_process_is_removed(hurt: Agent, name: str) -> None:
    hurt.remote.commit({"services/more.yml": b"more:1"})
    lock = hurt.clone / name
    lock.touch()
    old(lock)
    agent_state = hurt.open()
    agent_state.desired()
    hurt.leave_unpushed()
    git_pack_refs(hurt)
    assert not lock.exists()


def git_pack_refs(hurt: Agent) -> None:
    """What garbage collection does to refs, by the agent's own hand."""
    agent(hurt.remote.path, hurt.data)._process.run(["pack-refs", "--all"])


def old(path: Path) -> None:
    past = time.time() - 3600
    os.utime(path, (past, past))


def test_old_leftovers_are_cleared_and_young_ones_stay(hurt: Agent) -> None:
    objects = hurt.clone / "objects"
    (objects / "ab").mkdir(exist_ok=True)
    names = ("pack/tmp_pack_a1B2c3", "pack/tmp_idx_a1B2c3", "ab/tmp_obj_a1B2c3")
    leftovers = [hurt.clone / "fast_import_crash_4711", *(objects / name for name in names)]
    for path in leftovers:
        path.write_bytes(b"x")
        old(path)
    young = objects / "pack" / "tmp_pack_young"
    young.write_bytes(b"x")
    agent(hurt.remote.path, hurt.data).maintain(NOW)
    assert [path for path in leftovers if path.exists()] == []
    assert young.exists()


def test_a_full_disk_is_no_damage(hurt: Agent, tmp_path: Path) -> None:
    """No file can be written: what Git says then is told, and nothing is set aside."""
    wrapper = tmp_path / "bin"
    wrapper.mkdir()
    real = shutil.which("git")
    script = f'#!/bin/sh\ncase "$*" in *fast-import*) ulimit -f 0;; esac\nexec {real} "$@"\n'
    (wrapper / "git").write_text(script)
    (wrapper / "git").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{wrapper}:{os.environ['PATH']}")
        with pytest.raises(TemporaryError, match=re.escape(str(hurt.clone))) as caught:
            hurt.leave_unpushed()
    assert not isinstance(caught.value, CloneDamagedError)
    assert hurt.aside() == []
    hurt.leave_unpushed()


# ── the loop ────────────────────────────────────────────────────────────────────


def test_a_run_of_the_loop_goes_on_and_reports_what_may_be_lost(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(shop=service_yaml("shop"))
        world.run()
        (clone,) = (tmp_path / "data" / "repositories").glob("*.git")
        shutil.rmtree(clone / "refs")
        report = world.run()
        (aside,) = clone.parent.glob("*.damaged-*")
        assert not report.desired.refused_revision
        assert str(clone) in " ".join(str(p) for p in report.desired.problems)
        (error,) = report.errors
        assert str(aside) in error
        assert "error: the damaged clone does not say" in world.reports()[0]
        assert world.run().errors == ()
