"""The systemd units, judged by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
judged = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
unit = pytest.mark.parametrize("path", UNITS, ids=[path.stem for path in UNITS])


def installed(path: Path, place: Path) -> Path:
    """The unit with a program that every machine has, and no page that none has."""
    text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", path.read_text())
    copy = place / path.name
    copy.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    return copy


def test_there_is_one_for_the_agent_and_one_for_prefects_worker() -> None:
    assert {path.stem for path in UNITS} == {"uici", "uici-prefect-worker"}


@judged
@unit
def test_systemd_takes_it_without_a_word(path: Path, tmp_path: Path) -> None:
    for one in UNITS:  # they name each other
        installed(one, tmp_path)
    done = subprocess.run(
        [str(ANALYZE), "verify", str(tmp_path / path.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if path.stem in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@judged
@unit
def test_little_is_exposed(path: Path, tmp_path: Path) -> None:
    """By systemd's own scale from 0 to 10; a unit without hardening has 9.6."""
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=yes", "--threshold=20", "--no-pager",
         str(installed(path, tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze knows no --offline")
    assert done.returncode == 0, done.stdout[-300:]


@unit
def test_the_supervisor_brings_it_back(path: Path) -> None:
    text = path.read_text()
    assert "\nRestart=always\n" in text
    assert "\nUser=uici\n" in text
    assert "\nCapabilityBoundingSet=\n" in text
    assert "\nStateDirectory=uici\n" in text
