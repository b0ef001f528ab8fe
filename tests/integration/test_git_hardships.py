"""State repositories and disks as they are on bad days; clocks that jump."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.report import RunResult
from flows.repository.process import GitProcess
from flows.world import Clock
from infrastructure.errors import TemporaryError, UiciError
from tests.fakes.http_server import Behaviour, FakeServer, huge, silent, slow_drip, text
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.integration.git_world import NOW, REPORTS, Remote, agent, git, state

A = f"{ENVIRONMENT}/a"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit({"services/shop.yml": b"shop:1"})
    return made


# ── a long history ──────────────────────────────────────────────────────────────


def _many_reports(remote: Remote, count: int) -> None:
    """So many report commits as years of incidents make."""
    parts = []
    for number in range(count):
        day = f"reports/{2020 + number // 3000}/{1 + number // 250 % 12:02}/{1 + number % 28:02}"
        content = b'{"run": %d}' % number
        parts.append(
            f"commit refs/heads/{REPORTS}\n"
            f"committer UICI <uici@localhost> {1_700_000_000 + number} +0000\n"
            f"data 6\nreport\n".encode()
        )
        parts.append(f'M 100644 inline "{day}/{number:06}.json"\n'.encode())
        parts.append(b"data %d\n" % len(content) + content + b"\n")
    git(remote.path, "fast-import", "--quiet", "--done", stdin=b"".join([*parts, b"done\n"]))


def test_ten_thousand_reports_cost_a_run_without_news_nothing(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    run = GitProcess.run

    def told(self: GitProcess, command: Any, **options: Any) -> Any:
        commands.append(str(command[0]))
        return run(self, command, **options)

    monkeypatch.setattr(GitProcess, "run", told)

    def no_op(data: Path) -> list[str]:
        git_state = state(agent(remote.path, data))
        git_state.desired()
        git_state.reported()
        commands.clear()
        git_state.desired()
        git_state.reported()
        git_state.push_pending()
        return list(commands)

    _many_reports(remote, 1)
    few = no_op(tmp_path / "few")
    git(remote.path, "update-ref", "-d", f"refs/heads/{REPORTS}")
    _many_reports(remote, 10_000)
    many = no_op(tmp_path / "many")
    assert many == few == ["fetch"]
    # Those past their retention go a bounded number a commit, beside the heartbeat.
    git_state = state(agent(remote.path, tmp_path / "many"))
    listed = ("ls-tree", "-r", "--name-only", REPORTS)
    before = git(remote.path, *listed).count("\n")
    assert git_state.heartbeat(NOW) is not None
    assert 0 < before - git(remote.path, *listed).count("\n") <= 200


# ── a path that leads elsewhere ─────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["120000", "160000"], ids=["link", "submodule"])
def test_a_folder_of_services_that_is_none_is_refused(
    remote: Remote, tmp_path: Path, mode: str
) -> None:
    git_state = state(agent(remote.path, tmp_path / "data", path="services"), path="services")
    good = git_state.desired().revision
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "evil.yml").write_text("evil:1")
    elsewhere = str(outside).encode() if mode == "120000" else b"a" * 40
    remote.commit({"services/shop.yml": None, "services": elsewhere}, modes={"services": mode})
    desired = git_state.desired()
    assert desired.revision == good
    assert desired.refused_revision is not None
    assert "no Service file" in desired.problems[0].message


def test_a_huge_file_beside_desired_state_is_fetched_and_not_read(
    remote: Remote, tmp_path: Path
) -> None:
    remote.commit({"backup.tar": b"\0" * 64 * 1024 * 1024})
    git_state = state(agent(remote.path, tmp_path / "data"))
    assert set(git_state.desired().services) == {"local/shop"}
    assert git_state.desired().problems == ()


# ── a server that is none ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "behaviour",
    [text(b"\xff<html>{]" * 100), huge, silent, slow_drip, text(b"x" * 50 * 1024 * 1024)],
    ids=["garbage", "endless", "silent", "drip", "50 MB"],
)
def test_a_server_that_answers_anything_leaves_the_newest_known_state(
    remote: Remote, tmp_path: Path, behaviour: Behaviour
) -> None:
    with FakeServer(behaviour) as server:
        changes: dict[str, Any] = {"timeout": "1500ms"}
        fresh = agent(f"{server.url}/state.git", tmp_path / "data", **changes)
        begun = time.monotonic()
        with pytest.raises(TemporaryError) as error:
            state(fresh, **changes).desired()
        assert time.monotonic() - begun < 6
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1000
        # One that was good before, at the same address.
        git(fresh.directory, "fetch", "-q", str(remote.path), "+main:refs/remotes/origin/main")
        desired = state(fresh, **changes).desired()
        assert desired.stale is not None
        assert set(desired.services) == {"local/shop"}


# ── disks ───────────────────────────────────────────────────────────────────────


@contextmanager
def _small_disk(place: Path, size: str = "6m") -> Iterator[Callable[[str], None]]:
    """A disk of its own under `place`; gives a way to mount it anew with other options."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root and its privileges")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_without_a_disk_nothing_is_done_and_nothing_lost(tmp_path: Path, fault: str) -> None:
    with ExitStack() as stack:
        remount = stack.enter_context(_small_disk(tmp_path / "data"))
        world = stack.enter_context(loop_world(tmp_path))
        world.commit(a=service_yaml("a"))
        assert world.run().result is RunResult.CONVERGED
        world.engine.kill("a")
        world.engine.calls.clear()
        ballast = tmp_path / "data" / "ballast"
        if fault == "full":
            _fill(ballast)
        else:
            remount("ro")
        for _ in range(2):
            _ends_without_a_change(world)
        if fault == "full":
            ballast.unlink()
        else:
            remount("rw")
        report = world.run()
        assert report.result is RunResult.CONVERGED, report
        assert [c.primitive for _, c in world.engine.calls] == ["start"]
        assert not list((tmp_path / "data" / "repositories").glob("*.damaged-*"))
        assert world.runtime.git.open_intents() == ()
        assert world.run().result is RunResult.CONVERGED


def _fill(file: Path) -> None:
    """To the last byte."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, b"x" * 512)
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
    finally:
        os.close(handle)


def _ends_without_a_change(world: LoopWorld) -> None:
    """The run says in a line that it can't write, and has called no engine."""
    try:
        report = world.run()
    except UiciError as exc:
        told = str(exc)
    else:
        assert report.result is RunResult.ERROR
        told = report.errors[0]
    assert "\n" not in told
    assert told
    assert world.engine.calls == []


# ── clocks ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_jumps_needs_no_person(tmp_path: Path, years: int) -> None:
    """Forwards and back again, or the other way round; with a failed attempt in between."""
    ahead = timedelta(0)
    with loop_world(tmp_path) as world:
        clock = Clock(now=lambda: datetime.now(UTC) + ahead, sleep=lambda _: None)
        world.runtime = replace(world.runtime, clock=clock)
        world.commit(a=service_yaml("a"))
        assert world.run().result is RunResult.CONVERGED
        for jump in (timedelta(days=365 * years), timedelta(0)):
            ahead = jump
            world.engine.kill("a")
            world.engine.failures["start"] = TemporaryError("not now")
            world.run()
            assert world.runtime.git.open_intents() == ()
            del world.engine.failures["start"]
            if jump:
                continue
            ahead += timedelta(hours=1)
            report = world.run()
            assert report.result is RunResult.CONVERGED, report.incidents
        assert world.run().result is RunResult.CONVERGED
        assert world.runtime.git.statuses()[A].attempts is None
