"""Output that is closed, full or narrow: one line, an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.config_loader import DEFAULT_DIRECTORY

HELP = [sys.executable, "-m", "flows.cli"]
ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("place", ["/dev/full", "&-"])
def test_an_output_that_can_not_be_written_is_told_in_a_line(place: str) -> None:
    done = shell(f"{sys.executable} -m flows.cli operations --json >{place}")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    why = "No space left on device" if place == "/dev/full" else "Bad file descriptor"
    assert done.returncode == 1
    assert done.stderr == f"error: the output can't be written: {why}\n"


@pytest.mark.parametrize("place", ["/dev/full", "&-"])
def test_an_error_as_json_that_can_not_be_written_is_told_in_lines(place: str) -> None:
    done = shell(f"{sys.executable} -m flows.cli operations -e nowhere --json >{place}")
    assert done.returncode == 1
    assert "error: the output can't be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_program_that_is_started_has_a_place_to_write_to() -> None:
    starts = "import os; from flows.command_line.streams import make_ready; make_ready();"
    code = f"{starts} raise SystemExit(os.system('echo told'))"
    assert shell(f'{sys.executable} -c "{code}" >&-').returncode == 0


def test_a_narrow_encoding_loses_letters_and_no_data() -> None:
    words = [*HELP, "operations", "--json", "--config", str(DEFAULT_DIRECTORY)]
    narrow = subprocess.run(words, capture_output=True, text=True, env=ASCII, check=True).stdout
    wide = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert narrow.isascii()
    assert json.loads(narrow) == json.loads(wide)


@pytest.mark.parametrize("style", ["github", "gitlab"])
def test_a_mistake_in_a_file_of_an_odd_name_is_annotated(tmp_path: Path, style: str) -> None:
    (tmp_path / os.fsdecode(b"r\xff\x1b[31m.yml")).write_text("kind: Servic\n")
    words = [*HELP, "validate", str(tmp_path), "--annotate", style]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, capture_output=True, text=True, env=strict, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "unknown kind Servic" in done.stdout
    assert "\x1b" not in done.stdout


def test_help_teaches_however_it_is_called() -> None:
    done = subprocess.run([*HELP, "init", "--help"], capture_output=True, text=True, check=True)
    assert "uici init" in done.stdout.partition("Examples")[2]
