"""Signed desired state and signed reports: real Git, ssh-keygen and gpg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.git_state import GitState
from flows.report import RunResult
from flows.repository.contract import DesiredState, Durability
from flows.repository.process import GitProcess
from infrastructure.errors import TemporaryError
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.integration.git_world import NOW, REPORTS, Remote, agent, git, state
from tests.unit.report.made import healed, run_report

pytestmark = [
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen makes the keys"),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg makes the keys"),
]
_FAKED = "20200601T000000"  # when the expired key still was valid


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


class Keys:
    """Keys of people, and files that name them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "gpg"
        self.home.mkdir(mode=0o700)
        self.allowed = root / "allowed_signers"
        self.keyring = root / "maintainers.gpg"

    def ssh(self, name: str = "ada") -> Path:
        path = self.root / f"ssh-{name}"
        if not path.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path))
        return path

    def allow(self, *names: str, options: str = "") -> None:
        lines = [
            f"{name}@example.org {options}{self.ssh(name).with_suffix('.pub').read_text()}"
            for name in names
        ]
        self.allowed.write_text("".join(lines))

    def gpg(self, *options: str, **environment: str) -> str:
        return _run("gpg", "--batch", "-q", *options, GNUPGHOME=str(self.home), **environment)

    def gpg_key(self, name: str = "ada", *, expired: bool = False) -> str:
        """Its fingerprint."""
        past = ("--faked-system-time", "20200101T000000") if expired else ()
        loopback = ("--pinentry-mode", "loopback", "--passphrase", "")
        who = f"{name} <{name}@example.org>"
        length = "1y" if expired else "never"
        self.gpg(*past, *loopback, "--quick-gen-key", who, "ed25519", "sign", length)
        listed = self.gpg("--with-colons", "--list-keys", who).splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr"))

    def export(self, *fingerprints: str) -> None:
        self.keyring.unlink(missing_ok=True)
        self.gpg("--output", str(self.keyring), "--export", *fingerprints)

    def revoke(self, fingerprint: str) -> None:
        made = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        made.write_text(made.read_text().replace(":-----BEGIN", "-----BEGIN"))
        self.gpg("--import", str(made))


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path)
    yield made
    subprocess.run(
        ["gpgconf", "--homedir", str(made.home), "--kill", "gpg-agent"],
        capture_output=True,
        check=False,
    )


class People:
    """A person's work tree of the remote."""

    def __init__(self, remote: Remote, keys: Keys, root: Path) -> None:
        self.remote, self.keys = remote, keys
        self.tree = root / "work"
        git(root, "clone", "-q", str(remote.path), str(self.tree))

    def commit(self, image: str, *options: str, file: str = "shop") -> str:
        """A commit that is pushed; unsigned without options."""
        (self.tree / f"{file}.yml").write_text(image)
        git(self.tree, "add", "-A")
        git(self.tree, *options, "commit", "-q", "-m", image, *(["-S"] if options else []))
        return self.push()

    def push(self) -> str:
        git(self.tree, "push", "-q", "--force", "origin", "HEAD:refs/heads/main")
        return git(self.tree, "rev-parse", "HEAD")

    def by_ssh(self, name: str = "ada") -> tuple[str, ...]:
        return ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.keys.ssh(name)}")

    def by_gpg(self, fingerprint: str, *, then: str = "") -> tuple[str, ...]:
        program = self.keys.root / "gpg-of-people"
        faked = f"--faked-system-time {then}" if then else ""
        program.write_text(f'#!/bin/sh\nexec gpg --homedir {self.keys.home} {faked} "$@"\n')
        program.chmod(0o755)
        return ("-c", f"gpg.program={program}", "-c", f"user.signingKey={fingerprint}")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote.git")


@pytest.fixture
def people(remote: Remote, keys: Keys, tmp_path: Path) -> People:
    return People(remote, keys, tmp_path)


def ssh_signatures(keys: Keys, **more: str) -> dict[str, Any]:
    return {"signatures": {"ssh": {"allowedSigners": str(keys.allowed), **more}}}


def gpg_signatures(keys: Keys, *fingerprints: str) -> dict[str, Any]:
    return {"signatures": {"gpg": {"keyring": str(keys.keyring), "fingerprints": fingerprints}}}


def opened(remote: Remote, root: Path, **changes: Any) -> GitState:
    """As a process does that has just started."""
    return state(agent(remote.path, root / "data", **changes), **changes)


