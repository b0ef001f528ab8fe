"""Drafts → Service files as a person would write them. Pure.

Comments say where a service came from and what was left out. Values stand in double quotes
where YAML would read something else than text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from infrastructure.quantities import format_memory
from infrastructure.sources.draft import Draft

SCHEMA_FILE = "service.schema.json"
_WIDTH = 100
# Texts that any YAML reader takes for the text that they are.
_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.@+-]*(?::[A-Za-z0-9_/.@+-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "."})
_ORDER = (
    "image",
    "command",
    "replicas",
    "env",
    "resources",
    "ports",
    "dependsOn",
    "health",
    "alerts",
    "binding",
    "native",
    "ignoreDifferences",
    "remediation",
    "suspend",
)


def service_text(draft: Draft, environment: str, *, origin: str, notes: Sequence[str] = ()) -> str:
    """The text of a Service file.

    Args:
        draft: its secrets are references already.
        environment: where it runs.
        origin: a sentence about where it came from.
        notes: more that was left out than the draft itself knows.
    """
    metadata = CommentedMap(name=_scalar(draft.name), environment=_scalar(environment))
    if draft.labels:
        metadata["labels"] = _block(draft.labels)
    spec = CommentedMap()
    for key in sorted(draft.spec, key=_ORDER.index):
        spec[key] = _value(key, draft.spec[key])
    document = CommentedMap(
        apiVersion="uici/v1", kind="Service", metadata=_fitting(metadata), spec=spec
    )
    writer = YAML()
    writer.width = 4096  # never folded: a folded line reads badly and diffs worse
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(document, out)
    return "\n".join((*_heading(origin, [*draft.left_out, *notes]), out.getvalue()))


def _heading(origin: str, left_out: Sequence[str]) -> list[str]:
    lines = [f"# yaml-language-server: $schema={SCHEMA_FILE}", f"# {_line(origin)}"]
    if left_out:
        lines.append("# Left out:")
        lines += [f"# - {_line(sentence)}" for sentence in dict.fromkeys(left_out)]
    return lines


def _line(text: str) -> str:
    """One line of a comment, without what a terminal would act upon."""
    return "".join(c if c.isprintable() else " " for c in text)


def _value(key: str, value: Any) -> Any:
    if key == "resources":
        return _flow({k: format_memory(v) if isinstance(v, int) else v for k, v in value.items()})
    return _block(value)


def _block(value: Any) -> Any:
    """A value with quotes where they are needed; what fits on a line stands on one."""
    if isinstance(value, Mapping):
        made = CommentedMap((_scalar(key), _block(item)) for key, item in value.items())
        return _fitting(made) if set(value) == {"secret"} or not value else made
    if isinstance(value, list | tuple):
        items = CommentedSeq(_block(item) for item in value)
        return _fitting(items)
    return _scalar(value)


def _flow(value: Mapping[str, Any]) -> CommentedMap:
    made = CommentedMap((key, _scalar(item)) for key, item in value.items())
    made.fa.set_flow_style()
    return made


def _fitting(made: Any) -> Any:
    """In one line if it is short and of scalars alone."""
    items = made.values() if isinstance(made, CommentedMap) else made
    scalars = all(not isinstance(item, CommentedMap | CommentedSeq) for item in items)
    length = sum(len(str(item)) + 4 for item in items)
    if isinstance(made, CommentedMap):
        length += sum(len(str(key)) for key in made)
    if scalars and length < _WIDTH - 30:
        made.fa.set_flow_style()
    return made


def _scalar(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else DoubleQuotedScalarString(value)
