"""A bare Git repository as the remote, with a first commit made from a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from flows.local_stack.child import find_program
from infrastructure.errors import PermanentError

# A user's own Git settings (hooks, signing, templates) must not reach a scratch repository.
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "UICI",
    "GIT_AUTHOR_EMAIL": "uici@localhost",
    "GIT_COMMITTER_NAME": "UICI",
    "GIT_COMMITTER_EMAIL": "uici@localhost",
}


def git(*arguments: str, repository: Path, folder: Path | None = None) -> str:
    """Run git on a bare repository and return its stdout, stripped.

    Args:
        arguments: subcommand and its arguments.
        repository: the bare repository.
        folder: files to act on as if they were its working tree.

    Raises:
        PermanentError: git failed; with what it wrote.
    """
    tree = [] if folder is None else ["--work-tree", "."]
    result = subprocess.run(  # noqa: S603 - an argument list of our own, no shell
        [find_program("git"), "--git-dir", str(repository.resolve()), *tree, *arguments],
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(repository), **_ENVIRONMENT},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise PermanentError(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout.strip()


def bare_remote(path: Path, seed: Path, *, branch: str = "main") -> Path:
    """Make a bare repository at `path` whose `branch` holds the files of `seed`.

    Returns:
        `path`, which can be used as a remote.

    Raises:
        PermanentError: git is missing or failed.
    """
    path.mkdir(parents=True)
    git("init", "--quiet", "--bare", f"--initial-branch={branch}", repository=path)
    commit_folder(path, seed, message="Desired state")
    return path


def commit_folder(repository: Path, folder: Path, *, message: str) -> str:
    """Commit all files of `folder` as the whole content of HEAD's branch; returns the SHA."""
    git("add", "--all", ".", repository=repository, folder=folder)
    git(*("commit", "--quiet", "-m", message), repository=repository, folder=folder)
    return git("rev-parse", "HEAD", repository=repository)