def image(desired: DesiredState) -> str | None:
    return next((s.spec.image for s in desired.services.values()), None)


def refused(desired: DesiredState) -> str:
    """Why the tip is not trusted."""
    assert desired.refused_revision is not None
    (problem,) = (p for p in desired.problems if "is not trusted" in p.message)
    assert "git commit -S" in (problem.remedy or "")
    assert "\n" not in problem.message
    return problem.message.partition("is not trusted: ")[2]


# ── SSH ─────────────────────────────────────────────────────────────────────────


def test_signed_by_an_allowed_key_is_in_force(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    keys.allow("ada")
    sha = people.commit("shop:1", *people.by_ssh())
    desired = opened(remote, tmp_path, **ssh_signatures(keys)).desired()
    assert (desired.revision, image(desired)) == (f"main@sha1:{sha}", "shop:1")
    assert (desired.refused_revision, desired.problems) == (None, ())


def _unsigned(people: People) -> None:
    people.commit("evil:1")


def _wrong_key(people: People) -> None:
    people.commit("evil:1", *people.by_ssh("mallory"))


def _forged(people: People) -> None:
    """A signature that was made for another commit."""
    raw = git(people.tree, "cat-file", "commit", "HEAD")
    (people.tree / "shop.yml").write_text("evil:1")
    git(people.tree, "add", "-A")
    tree = git(people.tree, "write-tree")
    lines = raw.splitlines()
    lines[0] = f"tree {tree}"
    parent = git(people.tree, "rev-parse", "HEAD")
    lines = [line for line in lines if not line.startswith("parent ")]
    lines.insert(1, f"parent {parent}")
    forged = git(
        people.tree,
        *("hash-object", "-t", "commit", "-w", "--stdin"),
        stdin=("\n".join(lines) + "\n").encode(),
    )
    git(people.tree, "push", "-q", "origin", f"{forged}:refs/heads/main")


def _several(people: People) -> None:
    """A good signature beside another one."""
    people.commit("evil:1", *people.by_ssh())
    raw = git(people.tree, "cat-file", "commit", "HEAD")
    head, _, message = raw.partition("\n\n")
    start = head.index("gpgsig ")
    twice = f"{head}\n{head[start:]}\n\n{message}\n"
    made = git(
        people.tree,
        *("hash-object", "-t", "commit", "-w", "--literally", "--stdin"),
        stdin=twice.encode(),
    )
    git(people.tree, "push", "-q", "--force", "origin", f"{made}:refs/heads/main")


def _merge_without_a_key(people: People) -> None:
    """Both sides are signed, the merge is not: as a forge does that has no key of its own."""
    git(people.tree, "checkout", "-q", "-b", "side")
    people.tree.joinpath("more.yml").write_text("more:1")
    git(people.tree, "add", "-A")
    git(people.tree, *people.by_ssh(), "commit", "-q", "-S", "-m", "more")
    git(people.tree, "checkout", "-q", "-")
    git(people.tree, "merge", "-q", "--no-ff", "-m", "Merge", "side")
    people.push()


def _tagged(people: People) -> None:
    """A signed tag of an unsigned commit, with the branch's name."""
    people.commit("evil:1")
    git(people.tree, *people.by_ssh(), "tag", "-s", "-m", "it is good", "main-is-good")
    git(people.tree, "push", "-q", "origin", "main-is-good:refs/tags/main")


def _set_back(people: People) -> None:
    git(people.tree, "reset", "-q", "--hard", "HEAD~1")
    people.push()


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_unsigned, "it is not signed"),
        (_wrong_key, "is not in git.signatures.ssh.allowedSigners"),
        (_forged, "revoked, or its signature is not of this commit"),
        (_several, "it has several signatures"),
        (_merge_without_a_key, "it is not signed"),
        (_tagged, "it is not signed"),
        (_set_back, "it no longer contains"),
    ],
)
def test_what_is_not_trusted_leaves_the_last_trusted_revision_in_force(
    people: People,
    keys: Keys,
    remote: Remote,
    tmp_path: Path,
    *,
    attack: Callable[[People], None],
    reason: str,
) -> None:
    keys.allow("ada")
    people.commit("shop:1", *people.by_ssh())
    good = people.commit("shop:2", *people.by_ssh())
    running = opened(remote, tmp_path, **ssh_signatures(keys))
    assert image(running.desired()) == "shop:2"
    attack(people)
    for git_state in (running, opened(remote, tmp_path, **ssh_signatures(keys))):
        desired = git_state.desired()
        assert (desired.revision, image(desired)) == (f"main@sha1:{good}", "shop:2")
        assert len(desired.services) == 1
        assert reason in refused(desired)
    # A report of it is written all the same, and a signed commit on top mends it.
    done = running.commit_report(run_report("r", desired=running.desired()), now=NOW)
    assert done is not None
    assert done.durability is Durability.PUSHED
    git(people.tree, "fetch", "-q", "origin", "main")
    git(people.tree, "reset", "-q", "--hard", good)
    git(people.tree, *people.by_ssh(), "merge", "-q", "-S", "-s", "ours", "-m", "x", "FETCH_HEAD")
    people.commit("shop:3", *people.by_ssh())
    assert image(opened(remote, tmp_path, **ssh_signatures(keys)).desired()) == "shop:3"


