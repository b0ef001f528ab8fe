"""The clone's refs without a process, as long as nothing that Git has not told is in them.

A run looks at the refs half a dozen times, and `git for-each-ref` takes 4 ms each time.
What it told last stays true while the files of the refs are the same; a file that has
changed to a commit whose date is known needs no question either. The clone is made by
`flows.repository.creation` in the format that gitrepository-layout(5) describes: one file
a ref, and `packed-refs`. In any doubt the answer is None, and `flows.repository.plumbing`
asks Git.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.repository.contract import Commit


@dataclass(frozen=True, slots=True)
class RefSnapshot:
    """The files at one moment: content by name of the ref, and the pack's identity."""

    loose: Mapping[str, bytes]
    packed: tuple[int, int, int] | None


class RefFiles:
    """What is known of one repository's refs. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._told: tuple[RefSnapshot, Mapping[str, Commit]] | None = None
        self._made: dict[str, datetime] = {}

    def look(self) -> RefSnapshot | None:
        """The files as they are now; None: they can't be read."""
        try:
            # Packing writes the pack before it removes files: looked at in this order, a
            # ref that moves there meanwhile is missed in the files and so asked for.
            packed = _identity(self._directory / "packed-refs")
            return RefSnapshot(dict(_loose(f"{self._directory}/", "refs")), packed)
        except OSError:
            return None

    def known(self, now: RefSnapshot | None) -> dict[str, Commit] | None:
        """Every ref by its full name, or None: only Git can tell."""
        with self._guard:
            if now is None or self._told is None:
                return None
            before, refs = self._told
            if now.packed != before.packed or before.loose.keys() - now.loose.keys():
                return None
            dates = self._made | {commit.sha: commit.at for commit in refs.values()}
            found = dict(refs)
            for name, content in now.loose.items():
                if content != before.loose.get(name):
                    sha = content.decode(errors="replace").removesuffix("\n")
                    if sha not in dates:
                        return None
                    found[name] = Commit(sha, dates[sha])
            self._told = now, found
            return dict(found)

    def told(self, before: RefSnapshot | None, refs: Mapping[str, Commit]) -> None:
        """Keep what Git said. `before` was taken before it was asked."""
        with self._guard:
            self._told = None if before is None else (before, dict(refs))
            self._made.clear()

    def made(self, commit: Commit) -> None:
        """A commit that refs may soon point to."""
        with self._guard:
            self._made[commit.sha] = commit.at


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _loose(root: str, name: str) -> Iterator[tuple[str, bytes]]:
    with os.scandir(root + name) as entries:
        for entry in entries:
            below = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _loose(root, below)
            elif not below.endswith(".lock"):
                yield below, Path(entry.path).read_bytes()
