"""Names of remotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.repository.remote import (
    normalise_remote,
    reason_line,
    redact_url,
    remote_slug,
    resolve_remote,
)
from infrastructure.errors import PermanentError


@pytest.mark.parametrize(
    "remote",
    [
        "https://user:secret@Git.Example.org:443/team/state.git",
        "https://git.example.org/team/state/",
        "ssh://git@git.example.org/team/state.git",
        "ssh://git@git.example.org:22/team//state",
        "git@git.example.org:team/state.git",
        "git.example.org:team/state",
    ],
)
def test_one_repository_one_name(remote: str) -> None:
    assert normalise_remote(remote) == "git.example.org/team/state"


@pytest.mark.parametrize(
    "other",
    [
        "https://git.example.org:8443/team/state.git",
        "https://git.example.org/other/state.git",
        "/git.example.org/team/state",
    ],
)
def test_other_repositories_other_folders(other: str) -> None:
    assert remote_slug(other) != remote_slug("https://git.example.org/team/state.git")


@given(st.text(min_size=1, max_size=60))
def test_a_slug_is_a_plain_folder_name(text: str) -> None:
    slug = remote_slug("/srv/" + text)
    assert slug.isascii()
    assert "/" not in slug
    assert not slug.startswith((".", "-"))


@pytest.mark.parametrize(
    "remote",
    [
        "",
        " ",
        "--upload-pack=evil",
        "ext::sh -c evil",
        "fd::3",
        "ftp://x/y",
        "a\nb",
        "javascript://x",
    ],
)
def test_dangerous_addresses_are_refused(remote: str) -> None:
    with pytest.raises(PermanentError, match=r"git\.remote .* is not a repository's address"):
        resolve_remote(remote)


def test_a_local_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_remote("state.git") == str(tmp_path / "state.git")
    assert resolve_remote("git@host:state.git") == "git@host:state.git"


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:p%40ss@host/x.git?token=1#f", "https://host/x.git"),
        ("https://ghp_token@host/x", "https://host/x"),
        ("ssh://git@host:2222/x", "ssh://host:2222/x"),
        ("/srv/state.git", "/srv/state.git"),
    ],
)
def test_an_address_is_shown_without_credentials(remote: str, shown: str) -> None:
    assert redact_url(remote) == shown


def test_a_reason_is_one_line_that_tells_something() -> None:
    stderr = (
        "ssh: connect to host git.example.org port 22: Connection refused\r\n"
        "fatal: Could not read from remote repository.\n\n"
        "Please make sure you have the correct access rights\nand the repository exists.\n"
    )
    assert reason_line(stderr) == (
        "ssh: connect to host git.example.org port 22: Connection refused;"
        " Could not read from remote repository"
    )
    assert reason_line("") == "git gave no reason"


@given(st.text(max_size=400))
def test_a_reason_is_one_printable_line_without_credentials(text: str) -> None:
    line = reason_line(f"fatal: unable to access 'https://me:hunter2@host/': {text}")
    assert "hunter2" not in line
    assert len(line) <= 300
    assert "\n" not in line
    assert "\x1b" not in line
