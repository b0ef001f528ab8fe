"""Refs that are read without Git: the same as Git tells, or no answer at all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.repository.contract import Commit
from flows.repository.ref_files import RefFiles

AT = datetime(2026, 1, 2, tzinfo=UTC)
OLD, NEW, OTHER = (Commit(digit * 40, AT) for digit in "abc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path, "refs/heads/r", OLD)
    return tmp_path


def write(directory: Path, name: str, commit: Commit) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{commit.sha}\n")


def told(directory: Path, **refs: Commit) -> RefFiles:
    """With Git's word on refs/heads/r, and on those given."""
    files = RefFiles(directory)
    files.told(files.look(), {"refs/heads/r": OLD, **refs})
    return files


def test_what_git_told_stays_true_while_no_file_changes(directory: Path) -> None:
    files = told(directory)
    assert files.known(files.look()) == {"refs/heads/r": OLD}


def test_nothing_is_known_before_git_has_told_anything(directory: Path) -> None:
    files = RefFiles(directory)
    assert files.known(files.look()) is None


def test_a_ref_that_moves_to_a_known_commit_needs_no_question(directory: Path) -> None:
    files = told(directory)
    files.made(NEW)
    write(directory, "refs/heads/r", NEW)
    write(directory, "refs/remotes/origin/r", NEW)
    moved = {"refs/heads/r": NEW, "refs/remotes/origin/r": NEW}
    assert files.known(files.look()) == moved
    assert files.known(files.look()) == moved


@pytest.mark.parametrize("content", [f"{OTHER.sha}\n", "", "\0" * 41, "ref: refs/heads/x\n"])
def test_a_commit_that_nobody_told_of_is_a_question(directory: Path, content: str) -> None:
    files = told(directory)
    (directory / "refs/heads/r").write_text(content)
    assert files.known(files.look()) is None


def test_a_ref_that_goes_or_is_packed_is_a_question(directory: Path) -> None:
    write(directory, "refs/heads/s", OTHER)
    files = told(directory, **{"refs/heads/s": OTHER})
    (directory / "refs/heads/s").unlink()
    assert files.known(files.look()) is None
    files = told(directory)
    (directory / "packed-refs").write_text(f"{NEW.sha} refs/heads/t\n")
    assert files.known(files.look()) is None


def test_a_lock_of_git_is_no_ref(directory: Path) -> None:
    files = told(directory)
    (directory / "refs/heads/r.lock").write_text("")
    assert files.known(files.look()) == {"refs/heads/r": OLD}


def test_files_that_cannot_be_read_are_a_question(tmp_path: Path) -> None:
    files = RefFiles(tmp_path / "none")
    assert files.look() is None
    files.told(None, {})
    assert files.known(None) is None
