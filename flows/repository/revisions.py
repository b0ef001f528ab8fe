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
from flows.repository.contract import CloneDamagedError, DesiredState, Listing, Repository, Tips
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
        self._guard = threading.Lock()

    def in_force(self, tips: Tips) -> DesiredState:
        """What should run according to these tips, of which `desired` is one."""
        assert tips.desired is not None  # noqa: S101  # the caller has fetched it
        newest = self._parse(tips.desired)
        remarks = (*newest.remarks, *self._rewritten(tips))
        if not newest.problems:
            if tips.last_good != tips.desired:
                self._repository.remember_good(self._settings.branch, tips.desired)
            return DesiredState(
                self._revision(tips.desired), newest.services, remarks, files=newest.files
            )
        good = self._last_good(tips.desired, tips)
        parsed = self._parse(good) if good else None
        return DesiredState(
            revision=self._revision(good),
            services=parsed.services if parsed else {},
            problems=(*newest.problems, *remarks),
            refused_revision=self._revision(tips.desired),
            files=parsed.files if parsed else {},
        )

    def _last_good(self, tip: str, tips: Tips) -> str | None:
        """The newest commit that was valid before an invalid tip; None: none is known.

        An agent that never saw a valid tip has none: what others once held to be right is
        not put in force by guessing. One that had one and lost it with its clone looks back.
        """
        known = tips.last_good
        if known is not None and not self._parse(known).problems:
            return known
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

    def _valid(self, sha: str) -> bool:
        try:
            return not self._parse(sha).problems
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

    def pauses(self, sha: str) -> tuple[PauseFile, ...]:
        """What people have paused at a commit, whether the rest of it is valid or not."""
        return self._parse(sha).pauses

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
