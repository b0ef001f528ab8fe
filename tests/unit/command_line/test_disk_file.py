"""Files that somebody else wrote: read whole whatever they say of their size, and not too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.command_line.disk_file import read_regular
from flows.command_line.validation import _yaml_paths
from infrastructure.errors import InvalidInputError


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    file = tmp_path / "a.yml"
    file.write_bytes(b"x" * size)
    assert read_regular(file, shown="a.yml", max_bytes=100_000) == b"x" * size


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_bytes(b"x" * 11)
    with pytest.raises(InvalidInputError, match="more than the 10 bytes"):
        read_regular(file, shown="a.yml", max_bytes=10)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc here")
def test_a_file_that_says_nothing_of_its_size_is_read_too() -> None:
    file = Path("/proc/self/status")  # regular, of 0 bytes, as they say
    assert file.stat().st_size == 0
    content = read_regular(file, shown="status", max_bytes=100_000)
    assert content is not None
    assert b"VmPeak" in content
    with pytest.raises(InvalidInputError, match="more than the 10 bytes"):
        read_regular(file, shown="status", max_bytes=10)


def test_yaml_below_a_folder_is_found_in_the_order_of_folders(tmp_path: Path) -> None:
    for path in ("b.yml", "a/z.yaml", "a-1/c.yml", "a/.hidden.yml", "x.yml/in.yml", "a/no.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    for not_ours in (".git/config.yml", ".GIT/config.yml", "a/.yml"):
        (tmp_path / not_ours).parent.mkdir(exist_ok=True)
        (tmp_path / not_ours).write_text("")
    (tmp_path / "link.yml").symlink_to("a")  # told, not followed
    (tmp_path / "linked").symlink_to("a")
    found = [str(f.relative_to(tmp_path)) for f in sorted(tmp_path.rglob("*.y*ml"))]
    expected = [f for f in found if ".git/" not in f.lower() and f != "a/.yml"]
    assert _yaml_paths(tmp_path) == expected
    assert "link.yml" in expected
    assert not any(f.startswith("linked") for f in expected)
