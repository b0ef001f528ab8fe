"""The reports branch between us and the remote: many writers, nothing lost, never by force.

Ours stand on a commit of the remote (`base`); when the remote has moved, ours are made
again on its tip, commit by commit, and the push is tried again; files of knowledge and
pauses are merged then. Neighbours: commands are
`flows.repository.plumbing`'s, the network `flows.repository.clone`'s.

Refs of the clone for a branch B: `refs/remotes/origin/B` is the remote's as last seen,
`refs/heads/B` is ours with unpushed commits, `refs/uici/base/B` is what ours stand on.
Git moves the first when a push has landed; where it equals the second there is nothing
unpushed, and the third may lag behind until the next commit or fetch takes it along:
moving it at once would be a process more for each push.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

from flows.learning.merge import is_knowledge, merged_file
from flows.learning.shelf import KNOWLEDGE_FOLDER
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import status_path
from flows.repository.contract import Commit
from flows.repository.fast_import import Edit, NewCommit
from flows.repository.pause_merge import merged_pauses
from flows.repository.plumbing import ABSENT, Move, Plumbing, blob_id
from flows.repository.remote import reason_line
from infrastructure.config_models import Retry
from infrastructure.errors import TemporaryError
from infrastructure.pause import PAUSE_PATH

_log = structlog.get_logger("uici")

_STATUSES = "status/"
_INTENTS = "intents/"
_RUN = re.compile(rb"^UICI-Run: (\S+)$", re.MULTILINE)
_SEARCH_DEPTH = 500  # commits that are searched for one that was replayed
# What a remote answers when somebody else was faster: worth a replay.
_RACE = re.compile(
    r"^\[rejected\]|cannot lock ref|failed to update ref|incorrect old value"
    r"|reference already exists|unable to create|failed to lock",
    re.IGNORECASE,
)


class Network(Protocol):
    """The two things that need the remote. Both raise TemporaryError when it is away."""

    def fetch_reports(self, branch: str) -> None:
        """Bring the remote's tip; forget it when the remote has no such branch."""
        ...

    def push_commit(self, branch: str, sha: str) -> str:
        """Empty when the remote took it, else its answer in one line."""
        ...


