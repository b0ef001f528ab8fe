"""The files of one commit, as sources read them: by a path that stays in the tree."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Tree(Protocol):
    """Files by their path from the tree's root."""

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is no such file.

        Raises:
            InvalidInputError: it is there and can't be read: it is larger than files of
                desired state may be, or no regular file.
        """
        ...

    def below(self, folder: str) -> Sequence[str]:
        """Paths of all files below a folder, sorted; "" is the root."""
        ...


@dataclass(frozen=True, slots=True)
class FileWords:
    """How messages speak of the files of a tree.

    Attributes:
        shown: a path of the tree as a person there would write it.
        where: after the words "there is no file …".
        remedy: for a file that is named and is not there.
    """

    shown: Callable[[str], str] = lambda path: path
    where: str = " at this commit"
    remedy: str = "commit it, or give its variables in the Source"


AT_COMMIT = FileWords()


class FilesTree:
    """A tree of files that are in memory already."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, path: str) -> bytes | None:
        """A file's content."""
        return self._files.get(path)

    def below(self, folder: str) -> Sequence[str]:
        """Paths below a folder."""
        prefix = f"{folder}/" if folder else ""
        return sorted(path for path in self._files if path.startswith(prefix))


class RecordingTree:
    """A tree that remembers what was asked of it: what a reading depends on."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.files: set[str] = set()
        self.folders: set[str] = set()

    def read(self, path: str) -> bytes | None:
        """A file's content."""
        self.files.add(path)
        return self._tree.read(path)

    def below(self, folder: str) -> Sequence[str]:
        """Paths below a folder."""
        self.folders.add(folder)
        return self._tree.below(folder)


def resolved(path: str, *, beside: str) -> str | None:
    """A path that a file names, from the tree's root; None if it leaves the tree.

    Args:
        path: relative to the folder of the file that names it.
        beside: that file.
    """
    if path.startswith(("/", "~")) or "\0" in path:
        return None
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(beside), path))
    if joined == ".." or joined.startswith("../"):
        return None
    return "" if joined == "." else joined
