"""Which commit of the desired branch is in force, and what it says.

The newest one that validates is. When the tip does not, the last good one stays, which the
clone remembers; a clone that does not (it was made anew) is given it by looking back.
Used by `flows.git_state` only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import structlog

from flows.repository.commit_tree import CommitTree
from flows.repository.contract import (
    CloneDamagedError,
    DesiredChange,
    DesiredState,
    Listing,
    Repository,
    Tips,
)
from infrastructure.config_models import GitSettings
from infrastructure.desired_state import StateRead
from infrastructure.errors import Problem, TemporaryError
from infrastructure.observed import empty
from infrastructure.pause import PauseFile, damaged_pause, read_pause
from infrastructure.service import Service
from infrastructure.sources.tree import Tree

_log = structlog.get_logger("uici")

_SUFFIXES = (".yml", ".yaml")
_REMEMBERED = 4  # parsed revisions: the tip, the last good one, and two to spare
_TRUST_REMEDY = (
    "put a commit on the branch that a key of git.signatures has signed (git commit -S) and that"
    " contains the revision in force; see docs/how-to/git.md"
)
_LOOKED_BACK = 20  # commits before an invalid tip that are tried; each may cost a whole parse

# Files by path, and the commit they are of → what they say.
Parser = Callable[[Mapping[str, bytes], Tree], StateRead]


@dataclass(frozen=True, slots=True)
class _Parsed:
    services: Mapping[str, Service]
    problems: tuple[Problem, ...]  # why the revision is refused; empty: it is good
    remarks: tuple[Problem, ...]
    files: Mapping[str, str] = field(default_factory=empty)
    pauses: tuple[PauseFile, ...] = ()


class Revisions:
    """Commits of one repository's desired branch. Safe to use from several threads."""

    def __init__(self, repository: Repository, parser: Parser, settings: GitSettings) -> None:
        self._repository = repository
        self._parser = parser
        self._settings = settings
        self._parsed: OrderedDict[str, _Parsed] = OrderedDict()
        self._hopeless = ""  # an invalid tip before which nothing valid was found
        self._between: tuple[str, str | None] = ("", None)  # an invalid tip, the good one before it
        self._asked: DesiredChange | None = None  # the refused commit
        self._guard = threading.Lock()

    def in_force(self, tips: Tips) -> DesiredState:
        """What should run according to these tips, of which `desired` is one."""
        assert tips.desired is not None  # noqa: S101  # the caller has fetched it
        untrusted = self._repository.untrusted(tips.desired, tip=True)
        if untrusted:
            return self._without(tips.desired, tips, untrusted)
        newest = self._parse(tips.desired)
        remarks = (*newest.remarks, *self._rewritten(tips))
        if not newest.problems:
            if tips.last_good != tips.desired:
                self._repository.remember_good(self._settings.branch, tips.desired)
            return DesiredState(
                self._revision(tips.desired), newest.services, remarks, files=newest.files
            )
        return self._refused(tips.desired, tips, (*newest.problems, *remarks))

    def _without(self, tip: str, tips: Tips, reason: str) -> DesiredState:
        """What is in force while the tip is not trusted. Nothing that it says is."""
        message = f"commit {tip[:12]} is not trusted: {reason}"
        problem = Problem(self._settings.branch, 0, 0, message, _TRUST_REMEDY)
        return self._refused(tip, tips, (problem, *self._rewritten(tips)))

    def _refused(self, tip: str, tips: Tips, problems: tuple[Problem, ...]) -> DesiredState:
        good = self._last_good(tip, tips)
        parsed = self._parse(good) if good else None
        return DesiredState(
            revision=self._revision(good),
            services=parsed.services if parsed else {},
            problems=problems,
            refused_revision=self._revision(tip),
            files=parsed.files if parsed else {},
            refused_change=self._made_by(tip),
        )

    def _made_by(self, sha: str) -> DesiredChange | None:
        """Who to ask about a commit; looked up once."""
        if self._asked is None or self._asked.sha != sha:
            found = self._repository.changes(sha, "", limit=1, since=None)
            self._asked = next(iter(found), None)
        return self._asked

    def _last_good(self, tip: str, tips: Tips) -> str | None:
        """The newest commit that was valid before an invalid tip; None: none is known.

        An agent that never saw a valid tip has none: what others once held to be right is
        not put in force by guessing. One that had one and lost it with its clone looks back.
        """
        known = tips.last_good
        if (
            known is not None
            and known != tip
            and not self._repository.untrusted(known)
            and not self._parse(known).problems
        ):
            return self._newer(known, tip) or known
        if not tips.renewed or tip == self._hopeless:
            return None
        for sha in self._repository.history(tip, _LOOKED_BACK + 1)[1:]:
            if not self._valid(sha):
                continue
            self._repository.remember_good(self._settings.branch, sha)
            _log.warning("last_good_found_by_looking_back", revision=sha, refused=tip)
            return sha
        self._hopeless = tip
        _log.error("no_valid_desired_state", refused=tip, commits_tried=_LOOKED_BACK)
        return None

    def _newer(self, known: str, tip: str) -> str | None:
        """The newest valid commit between one in force and an invalid tip; None: there is none.

        It came and went between two looks. Looked for once a tip.
        """
        if self._between[0] != tip:
            found = None
            before = self._repository.history(tip, _LOOKED_BACK + 1)[1:]
            if known in before:  # else the branch was rewritten, or too much has come since
                candidates = before[: before.index(known)]
                found = next((sha for sha in candidates if self._valid(sha)), None)
            self._between = (tip, found)
        newer = self._between[1]
        if newer is not None:
            self._repository.remember_good(self._settings.branch, newer)
        return newer

    def is_refused(self, sha: str) -> bool:
        """Whether what a commit says is not valid; no where that can't be read now.

        Raises:
            CloneDamagedError: the clone is damaged.
        """
        try:
            return bool(self._parse(sha).problems)
        except CloneDamagedError:
            raise
        except TemporaryError:
            return False

    def _valid(self, sha: str) -> bool:
        try:
            return not self._repository.untrusted(sha) and not self._parse(sha).problems
        except CloneDamagedError:
            raise
        except TemporaryError:
            return False

    def _revision(self, sha: str | None) -> str:
        return f"{self._settings.branch}@" + (f"sha1:{sha}" if sha else "none")

    def _rewritten(self, tips: Tips) -> tuple[Problem, ...]:
        if tips.rewritten_from is None:
            return ()
        message = (
            f"the branch was rewritten: commit {tips.rewritten_from[:12]} is no longer part of it"
        )
        return (Problem(self._settings.branch, 0, 0, message),)

    def _parse(self, sha: str) -> _Parsed:
        """A commit's services. Remembered: the same commit is never parsed twice."""
        with self._guard:
            known = self._parsed.get(sha)
            if known is not None:  # what is asked each run outlasts what is looked up once
                self._parsed.move_to_end(sha)
        if known is None:
            known = self._parse_anew(sha)
            with self._guard:
                self._parsed[sha] = known
                while len(self._parsed) > _REMEMBERED:
                    self._parsed.popitem(last=False)
        return known

    def _parse_anew(self, sha: str) -> _Parsed:
        folder = PurePosixPath(self._settings.path.strip("/") or ".")
        paths = () if str(folder) == "." else (str(folder),)
        listing = self._repository.tree(sha, paths)
        remarks = tuple(Problem(entry.path, 0, 0, entry.why) for entry in listing.ignored)
        files, problems = self._readable(listing)
        if problems:
            return _Parsed({}, problems, remarks, pauses=self._pauses(listing))
        contents = self._repository.read(files.values())
        tree = CommitTree(self._repository, sha, max_bytes=self._settings.max_file_bytes)
        found = self._parser({path: contents[blob] for path, blob in files.items()}, tree)
        services, problems = found.services, found.problems
        remarks = (*remarks, *found.remarks)
        if not services and not problems:
            problems = (
                Problem(
                    f"{folder}/",
                    0,
                    0,
                    "no Service file is here",
                    "an empty desired state is refused: to let everything be, suspend the services",
                ),
            )
        pauses = (*found.pauses, *self._ignored_pauses(listing))
        return _Parsed(services, problems, remarks, found.files, pauses)

    def pauses(self, tips: Tips) -> tuple[PauseFile, ...]:
        """What people have paused at the tip, whether the rest of it is valid or not.

        Nobody needs trust to stop the agent; but who is not trusted ends no pause: those of
        the last good revision hold on.
        """
        if tips.desired is None:
            return ()
        found = self._parse(tips.desired).pauses
        good = tips.last_good
        if good and good != tips.desired and self._repository.untrusted(tips.desired, tip=True):
            found = (*found, *(p for p in self._parse(good).pauses if p not in found))
        return found

    def _pauses(self, listing: Listing) -> tuple[PauseFile, ...]:
        """Of a commit whose files are not read: the pause file alone is."""
        limit, found = self._settings.max_file_bytes, []
        for path, blob in listing.files.items():
            if not self._is_pause(path):
                continue
            if blob.size > limit:
                found.append(damaged_pause(path, f"it has more than {limit} bytes"))
            else:
                content = self._repository.read([blob.sha])[blob.sha]
                found.append(read_pause(path, content, max_bytes=limit))
        return (*found, *self._ignored_pauses(listing))

    def _ignored_pauses(self, listing: Listing) -> tuple[PauseFile, ...]:
        """A link or a folder in the pause file's place: somebody wanted a pause."""
        found = {e.path: e.why for e in listing.ignored if self._is_pause(e.path)}
        for path in (*listing.files, *(entry.path for entry in listing.ignored)):
            for folder in PurePosixPath(path).parents:
                if self._is_pause(str(folder)):
                    found[str(folder)] = "it is a folder"
        return tuple(damaged_pause(path, why) for path, why in found.items())

    def _is_pause(self, path: str) -> bool:
        return PurePosixPath(path).name == self._settings.pause_file

    def _readable(self, listing: Listing) -> tuple[dict[str, str], tuple[Problem, ...]]:
        limit = self._settings.max_file_bytes
        files: dict[str, str] = {}
        problems = []
        for path, blob in listing.files.items():
            if not path.endswith(_SUFFIXES):
                continue
            files[path] = blob.sha
            if blob.size > limit:
                message = f"the file has {blob.size} bytes, more than {limit}"
                problems.append(Problem(path, 0, 0, message, "split it, or raise git.maxFileBytes"))
        return files, tuple(problems)