class ReportsBranch:
    """One branch. `locked` is the clone's write lock."""

    def __init__(
        self,
        branch: str,
        plumbing: Plumbing,
        *,
        locked: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._branch = branch
        self._plumbing = plumbing
        self._locked = locked
        self.tracking = f"refs/remotes/origin/{branch}"
        self.ours = f"refs/heads/{branch}"
        self.base = f"refs/uici/base/{branch}"

    def pending(self, refs: dict[str, Commit]) -> str | None:
        """Our newest commit if the remote does not have it."""
        ours = _sha(refs.get(self.ours))
        return None if ours == self._standing(refs) else ours

    def settled(self, refs: dict[str, Commit]) -> bool:
        """Whether ours stand on the remote's tip as last seen."""
        return _sha(refs.get(self.tracking)) == self._standing(refs)

    def belated(self, refs: dict[str, Commit]) -> dict[str, str]:
        """Where the base has to go before ours move on, by its name; empty: it is there."""
        standing = self._standing(refs)
        lags = standing is not None and standing != _sha(refs.get(self.base))
        return {self.base: standing} if standing is not None and lags else {}

    def _standing(self, refs: dict[str, Commit]) -> str | None:
        """The commit of the remote that ours stand on."""
        ours = _sha(refs.get(self.ours))
        return ours if ours == _sha(refs.get(self.tracking)) else _sha(refs.get(self.base))

    def sync(self, before: dict[str, Commit] | None = None) -> dict[str, Commit]:
        """Put ours on the remote's tip as last seen; the refs as they are then.

        Without unpushed commits ours follow the remote wherever it went.

        Args:
            before: the refs before a fetch, which may have moved the remote's.
        """
        with self._locked():
            refs = self._plumbing.refs()
            if self.settled(refs):
                return refs
            ours, base, tip = (_sha(refs.get(r)) for r in (self.ours, self.base, self.tracking))
            moves = [Move(self.base, tip, base or ABSENT)] if tip or base else []
            if tip is not None and ours != tip:
                same = before is not None and _sha(before.get(self.ours)) == ours
                stood = self._standing(before) if before is not None and same else base
                moves.append(Move(self.ours, self._target(ours, stood, tip), ours or ABSENT))
            self._plumbing.move(*moves)
            return self._plumbing.refs()

    def _target(self, ours: str | None, base: str | None, tip: str) -> str:
        if ours is None or ours == base or self._plumbing.contains(tip, ours):
            return tip
        if (base is None or self._plumbing.contains(tip, base)) and self._plumbing.contains(
            ours, tip
        ):
            return ours  # what landed is ours: a commit was made while its push was under way
        return self._replay(ours, base, tip)

    def _replay(self, ours: str, base: str | None, tip: str) -> str:
        """Our commits that the remote lacks, made again on its tip; the last one's name."""
        shas = self._plumbing.missing_in(ours, tip, *([base] if base else []))
        known = {path: blob.sha for path, blob in self._plumbing.tree(tip).files.items()}
        learned = _Learned(self._plumbing, base, known)
        kept: list[tuple[str, tuple[Edit, ...]]] = []
        raw = self._plumbing.objects(shas)
        for sha, edits in self._plumbing.edits(shas).items():
            run = _run_of(raw[sha])
            mended = [m for edit in edits if (m := learned.merged(edit, run)) is not None]
            news = tuple(edit for edit in mended if known.get(edit.path) != _identity(edit))
            known |= {edit.path: _identity(edit) or "" for edit in news}
            kept += [(sha, news)] if news else []
        if not kept:
            return tip
        commits = [_again(raw[sha], edits) for sha, edits in kept]
        name = hashlib.sha256(self._branch.encode()).hexdigest()[:12]
        scratch = f"refs/uici/replay/{name}"
        if scratch in self._plumbing.refs():
            self._plumbing.move(Move(scratch, None))  # a replay was killed half-way
        target = self._plumbing.make(scratch, tip, commits)
        self._plumbing.move(Move(scratch, None))
        _log.info("commits_replayed", branch=self._branch, count=len(commits), onto=tip)
        return target

    def push(
        self, network: Network, retry: Retry, sleep: Callable[[float], None]
    ) -> tuple[str, str]:
        """Bring ours to the remote.

        Returns:
            Our newest commit, and why the remote refused it (empty: it has it).

        Raises:
            TemporaryError: the remote can't be reached. Not tried again here.
        """
        newest = reason = ""
        for attempt in range(retry.attempts):
            if attempt:
                sleep(_jittered(retry, attempt))
                network.fetch_reports(self._branch)
            refs = self.sync()
            waiting = self.pending(refs)
            if waiting is None:
                return "", ""
            newest = waiting
            reason = network.push_commit(self._branch, waiting)
            if not reason:
                self._landed(waiting, refs.get(self.base))
                return newest, ""
            if not _RACE.search(reason):
                break
            _log.info("push_rejected", branch=self._branch, reason=reason, attempt=attempt + 1)
        return newest, reason

    def _landed(self, sha: str, base: Commit | None) -> None:
        if _sha(self._plumbing.refs().get(self.tracking)) == sha:
            return  # Git has noted it
        # Refused when another process has moved it on already: then it knows better.
        with contextlib.suppress(TemporaryError), self._locked():
            self._plumbing.move(Move(self.base, sha, _sha(base) or ABSENT))

    def renamed(self, sha: str, refs: dict[str, Commit]) -> str:
        """A commit's name on our branch: another one if it was replayed meanwhile."""
        ours = refs.get(self.ours)
        if ours is None or ours.sha == sha or self._plumbing.contains(ours.sha, sha):
            return sha
        wanted = self._signatures(sha, 1)[sha]
        found = self._signatures(ours.sha, _SEARCH_DEPTH)
        return next((name for name, text in found.items() if text == wanted), sha)

    def _signatures(self, sha: str, count: int) -> dict[str, bytes]:
        """Author's time and message of the newest commits: what a replay keeps."""
        command = ["log", "-n", str(count), "-z", "--format=%H%n%at%n%B", sha]
        entries = self._plumbing.must(command, "search a commit").rstrip(b"\0").split(b"\0")
        parts = [entry.partition(b"\n") for entry in entries]
        return {name.decode(): text for name, _, text in parts}


class _Learned:
    """Files that others may have written meanwhile, in a replay: they have their say.

    Knowledge and pauses are merged. A status that another has written stands, unless ours tells
    what this very run has done there: what was only looked at, or never begun, was overtaken. So
    does one that another's intent has counted an attempt upon: what we saw was before that attempt.
    """

    def __init__(self, plumbing: Plumbing, base: str | None, known: Mapping[str, str]) -> None:
        self._plumbing = plumbing
        self._base = base
        self._known = known
        self._intents = {path: sha for path, sha in known.items() if path.startswith(_INTENTS)}
        self._counted: frozenset[str] | None = None
        self._made: dict[str, bytes] = {}  # by identity; not in the repository yet
        self._ours: set[str] = set()  # statuses that an earlier commit of the replay has made
        self._before: Mapping[str, str] | None = None
        self._paused: list[str | None] = []  # pauses by our commits that are made again

    def merged(self, edit: Edit, run: str) -> Edit | None:
        """The edit as it is to be made on the newer tip; None: not at all.

        `run` is the one whose commit it is of.
        """
        if edit.path.startswith(_STATUSES):
            return None if self._overtaken(edit, run) else edit
        if edit.path == PAUSE_PATH:
            return self._with_their_pauses(edit)
        if edit.blob is None or not is_knowledge(edit.path):
            return edit
        theirs = self._known.get(edit.path)
        if not theirs:
            return None if edit.path in self._stood_before() else edit
        if theirs == edit.blob:
            return edit
        stood = self._stood_before().get(edit.path)
        before = self._read(stood) if stood is not None else None
        content = merged_file(edit.path, self._read(edit.blob), self._read(theirs), before)
        self._made[blob_id(content)] = content
        return Edit(edit.path, content=content)

    def _with_their_pauses(self, edit: Edit) -> Edit:
        before = self._paused[-1] if self._paused else self._stood_before().get(PAUSE_PATH)
        self._paused.append(edit.blob)
        theirs = self._known.get(PAUSE_PATH) or None
        if theirs in (before, edit.blob):
            return edit
        ours, known, stood = (
            self._read(sha) if sha is not None else None for sha in (edit.blob, theirs, before)
        )
        content = merged_pauses(ours, known, stood)
        if content is None:
            return Edit(PAUSE_PATH)
        self._made[blob_id(content)] = content
        return Edit(PAUSE_PATH, content=content)

    def _overtaken(self, edit: Edit, run: str) -> bool:
        theirs, stood = self._known.get(edit.path), self._stood_before().get(edit.path)
        changed = theirs not in (stood, edit.blob)
        counted = edit.path in self._counted_upon()
        if not theirs or theirs in self._ours or not (changed or counted):
            if edit.blob is not None:
                self._ours.add(edit.blob)
            return False
        told = edit.blob is not None and _tells_of(self._read(edit.blob), run)
        if told and edit.blob is not None:
            self._ours.add(edit.blob)
        return not told

    def _counted_upon(self) -> frozenset[str]:
        """Statuses that intents count upon which came since our base."""
        if self._counted is None:
            stood = self._stood_before()
            new = [sha for path, sha in self._intents.items() if path not in stood]
            found = self._plumbing.read(new) if new else {}
            self._counted = frozenset(
                status_path(target) for raw in found.values() for target in _counted_in(raw)
            )
        return self._counted

    def _stood_before(self) -> Mapping[str, str]:
        if self._before is None:
            folders = (KNOWLEDGE_FOLDER, _STATUSES.rstrip("/"), _INTENTS.rstrip("/"), PAUSE_PATH)
            files = self._plumbing.tree(self._base, folders).files if self._base else {}
            self._before = {path: blob.sha for path, blob in files.items()}
        return self._before

    def _read(self, sha: str) -> bytes:
        made = self._made.get(sha)
        return self._plumbing.read([sha])[sha] if made is None else made


def _counted_in(intent: bytes) -> list[str]:
    """Targets of which an intent counts an attempt. It may be anybody's file."""
    try:
        data = json.loads(intent)
    except (ValueError, RecursionError):
        return []
    told = data.get("counted") if isinstance(data, dict) else None
    entries = told if isinstance(told, list) else []
    targets = [each.get("target") for each in entries if isinstance(each, dict)]
    return [target for target in targets if isinstance(target, str)]


def _run_of(raw: bytes) -> str:
    """The run whose commit it is, as its trailer says; empty: of none."""
    found = _RUN.findall(raw.partition(b"\n\n")[2])
    return found[-1].decode(errors="replace") if found else ""


def _tells_of(status: bytes, run: str) -> bool:
    """Whether a status tells of what this run has done; what it has held was never begun."""
    try:
        last = json.loads(status).get("lastIncident")
    except (ValueError, RecursionError, AttributeError):
        return False
    ours = bool(run) and isinstance(last, dict) and last.get("runId") == run
    return ours and last.get("result") != IncidentResult.HELD.value


def _identity(edit: Edit) -> str | None:
    """The blob that an edit makes of its path; None: it goes."""
    return edit.blob if edit.content is None else blob_id(edit.content)


def _sha(commit: Commit | None) -> str | None:
    return commit.sha if commit else None


def _jittered(retry: Retry, attempt: int) -> float:
    """Full jitter: rivals that have collided once do not collide in step again."""
    ceiling = retry.backoff.initial.total_seconds() * 2 ** (attempt - 1)
    return random.uniform(0, min(ceiling, retry.backoff.max.total_seconds()))  # noqa: S311  # jitter guards no secret


def _again(raw: bytes, edits: Sequence[Edit]) -> NewCommit:
    """The same commit (author, committer, message) with these edits."""
    head, _, message = raw.partition(b"\n\n")
    lines = dict(line.split(b" ", 1) for line in head.split(b"\n") if b" " in line)
    return NewCommit(message, lines[b"author"], lines[b"committer"], tuple(edits))


def push_answer(stdout: bytes, stderr: str) -> str | None:
    """The remote's answer in the output of `git push --porcelain`; None: there is none."""
    for line in stdout.decode(errors="replace").splitlines():
        if line.startswith("!\t"):
            said = line.split("\t", 2)[2]
            return (
                f"{said}; {reason_line(stderr)}" if said.startswith("[remote rejected]") else said
            )
    return None
