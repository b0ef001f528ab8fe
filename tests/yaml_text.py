"""YAML for what many tests write and read: by libyaml, which takes a tenth of the time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


def read(text: str) -> Any:
    """One document."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def write(data: Any) -> str:
    """One document, which `read` reads."""
    return yaml.dump(data, Dumper=yaml.CSafeDumper)


def read_file(path: Path) -> Any:
    """A file's document, parsed once for each state of the file; copy it to change it."""
    seen = path.stat()
    return _parsed(path, seen.st_mtime_ns, seen.st_size)


@cache
def _parsed(path: Path, _changed: int, _size: int) -> Any:
    return read(path.read_text(encoding="utf-8"))
