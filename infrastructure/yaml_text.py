"""Data → YAML that `infrastructure.yaml_source` reads as the same.

PyYAML writes by the rules of YAML 1.1, by which `8445132659e5` is a text; by those of 1.2, which
the reader and editors go by, it is a number. The end of a run's id may look so.
"""

from __future__ import annotations

from typing import Any

import yaml

from infrastructure.yaml_source import plain_scalar


class _Dumper(yaml.SafeDumper):
    """With quotes around texts that read like something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    quoted = bool(value) and plain_scalar(value) is not value
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if quoted else None)


_Dumper.add_representer(str, _text)


def to_yaml(data: Any, *, width: int) -> str:
    """One document in the order of its keys, as a person would write it."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
