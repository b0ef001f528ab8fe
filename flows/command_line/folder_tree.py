"""A folder on disk as the tree that Sources of desired state refer to."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from flows.command_line.disk_file import in_repository_data, read_regular
from infrastructure.errors import Problem

_REPOSITORY = ".git"


class FolderTree:
    """The repository around a folder; without one, the folder alone.

    Paths are those from the repository's root, as they will be at a commit: what a commit
    does not hold (links, and what is in `.git`) is not there.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        folder = folder.resolve()
        above = (folder, *folder.parents)
        self._max_bytes = max_bytes
        self._root = next((each for each in above if (each / _REPOSITORY).exists()), folder)
        prefix = folder.relative_to(self._root).as_posix()
        self._prefix = "" if prefix == "." else prefix

    def read(self, path: str) -> bytes | None:
        """A regular file's content; None if there is none, or a link leads to it.

        Raises:
            InvalidInputError: it is no regular file, too large, or has no possible name.
        """
        file = self._root / path
        if in_repository_data(PurePosixPath(path)):
            return None
        # What has no possible name is told by the reader.
        with suppress(OSError, ValueError):
            if file.is_dir() or file.resolve() != file:
                return None
        return read_regular(file, shown=path, max_bytes=self._max_bytes)

    def below(self, folder: str) -> Sequence[str]:
        """Paths of all regular files below a folder, sorted."""
        paths: list[str] = []
        with suppress(OSError, ValueError):  # no folder can have such a name
            for file in (self._root / folder).rglob("*"):
                path = file.relative_to(self._root)
                if file.is_file() and not file.is_symlink() and not in_repository_data(path):
                    paths.append(path.as_posix())
        return sorted(paths)

    def placed(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Files of the folder under their paths in the tree."""
        return {posixpath.join(self._prefix, path): content for path, content in files.items()}

    def shown(self, problem: Problem) -> Problem:
        """A problem with its file as seen from the folder."""
        return replace(problem, file=posixpath.relpath(problem.file, self._prefix or "."))
