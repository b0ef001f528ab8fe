"""The page about the events that runs emit into Prefect."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from flows.demo.place import ROOT

# Where events are emitted, and where the rows of a payload are made.
LISTENER = ROOT / "flows/prefect_edge/listener.py"
SUMMARY = ROOT / "flows/reporting/run_summary.py"

_TOLD = {
    "uici.drift.detected": "A target has a drift that the last look at it did not have.",
    "uici.approval.requested": "A plan waits for a person; told in the run that asked.",
    "uici.operation.executed": "An operation was sent to an engine, whatever became of it.",
    "uici.target.recovered": "A repair was verified, for each target that is well again.",
    "uici.target.stalled": "A person has to look; told once, until it moves.",
    "uici.escalated": "People have to know: of an incident, or of an alert about the agent itself;"
    " once for the same fault while the process lives.",
}

_HEAD = """# Events

A run emits these into Prefect, where automations can wait for them. `prefect.resource.id` is
`uici.target.<environment>.<name>`, `prefect.resource.name` is `<environment>/<name>`, and
`uici.environment` is a label beside them. Texts are redacted, as all that leaves the process.

A Prefect API that does not answer costs events, and never a repair: what has to be kept is in
Git ([the reports branch](../ARCHITECTURE.md#what-is-kept-where)).

| event | when | payload |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    payloads = emitted()
    rows = []
    for name, told in _TOLD.items():
        keys = ", ".join(f"`{key}`" for key in payloads[name])
        rows.append(f"| `{name}` | {told} | {keys} |")
    return _HEAD + "\n".join(rows) + "\n" + _drifts()


def _drifts() -> str:
    keys = ", ".join(f"`{key}`" for key in _returned("drift_fields"))
    return f"\nEach of `drifts` has {keys}.\n"


def emitted() -> dict[str, list[str]]:
    """Event → keys of its payload, read from the source that emits them.

    Raises:
        ValueError: a payload is made in a way that can't be read here.
    """
    found: dict[str, list[str]] = {}
    for function in _functions(LISTENER):
        local = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not _emits(call):
                continue
            name, payload = call.args[0], call.args[2]
            assert isinstance(name, ast.Constant)
            value = local.get(payload.id, payload) if isinstance(payload, ast.Name) else payload
            known = found.setdefault(str(name.value), [])
            known += [key for key in _keys(value) if key not in known]
    if found.keys() != _TOLD.keys():
        raise ValueError(f"say in tests/reference/events.py what {found.keys() ^ _TOLD.keys()} are")
    return found


def _emits(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Attribute) and node.func.attr == "_emit" and len(node.args) == 3
    )


def _keys(value: ast.expr) -> list[str]:
    if isinstance(value, ast.Dict):
        return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)]
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return _returned(value.func.id)
    raise ValueError(f"{ast.unparse(value)} is no payload that can be read")


def _returned(name: str) -> list[str]:
    (function,) = (f for f in _functions(SUMMARY) if f.name == name)
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            return _keys(node.value)
    raise ValueError(f"{name} returns no dictionary that can be read")


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node
