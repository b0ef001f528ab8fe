"""A folder on disk as the tree that Sources of desired state refer to."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infrastructure.errors import Problem

_REPOSITORY = ".git"


class FolderTree:
    """The repository around a folder; without one, the folder alone.

    Paths are those from the repository's root, as they will be at a commit.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        above = (folder, *folder.parents)
        self._root = next((each for each in above if (each / _REPOSITORY).exists()), folder)
        prefix = folder.relative_to(self._root).as_posix()
        self._prefix = "" if prefix == "." else prefix

    def read(self, path: str) -> bytes | None:
        """A regular file's content; None if there is none, or a link leads out of the tree."""
        file = self._root / path
        if not file.is_file() or file.is_symlink():
            return None
        return file.read_bytes() if file.resolve().is_relative_to(self._root) else None

    def below(self, folder: str) -> Sequence[str]:
        """Paths of all regular files below a folder, sorted."""
        found = (self._root / folder).rglob("*")
        files = (file for file in found if file.is_file() and not file.is_symlink())
        paths = (file.relative_to(self._root).as_posix() for file in files)
        return sorted(path for path in paths if not path.startswith(f"{_REPOSITORY}/"))

    def placed(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Files of the folder under their paths in the tree."""
        return {posixpath.join(self._prefix, path): content for path, content in files.items()}

    def shown(self, problem: Problem) -> Problem:
        """A problem with its file as seen from the folder."""
        return replace(problem, file=posixpath.relpath(problem.file, self._prefix or "."))
