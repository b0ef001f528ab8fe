"""Data → YAML that `infrastructure.yaml_source` reads as the same.

PyYAML writes by the rules of YAML 1.1, by which `8445132659e5` is a text; by those of 1.2, which
the reader and editors go by, it is a number. The end of a run's id may look so.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from infrastructure.yaml_source import plain_scalar

_BREAKS = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """With quotes around texts that read like something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if value and plain_scalar(value) is not value else None
    if _BREAKS.search(value):  # a reader may take them for ends of lines: escaped they are none
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(data: Any, *, width: int) -> str:
    """One document in the order of its keys, as a person would write it."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
