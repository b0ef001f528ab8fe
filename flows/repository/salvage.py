"""What only a damaged clone has, brought into the one that takes its place.

Reports that were not pushed yet and the last good revision live nowhere else. Nothing of a
damaged clone is believed: names of refs are read from its files by hand, and a commit counts
only when everything that it is made of could be packed and read again. Used by
`flows.repository.clone` only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.repository.plumbing import Move, Plumbing
from flows.repository.reports_branch import ReportsBranch
from flows.repository.runner import Runner

_SHA = re.compile(r"[0-9a-f]{40}")
_PACKED = re.compile(r"([0-9a-f]{40}) (refs/\S+)")
_COMMENT = re.compile(r"#.*|\^[0-9a-f]{40}|")
_SEARCHED = 200  # commits that are tried, from the newest one down
_KEPT = 3  # damaged clones that are kept for people to look at, the newest ones
_ASIDE = ".damaged-"


@dataclass(frozen=True, slots=True)
class OldRefs:
    """Refs of a damaged clone. `whole`: nothing that could have been one was unreadable."""

    shas: dict[str, str]
    whole: bool


def old_refs(directory: Path) -> OldRefs:
    """What the files of the refs say, those that say something."""
    shas: dict[str, str] = {}
    whole = (directory / "refs").is_dir()
    for name, text in (*_packed_lines(directory), *_loose_files(directory)):
        if name and _SHA.fullmatch(text):
            shas[name] = text  # a loose file counts more than the pack
        else:
            whole = False
    return OldRefs(shas, whole)


def _packed_lines(directory: Path) -> Iterator[tuple[str, str]]:
    text = _text(directory / "packed-refs")
    for line in text.splitlines():
        entry = _PACKED.fullmatch(line)
        if entry:
            yield entry[2], entry[1]
        elif not _COMMENT.fullmatch(line):
            yield "", ""


def _loose_files(directory: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((directory / "refs").rglob("*")):
        if path.is_file() and path.suffix != ".lock":
            yield path.relative_to(directory).as_posix(), _text(path).removesuffix("\n")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`commits` that the remote lacks are there again; `lost` says what may not be."""

    commits: int
    lost: str = ""


class Salvage:
    """Brings commits of a damaged clone into a fresh one that has fetched from the remote."""

    def __init__(self, plumbing: Plumbing, runner: Runner, damaged: Path) -> None:
        """Nothing is read yet.

        Args:
            plumbing: the fresh clone.
            runner: runs commands in the fresh clone.
            damaged: the other one.
        """
        self._plumbing = plumbing
        self._runner = runner
        self._old = old_refs(damaged)
        path = str(damaged / "objects").replace("\\", "\\\\").replace('"', '\\"')
        self._with_old = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{path}"'}

    def last_good(self, good: str) -> None:
        """Take the ref of the last good revision over, if all of its commit can be read.

        Whether it is good is not believed: who reads it parses it again.
        """
        sha = self._old.shas.get(good)
        if sha and (self._has(sha) or self._bring(sha)):
            self._plumbing.move(Move(good, sha))

    def reports(self, reports: ReportsBranch) -> Salvaged:
        """Take over what was not pushed yet, as far as it can be read, and stand it on the tip."""
        old = self._old.shas
        ours, base, seen = (old.get(r) for r in (reports.ours, reports.base, reports.tracking))
        branch = reports.ours.removeprefix("refs/heads/")
        if ours is None:
            nothing = self._old.whole and base is None and seen is None
            lost = f"the damaged clone does not say what of {branch} was not pushed yet"
            return Salvaged(0, "" if nothing else f"{lost}: such reports are lost")
        if ours == seen:
            return Salvaged(0)
        newest, skipped = self._readable(ours, {base, seen})
        lost = (
            f"{skipped} commits of {branch} that were not pushed yet could not be read and are lost"
            if skipped
            else ""
        )
        if newest is None:
            return Salvaged(0, lost)
        stood = base if base and self._plumbing.contains(newest, base) else None
        self._plumbing.move(Move(reports.ours, newest), Move(reports.base, stood))
        refs = reports.sync()
        pending = reports.pending(refs)
        onto = refs.get(reports.tracking)
        if pending is None:
            return Salvaged(0, lost)
        missing = self._plumbing.missing_in(pending, *([onto.sha] if onto else []))
        return Salvaged(len(missing), lost)

    def _readable(self, ours: str, pushed: set[str | None]) -> tuple[str | None, int]:
        """The newest commit of ours that is there with all it holds, and how many are above it.

        None: all that could be read was pushed.
        """
        sha: str | None = ours
        for skipped in range(_SEARCHED):
            if sha is None or sha in pushed:
                return None, skipped
            if self._has(sha) or self._bring(sha):
                return sha, skipped
            sha = self._parent(sha)
        return None, _SEARCHED

    def _has(self, sha: str) -> bool:
        command = ["rev-list", "--objects", "--quiet", sha, "--not", "--all"]
        return self._runner.run(command).status == 0

    def _bring(self, sha: str) -> bool:
        """Copy a commit with all it stands on and the fresh clone lacks; false: not readable."""
        pack = ["pack-objects", "--revs", "--non-empty", "-q", "objects/pack/pack"]
        known = "".join(f"^{commit.sha}\n" for commit in self._plumbing.refs().values())
        stdin = f"{sha}\n{known}".encode()
        done = self._runner.run(pack, stdin=stdin, environment=self._with_old)
        return done.status == 0 and self._has(sha)

    def _parent(self, sha: str) -> str | None:
        done = self._runner.run(["cat-file", "commit", sha], environment=self._with_old)
        found = re.search(
            rb"^parent ([0-9a-f]{40})$", done.stdout.partition(b"\n\n")[0], re.MULTILINE
        )
        return found[1].decode() if done.status == 0 and found else None


def set_aside(clone: Path) -> Path | None:
    """Rename a damaged clone; None: there is nothing that could be kept."""
    if not clone.exists():
        return None
    aside = clone.with_name(f"{clone.name}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    return clone.rename(aside)


def forget_old(clone: Path) -> None:
    """Delete damaged clones but the newest few: each is as large as the clone."""
    found = sorted(clone.parent.glob(f"{clone.name}{_ASIDE}*"))
    for path in found[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
