"""The agent's clone against real remotes: good, slow, garbage, gone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.repository.clone import GitRepository
from infrastructure.errors import PermanentError, TemporaryError, UiciError
from tests.integration.git_world import (
    NOW,
    REPORTS,
    Remote,
    agent,
    git,
    service_file,
    settings,
)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit({"shop.yml": service_file("shop")})
    return made


def committed(repository: GitRepository, name: str, content: bytes = b"x") -> str:
    made = repository.commit(REPORTS, {name: content}, message=f"write {name}\n", at=NOW)
    assert made is not None
    return made.sha


# ── in ──────────────────────────────────────────────────────────────────────────


def test_desired_branch_is_fetched_without_a_reports_branch(remote: Remote, tmp_path: Path) -> None:
    tips = agent(remote.path, tmp_path / "data").fetch("main", REPORTS)
    assert tips.desired == remote.tip("main")
    assert tips.reports is None
    assert tips.pending is None


def test_a_person_s_rewrite_is_followed_and_told_once(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    old = repository.fetch("main", REPORTS).desired
    new = remote.commit({"shop.yml": b"other"}, amend=True)
    tips = repository.fetch("main", REPORTS)
    assert (tips.desired, tips.rewritten_from) == (new, old)
    assert repository.fetch("main", REPORTS).rewritten_from is None


def test_a_new_commit_is_no_rewrite(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    new = remote.commit({"more.yml": b"more"})
    tips = repository.fetch("main", REPORTS)
    assert (tips.desired, tips.rewritten_from) == (new, None)


def test_symlinks_submodules_and_odd_names_are_not_read(remote: Remote, tmp_path: Path) -> None:
    sha = remote.commit(
        {
            "link.yml": b"/etc/passwd",
            "module": str(remote.tip("main")).encode(),
            "folder/run.yml": b"x",
        },
        modes={"link.yml": "120000", "module": "160000", "folder/run.yml": "100755"},
    )
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    listing = repository.tree(sha)
    assert set(listing.files) == {"shop.yml", "folder/run.yml"}
    assert {entry.path for entry in listing.ignored} == {"link.yml", "module"}


def test_a_path_that_climbs_out_of_the_tree_is_ignored(remote: Remote, tmp_path: Path) -> None:
    blob = git(remote.path, "hash-object", "-w", "--stdin", stdin=b"evil")
    raw = b"100644 evil.yml\0" + bytes.fromhex(blob)
    inner = git(remote.path, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    raw = b"40000 ..\0" + bytes.fromhex(inner)
    outer = git(remote.path, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    sha = git(remote.path, "commit-tree", "-m", "evil", outer)
    git(remote.path, "update-ref", "refs/heads/main", sha)
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    listing = repository.tree(sha)
    assert not listing.files
    assert [entry.path for entry in listing.ignored] == ["../evil.yml"]


def test_blobs_are_read_in_one_go_and_remembered(remote: Remote, tmp_path: Path) -> None:
    sha = remote.commit({f"{n}.yml": b"%d\n\n" % n for n in range(30)})
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    files = repository.tree(sha).files
    read = repository.read(blob.sha for blob in files.values())
    assert {path: read[blob.sha] for path, blob in files.items()}["7.yml"] == b"7\n\n"
    for path in (repository.directory / "objects").rglob("*"):
        if path.is_file():
            path.unlink()  # what was read once needs no repository
    assert repository.read([files["7.yml"].sha]) == {files["7.yml"].sha: b"7\n\n"}
    with pytest.raises(UiciError):
        repository.read(["0" * 39 + "1"])


def test_two_spellings_of_a_remote_share_a_clone(remote: Remote, tmp_path: Path) -> None:
    first = agent(remote.path, tmp_path / "data")
    second = agent(f"file://{remote.path}/", tmp_path / "data")
    assert first.directory == second.directory
    assert second.fetch("main", REPORTS).desired == remote.tip("main")


# ── the embedded remote ─────────────────────────────────────────────────────────


def test_embedded_remote_starts_with_the_seed(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    (seed / "services").mkdir(parents=True)
    (seed / "services" / "shop.yml").write_bytes(b"shop")
    (seed / "README.md").write_bytes(b"read me")
    (seed / "link").symlink_to("/etc/passwd")
    repository = GitRepository.open(None, tmp_path / "data", seed, settings())
    tips = repository.fetch("main", REPORTS)
    assert tips.desired is not None
    assert set(repository.tree(tips.desired).files) == {"README.md", "services/shop.yml"}
    author = git(tmp_path / "data" / "state.git", "log", "-1", "--format=%an <%ae>", "main")
    assert author == "UICI <uici@localhost>"
    (seed / "later.yml").write_bytes(b"later")
    again = GitRepository.open(None, tmp_path / "data", seed, settings())
    assert again.fetch("main", REPORTS).desired == tips.desired


def test_embedded_remote_needs_a_seed(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"git\.seed .* is not a folder"):
        GitRepository.open(None, tmp_path / "data", tmp_path / "none", settings())
    assert not (tmp_path / "data" / "state.git").exists()


# ── out ─────────────────────────────────────────────────────────────────────────


def test_commit_and_push(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    sha = committed(repository, 'a "quoted" näme.md', b"text\n")
    assert repository.tips("main", REPORTS).pending == sha
    pushed = repository.push(REPORTS, sha)
    assert (pushed.sha, pushed.error) == (sha, "")
    assert remote.tip() == sha
    assert repository.tips("main", REPORTS).pending is None
    assert git(remote.path, "show", f'{REPORTS}:a "quoted" näme.md') == "text"


def test_a_commit_without_a_change_is_not_made(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    committed(repository, "a.md")
    same = repository.commit(REPORTS, {"a.md": b"x", "no": None}, message="again", at=NOW)
    assert same is None
    assert repository.commit(REPORTS, {}, message="none", at=NOW) is None
    assert repository.commit(REPORTS, {"a.md": None}, message="gone", at=NOW) is not None


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".git/config", "a/./b", "a\nb", "", "a\\b"])
def test_a_commit_stays_inside_the_repository(remote: Remote, tmp_path: Path, path: str) -> None:
    repository = agent(remote.path, tmp_path / "data")
    with pytest.raises(PermanentError, match="not a path"):
        repository.commit(REPORTS, {path: b"x"}, message="m", at=NOW)


def test_a_rejected_push_is_replayed_on_top(remote: Remote, tmp_path: Path) -> None:
    ours, theirs = agent(remote.path, tmp_path / "one"), agent(remote.path, tmp_path / "two")
    for repository in (ours, theirs):
        repository.fetch("main", REPORTS)
    first = committed(theirs, "theirs.md")
    assert theirs.push(REPORTS, first).error == ""
    committed(ours, "a.md", b"1")
    second = ours.commit(
        REPORTS, {"a.md": None, "b.md": b"2"}, message="move a\n\nUICI-Run: 7\n", at=NOW
    )
    assert second is not None
    pushed = ours.push(REPORTS, second.sha)
    assert pushed.error == ""
    assert pushed.sha == remote.tip() != second.sha
    assert remote.messages() == ["write theirs.md", "write a.md", "move a"]
    assert set(remote.files()) == {"theirs.md", "b.md"}
    assert (
        git(remote.path, "log", "-1", "--format=%(trailers:key=UICI-Run,valueonly)", REPORTS) == "7"
    )


def test_a_commit_made_while_the_one_before_is_pushed_stays_as_it_is(
    remote: Remote, tmp_path: Path
) -> None:
    """What landed is our own: it has overtaken nothing, not even a status of a mere look."""
    ours = agent(remote.path, tmp_path / "one")
    ours.push(REPORTS, committed(ours, "status/shop.json", b"0"))
    first = committed(ours, "status/shop.json", b"1")
    second = committed(ours, "status/shop.json", b"2")
    git(ours.directory, "push", "--quiet", str(remote.path), f"{first}:refs/heads/{REPORTS}")
    git(ours.directory, "update-ref", f"refs/remotes/origin/{REPORTS}", first)  # as Git notes it
    assert ours.push(REPORTS, second).sha == second == remote.tip()
    assert remote.files() == {"status/shop.json": b"2"}


def test_the_same_file_from_both_keeps_both_in_history(remote: Remote, tmp_path: Path) -> None:
    ours, theirs = agent(remote.path, tmp_path / "one"), agent(remote.path, tmp_path / "two")
    theirs.push(REPORTS, committed(theirs, "reports/shop.md", b"theirs"))
    ours.push(REPORTS, committed(ours, "reports/shop.md", b"ours"))
    assert remote.files() == {"reports/shop.md": b"ours"}
    assert git(remote.path, "show", f"{REPORTS}~1:reports/shop.md") == "theirs"


def test_a_status_of_another_is_not_overwritten_by_a_mere_look(
    remote: Remote, tmp_path: Path
) -> None:
    ours, theirs = agent(remote.path, tmp_path / "one"), agent(remote.path, tmp_path / "two")
    theirs.push(REPORTS, committed(theirs, "status/shop.json", b"theirs"))
    ours.push(REPORTS, committed(ours, "status/shop.json", b"ours"))
    assert remote.files() == {"status/shop.json": b"theirs"}


@pytest.mark.parametrize("target", ["shop", "web"])
def test_a_status_that_an_intent_counts_upon_is_not_replaced_by_a_mere_look(
    remote: Remote, tmp_path: Path, target: str
) -> None:
    """The other may die: then what his intent has counted is found by that very file."""
    ours, theirs = agent(remote.path, tmp_path / "one"), agent(remote.path, tmp_path / "two")
    theirs.push(REPORTS, committed(theirs, "status/shop.json", b"counted upon"))
    ours.fetch("main", REPORTS)
    intent = json.dumps({"counted": [{"target": target}, 5]}).encode()
    theirs.push(REPORTS, committed(theirs, "intents/7.json", intent))
    ours.push(REPORTS, committed(ours, "status/shop.json", b"looked at"))
    expected = b"counted upon" if target == "shop" else b"looked at"
    assert remote.files()["status/shop.json"] == expected


def test_unpushed_commits_survive_somebody_s_rewrite(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    repository.push(REPORTS, committed(repository, "old.md"))
    committed(repository, "new.md")
    # A person squashes the reports branch.
    remote.commit({"old.md": None, "squashed.md": b"all"}, branch=REPORTS, amend=True)
    repository.fetch("main", REPORTS)
    pending = repository.tips("main", REPORTS).pending
    assert pending is not None
    assert repository.push(REPORTS, pending).error == ""
    assert set(remote.files()) == {"squashed.md", "new.md"}


def test_a_deleted_reports_branch_is_made_again(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    repository.push(REPORTS, committed(repository, "old.md"))
    git(remote.path, "update-ref", "-d", f"refs/heads/{REPORTS}")
    assert repository.fetch("main", REPORTS).pending is not None
    assert repository.push(REPORTS, committed(repository, "new.md")).error == ""
    assert set(remote.files()) == {"old.md", "new.md"}


def test_a_hook_that_says_no_is_not_fought(remote: Remote, tmp_path: Path) -> None:
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ncat >> pushes\necho 'policy: no robots' >&2\nexit 1\n")
    hook.chmod(0o755)
    repository = agent(remote.path, tmp_path / "data")
    sha = committed(repository, "a.md")
    pushed = repository.push(REPORTS, sha)
    assert "no robots" in pushed.error
    assert len((remote.path / "pushes").read_text().splitlines()) == 1
    assert repository.tips("main", REPORTS).pending == sha


def test_a_remote_that_is_gone_gets_everything_when_it_is_back(
    remote: Remote, tmp_path: Path
) -> None:
    repository = agent(remote.path, tmp_path / "data")
    repository.fetch("main", REPORTS)
    away = remote.path.rename(tmp_path / "away.git")
    with pytest.raises(TemporaryError, match="cannot fetch from"):
        repository.fetch("main", REPORTS)
    first = committed(repository, "first.md")
    assert "cannot push to" in repository.push(REPORTS, first).error
    away.rename(remote.path)
    second = committed(repository, "second.md")
    assert repository.push(REPORTS, second).error == ""
    assert remote.messages() == ["write first.md", "write second.md"]


def test_killed_between_commit_and_push(remote: Remote, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from tests.integration.git_world import *\n"
        "r = agent(sys.argv[1], Path(sys.argv[2]))\n"
        "r.fetch('main', REPORTS)\n"
        "r.commit(REPORTS, {'last.md': b'words'}, message='last words', at=NOW)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(remote.path), str(tmp_path / "data")]
    assert subprocess.run(command, check=False).returncode == -9
    assert remote.tip() is None
    repository = agent(remote.path, tmp_path / "data")
    pending = repository.fetch("main", REPORTS).pending
    assert pending is not None
    assert repository.push(REPORTS, pending).error == ""
    assert remote.files() == {"last.md": b"words"}


def test_a_lock_of_a_dead_git_process_does_not_stop_us_for_ever(
    remote: Remote, tmp_path: Path
) -> None:
    repository = agent(remote.path, tmp_path / "data", timeout="1s")
    sha = committed(repository, "a.md")
    lock = repository.directory / "refs" / "heads" / f"{REPORTS}.lock"
    lock.touch()
    past = time.time() - 60
    os.utime(lock, (past, past))
    assert committed(repository, "b.md") != sha


def test_garbage_is_collected_when_due(remote: Remote, tmp_path: Path) -> None:
    repository = agent(remote.path, tmp_path / "data")
    for number in range(55):
        committed(repository, f"{number}.md")
    packs = repository.directory / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) >= 55
    repository.maintain(NOW)
    deadline = time.monotonic() + 20
    while len(list(packs.glob("*.pack"))) > 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(packs.glob("*.pack"))) <= 3
    assert repository.push(REPORTS, committed(repository, "after.md")).error == ""
    assert len(remote.files()) == 56
    stamp = (repository.directory / "uici-gc").stat().st_mtime
    repository.maintain(NOW + timedelta(hours=1))
    assert (repository.directory / "uici-gc").stat().st_mtime == stamp


# ── bad remotes ─────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_remote_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with silent_server() as port:
        repository = agent(f"git://127.0.0.1:{port}/state.git", tmp_path / "data", timeout="1s")
        started = time.monotonic()
        with pytest.raises(TemporaryError, match="no answer in 1 s"):
            repository.fetch("main", REPORTS)
        assert time.monotonic() - started < 3
        sha = committed(repository, "a.md")
        started = time.monotonic()
        assert "did not answer in time" in repository.push(REPORTS, sha).error
        assert time.monotonic() - started < 0.5  # healing does not wait for it twice


def test_a_hanging_ssh_dies_with_its_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(fake))
    repository = agent("git@example.org:team/state.git", tmp_path / "data", timeout="1s")
    with pytest.raises(TemporaryError, match="no answer in 1 s"):
        repository.fetch("main", REPORTS)
    deadline = time.monotonic() + 5
    while _alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(int(pid.read_text()))


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


class _Garbage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome \x1b[31m to the proxy</html>")

    def log_message(self, *_args: object) -> None:
        pass


def test_a_remote_that_is_no_git_is_one_clean_line(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Garbage) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://user:{'pass' + 'word'}@127.0.0.1:{server.server_port}/state.git?token=t"
        repository = agent(address, tmp_path / "data")
        with pytest.raises(TemporaryError) as caught:
            repository.fetch("main", REPORTS)
        server.shutdown()
        thread.join()
    message = str(caught.value)
    assert f"http://127.0.0.1:{server.server_port}/state.git" in message
    assert "password" not in message
    assert "token=t" not in message
    assert message.isprintable()


def test_a_refused_connection_is_one_clean_line(tmp_path: Path) -> None:
    with silent_server() as port:
        pass
    with pytest.raises(TemporaryError, match="Connection refused"):
        agent(f"git://127.0.0.1:{port}/x.git", tmp_path / "data").fetch("main", REPORTS)


def test_a_remote_without_the_branch_says_what_to_do(tmp_path: Path) -> None:
    empty = Remote(tmp_path / "empty.git")
    with pytest.raises(TemporaryError, match=r"no branch main: push desired state there or set"):
        agent(empty.path, tmp_path / "data").fetch("main", REPORTS)


def test_user_s_and_machine_s_git_configuration_count_for_nothing(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    config.write_text(
        f'[core]\n hooksPath = {hooks}\n[url "/nowhere"]\n insteadOf = {remote.path}\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath={hooks}'")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "objects"))
    repository = agent(remote.path, tmp_path / "data")
    assert repository.fetch("main", REPORTS).desired
    committed(repository, "a.md")
    assert not (tmp_path / "hooked").exists()


def test_reports_need_a_branch_of_their_own(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="branch of their own"):
        agent(remote.path, tmp_path / "data", reportsBranch="main")


def test_a_data_directory_that_cannot_be_written_is_told(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PermanentError, match="cannot write the data directory"):
        agent(remote.path, tmp_path / "file")


def test_a_missing_git_is_told(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = agent(remote.path, tmp_path / "data")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PermanentError, match="install it"):
        repository.fetch("main", REPORTS)