def test_a_branch_that_is_a_tag_is_no_commit(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    keys.allow("ada")
    good = people.commit("shop:1", *people.by_ssh())
    git_state = opened(remote, tmp_path, **ssh_signatures(keys))
    git_state.desired()
    (people.tree / "shop.yml").write_text("evil:1")
    git(people.tree, "commit", "-qam", "evil")
    git(people.tree, *people.by_ssh(), "tag", "-s", "-m", "it is good", "odd")
    git(people.tree, "push", "-q", "origin", "odd")
    tag = git(remote.path, "rev-parse", "refs/tags/odd")
    (remote.path / "refs" / "heads" / "main").write_text(f"{tag}\n")  # a hostile server's
    desired = git_state.desired()
    assert desired.revision == f"main@sha1:{good}"
    assert image(desired) == "shop:1"


def test_an_expired_ssh_key_counts_no_more_whatever_the_commit_s_date(
    people: People, keys: Keys, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2019-06-01T00:00:00Z")
    people.commit("shop:1", *people.by_ssh())
    keys.allow("ada", options='valid-before="20200101" ')
    desired = opened(remote, tmp_path, **ssh_signatures(keys)).desired()
    assert "has expired" in refused(desired)
    assert desired.revision == "main@none"
    assert desired.services == {}


def test_a_revoked_ssh_key_counts_no_more_even_for_what_was_trusted(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    keys.allow("ada", "grace")
    revoked = tmp_path / "revoked"
    revoked.write_text("")
    settings = ssh_signatures(keys, revokedKeys=str(revoked))
    good = people.commit("shop:1", *people.by_ssh("grace"))
    people.commit("evil:1", *people.by_ssh("ada"))
    git_state = opened(remote, tmp_path, **settings)
    assert image(git_state.desired()) == "evil:1"
    revoked.write_text(keys.ssh("ada").with_suffix(".pub").read_text())
    desired = git_state.desired()
    assert "is revoked" in refused(desired)
    assert desired.services == {}, "what a stolen key has signed is not in force"
    git(people.tree, "reset", "-q", "--hard", good)
    git(people.tree, "merge", "-q", "-s", "ours", "-m", "x", "--no-commit", "origin/main")
    people.commit("shop:2", *people.by_ssh("grace"))
    assert image(git_state.desired()) == "shop:2"


def test_keys_that_can_not_be_read_trust_nothing(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    keys.allow("ada")
    people.commit("shop:1", *people.by_ssh())
    git_state = opened(remote, tmp_path, **ssh_signatures(keys))
    assert image(git_state.desired()) == "shop:1"
    keys.allowed.unlink()
    desired = git_state.desired()
    assert "allowed_signers can't be read" in refused(desired)
    assert desired.services == {}
    keys.allow("ada")
    assert image(git_state.desired()) == "shop:1"


@pytest.mark.parametrize("place", ["repository", "user", "environment"])
def test_other_configuration_weakens_nothing(
    people: People,
    keys: Keys,
    remote: Remote,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    keys.allow("ada")
    people.commit("evil:1", *people.by_ssh("mallory"))
    theirs = tmp_path / "theirs"
    theirs.write_text(f"mallory@example.org {keys.ssh('mallory').with_suffix('.pub').read_text()}")
    clone = agent(remote.path, tmp_path / "data", **ssh_signatures(keys))
    setting = f'[gpg]\n\tprogram = true\n[gpg "ssh"]\n\tallowedSignersFile = {theirs}\n'
    if place == "repository":
        with (clone.directory / "config").open("a") as config:
            config.write(setting + "\tprogram = true\n")
    elif place == "user":
        (tmp_path / ".gitconfig").write_text(setting)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    else:
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "gpg.ssh.allowedSignersFile")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(theirs))
    desired = state(clone, **ssh_signatures(keys)).desired()
    assert "is not in git.signatures.ssh.allowedSigners" in refused(desired)


def test_a_run_without_news_verifies_nothing(
    people: People, keys: Keys, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.allow("ada")
    people.commit("shop:1", *people.by_ssh())
    opened(remote, tmp_path, **ssh_signatures(keys)).desired()
    commands: list[str] = []
    spawn = GitProcess.run

    def told(self: GitProcess, command: Any, **options: Any) -> Any:
        commands.extend(command)
        return spawn(self, command, **options)

    monkeypatch.setattr(GitProcess, "run", told)
    monkeypatch.setattr(subprocess, "run", None)
    opened(remote, tmp_path, **ssh_signatures(keys)).desired()  # also in another process
    assert "fetch" in commands
    assert "verify-commit" not in commands


# ── GPG ─────────────────────────────────────────────────────────────────────────


def test_gpg_keys_of_the_keyring_count(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    ada, mallory = keys.gpg_key("ada"), keys.gpg_key("mallory")
    keys.export(ada)
    people.commit("shop:1", *people.by_gpg(ada))
    git_state = opened(remote, tmp_path, **gpg_signatures(keys))
    assert image(git_state.desired()) == "shop:1"
    people.commit("evil:1", *people.by_gpg(mallory))
    desired = git_state.desired()
    assert "is not in git.signatures.gpg.keyring" in refused(desired)
    assert image(desired) == "shop:1"


def test_of_a_keyring_only_the_named_fingerprints_count(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    ada, grace = keys.gpg_key("ada"), keys.gpg_key("grace")
    keys.export(ada, grace)
    people.commit("shop:1", *people.by_gpg(ada))
    git_state = opened(remote, tmp_path, **gpg_signatures(keys, ada))
    assert image(git_state.desired()) == "shop:1"
    people.commit("shop:2", *people.by_gpg(grace))
    assert "git.signatures.gpg.fingerprints" in refused(git_state.desired())


def test_an_expired_gpg_key_counts_no_more(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    ada = keys.gpg_key("ada", expired=True)
    keys.export(ada)
    people.commit("shop:1", *people.by_gpg(ada, then=_FAKED))
    desired = opened(remote, tmp_path, **gpg_signatures(keys)).desired()
    assert "has expired" in refused(desired)
    assert desired.services == {}


def test_a_revoked_gpg_key_counts_no_more(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    ada = keys.gpg_key("ada")
    keys.export(ada)
    people.commit("shop:1", *people.by_gpg(ada))
    git_state = opened(remote, tmp_path, **gpg_signatures(keys))
    assert image(git_state.desired()) == "shop:1"
    keys.revoke(ada)
    keys.export(ada)
    assert "is revoked" in refused(git_state.desired())


def test_the_other_kind_of_signature_does_not_count(
    people: People, keys: Keys, remote: Remote, tmp_path: Path
) -> None:
    ada = keys.gpg_key("ada")
    keys.export(ada)
    keys.allow("ada")
    people.commit("shop:1", *people.by_gpg(ada))
    by_ssh = opened(remote, tmp_path / "one", **ssh_signatures(keys))
    assert "names no GPG keys" in refused(by_ssh.desired())
    people.commit("shop:2", *people.by_ssh())
    by_gpg = opened(remote, tmp_path / "two", **gpg_signatures(keys))
    assert "names no SSH keys" in refused(by_gpg.desired())


# ── the loop ────────────────────────────────────────────────────────────────────


@pytest.fixture
def world(tmp_path: Path, keys: Keys) -> Iterator[LoopWorld]:
    """Its people sign with ada's key; its agent with its own."""
    keys.allow("ada")
    settings = {**ssh_signatures(keys), "signing": {"format": "ssh", "key": str(keys.ssh("uici"))}}
    root = tmp_path / "world"
    root.mkdir()
    with loop_world(root, platform={"git": settings}) as made:
        git(root, "clone", "-q", str(made.remote), str(root / "work"))
        git(root / "work", "checkout", "-q", "-B", "main")
        _sign(made, keys.ssh("ada"))
        yield made


def _sign(world: LoopWorld, key: Path | None) -> None:
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key)),
        ("commit.gpgSign", "false" if key is None else "true"),
    ):
        git(world.root / "work", "config", name, value)


def test_the_loop_acts_on_nothing_that_is_not_trusted_and_says_so(
    world: LoopWorld, keys: Keys
) -> None:
    good = world.commit(a=service_yaml("a"))
    assert world.run().result is RunResult.CONVERGED
    _sign(world, None)
    world.commit(a=service_yaml("a", image="evil:1"), b=service_yaml("b"))
    world.engine.kill("a")
    world.engine.calls.clear()
    report = world.run()
    assert report.result is RunResult.DRIFT_REMAINS
    assert report.desired.revision == f"main@sha1:{good}"
    # What is trusted is kept up all the same, and nothing else.
    assert [(t, c.primitive) for t, c in world.engine.calls] == [(f"{ENVIRONMENT}/a", "start")]
    assert world.engine.named("a").image != "evil:1"
    told = json.loads(world.file("refused.json"))
    assert "it is not signed" in json.dumps(told)
    before = world.reports()
    world.run()
    assert world.reports() == before, "it is told once"
    # Every commit of the agent is signed with its own key.
    allowed = keys.root / "agents"
    allowed.write_text(f"uici {keys.ssh('uici').with_suffix('.pub').read_text()}")
    shas = git(world.remote, "rev-list", "uici/reports").split()
    assert len(shas) >= 3
    for sha in shas:
        git(
            world.remote,
            *("-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", sha),
        )


def test_nobody_untrusted_ends_a_pause_and_anybody_begins_one(world: LoopWorld) -> None:
    pause = "apiVersion: uici/v1\nkind: Pause\nreason: a release\n"
    world.commit(a=service_yaml("a"), uici=pause)
    assert world.run().paused
    _sign(world, None)
    world.commit(uici=None)
    assert world.run().paused, "an unsigned commit took the pause away"
    world.commit(uici=pause.replace("a release", "help"))
    world.runtime.git.refresh()
    assert {p.pause.reason for p in world.runtime.git.pauses()} == {"a release", "help"}


# ── the agent's own commits ─────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["ssh", "gpg"])
def test_reports_are_signed_also_when_they_are_replayed(
    people: People,
    keys: Keys,
    remote: Remote,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    people.commit("shop:1")
    if kind == "ssh":
        signing = {"format": "ssh", "key": str(keys.ssh("uici"))}
    else:
        signing = {"format": "gpg", "key": keys.gpg_key("uici"), "gpgHome": str(keys.home)}
    mine = opened(remote, tmp_path / "one", signing=signing)
    mine.desired()
    other = opened(remote, tmp_path / "two")
    other.desired()
    plain = other.commit_report(healed("other"), now=NOW)
    assert plain is not None
    done = mine.commit_report(healed("mine"), now=NOW)  # rejected, and made again on top
    assert done is not None
    assert done.durability is Durability.PUSHED, done.error
    assert git(remote.path, "rev-parse", f"{done.sha}^") == plain.sha
    keys.allow("uici")
    monkeypatch.setenv("GNUPGHOME", str(keys.home))
    allowed = ("-c", f"gpg.ssh.allowedSignersFile={keys.allowed}")
    git(remote.path, *allowed, "verify-commit", done.sha)
    raw = git(remote.path, "cat-file", "commit", done.sha)
    assert "committer UICI <uici@localhost>" in raw
    assert raw.count("UICI-Run: mine") == 1
    refs = git(mine._repository.directory, "for-each-ref", "--format=%(refname)")  # type: ignore[attr-defined]  # the clone's own
    assert "refs/uici/signing" not in refs


def test_without_its_key_the_agent_commits_nothing(
    people: People, remote: Remote, tmp_path: Path
) -> None:
    people.commit("shop:1")
    signing = {"format": "ssh", "key": str(tmp_path / "gone")}
    git_state = opened(remote, tmp_path, signing=signing)
    git_state.desired()
    with pytest.raises(TemporaryError, match=r"cannot sign a commit .*: check git\.signing"):
        git_state.commit_report(healed("mine"), now=NOW)
    assert remote.tip(REPORTS) is None
