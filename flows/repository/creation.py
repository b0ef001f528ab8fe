"""Making bare repositories: the agent's clone, and the embedded remote with its seed.

A repository appears under its name complete or not at all, whoever else is making it.
Used by `flows.repository.clone` only.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.repository.fast_import import Edit, authored
from flows.repository.plumbing import Plumbing
from flows.repository.remote import remote_slug
from infrastructure.config_models import GitSettings
from infrastructure.errors import PermanentError

_EMBEDDED = "state.git"


@contextlib.contextmanager
def new_bare(directory: Path, branch: str) -> Iterator[Path]:
    """An empty bare repository to be filled; it gets its name at the end.

    When another process was faster, its repository stays and this one is dropped.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for folder in ("objects/pack", "objects/info", "refs/heads"):
            (scratch / folder).mkdir(parents=True)
        (scratch / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
        (scratch / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        yield scratch
        _name(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _name(scratch: Path, directory: Path) -> None:
    try:
        scratch.rename(directory)
    except OSError:
        if not (directory / "HEAD").is_file():
            raise


def clone_path(data: Path, address: str) -> Path:
    """Where the agent's own clone of a remote lies.

    Args:
        data: the agent's data directory.
        address: as `resolve_remote` gives it.
    """
    return data / "repositories" / f"{remote_slug(address)}.git"


def embedded_path(data: Path) -> Path:
    """Where the embedded remote is under a data directory, made or not."""
    return data / _EMBEDDED


def embedded_remote(
    data: Path, seed: Path | None, settings: GitSettings, plumbing: Callable[[Path], Plumbing]
) -> Path:
    """The agent's own remote under its data directory, made from the seed if absent.

    Raises:
        PermanentError: there is no seed to start from.
    """
    directory = embedded_path(data)
    if directory.exists():
        return directory
    if seed is None or not seed.is_dir():
        raise PermanentError(
            f"git.seed {seed} is not a folder: name the folder whose files the embedded"
            " state repository starts with, or set git.remote"
        )
    edits = tuple(Edit(path, content=content) for path, content in _seed_files(seed))
    message = "Start desired state from the seed\n"
    with new_bare(directory, settings.branch) as scratch:
        commit = authored(message, settings.author, datetime.now(UTC), edits)
        plumbing(scratch).make(f"refs/heads/{settings.branch}", None, [commit])
    return directory


def _seed_files(seed: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(seed.rglob("*")):
        relative = path.relative_to(seed)
        if path.is_file() and not path.is_symlink() and ".git" not in relative.parts:
            yield relative.as_posix(), path.read_bytes()
