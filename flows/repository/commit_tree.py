"""The files of one commit, read when a Source names them.

Service files are read in one go (`flows.git_state`); what Sources refer to may lie anywhere
in the repository, and only it is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.repository.contract import Blob, Repository
from infrastructure.errors import InvalidInputError, Problem


class CommitTree:
    """An `infrastructure.sources.tree.Tree` of a commit in the agent's own clone."""

    def __init__(self, repository: Repository, sha: str, *, max_bytes: int) -> None:
        self._repository = repository
        self._sha = sha
        self._max_bytes = max_bytes

    def read(self, path: str) -> bytes | None:
        """A file's content; None if the commit has no such regular file.

        Raises:
            InvalidInputError: it is larger than files of desired state may be.
        """
        blob = self._files(path).get(path) if path else None
        if blob is None:
            return None
        if blob.size > self._max_bytes:
            message = f"the file has {blob.size} bytes, more than {self._max_bytes}"
            raise InvalidInputError(
                [Problem(path, 0, 0, message, "split it, or raise git.maxFileBytes")]
            )
        return self._repository.read([blob.sha])[blob.sha]

    def below(self, folder: str) -> Sequence[str]:
        """Paths of all regular files below a folder, sorted."""
        prefix = f"{folder}/" if folder else ""
        return sorted(path for path in self._files(folder) if path.startswith(prefix))

    def _files(self, path: str) -> dict[str, Blob]:
        return dict(self._repository.tree(self._sha, (path,) if path else ()).files)
