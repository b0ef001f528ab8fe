"""Whether a proposal's edit and a newer version of its file go together, as Git would say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.proposals.follow import merges
from flows.proposals.text import renewed, trailer

BASE = b"a\nb\nc\nd\ne\n"
OURS = BASE.replace(b"c", b"c2")


@pytest.mark.parametrize(
    ("theirs", "clean"),
    [
        (BASE, True),
        (BASE.replace(b"a", b"a2"), True),
        (BASE.replace(b"e", b"e2"), True),
        (b"first\n" + BASE + b"last\n", True),
        (BASE.replace(b"c", b"c3"), False),
        (BASE.replace(b"b", b"b2"), False),
        (BASE.replace(b"d", b"d2"), False),
        (BASE.replace(b"c\n", b""), False),
        (BASE.replace(b"c\n", b"c\nnew\n"), False),
        (b"", False),
    ],
)
def test_lines_that_touch_do_not_merge(tmp_path: Path, theirs: bytes, clean: bool) -> None:
    assert merges(BASE, OURS, theirs) is clean
    for name, content in (("ours", OURS), ("base", BASE), ("theirs", theirs)):
        (tmp_path / name).write_bytes(content)
    command = ["git", "merge-file", "-p", "ours", "base", "theirs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode == 0) is clean


def test_a_message_made_again_names_its_own_run_and_revision() -> None:
    old = "subject\n\nUICI-Run was here: once\n\nUICI-Target: a/b\nUICI-Run: 1\nUICI-Desired: x\n"
    new = renewed(old, "2", "y")
    assert new == old.replace("Run: 1", "Run: 2").replace("Desired: x", "Desired: y")
    assert trailer(new, "UICI-Target") == "a/b"
