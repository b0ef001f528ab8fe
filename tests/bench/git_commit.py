"""What the memory in Git costs: a report's commit with its push, and bytes in the remote.

The loop runs over an engine in memory and a real bare repository on this disk. The bound
is Git itself: one `fast-import` of the same files and one `push`, as bare commands.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.git_import import Edit, authored, import_stream
from flows.report import RunReport, RunResult, report_files
from tests.bench.bare import BareClone, git, stored_bytes
from tests.bench.sampling import interleaved
from tests.bench.table import Aim, Row
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

NAME = "report commit"
_SERVICES = 10
_WALL = Aim(0.050)
_INCIDENT = Aim(6_000)
_NOTHING = Aim(0)
_REF = "refs/heads/bare"


def measure(scratch: Path, *, rounds: int, incidents: int) -> Iterator[Row]:
    """Rows about time and size."""
    root = scratch / "git"
    root.mkdir()
    # Expensive in a loop of tests, and no part of this measure.
    quick: dict[str, Any] = {"guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}}
    with loop_world(root, platform=quick) as world:
        names = [f"service-{number}" for number in range(_SERVICES)]
        world.commit(**{name.replace("-", "_"): _service(name) for name in names})
        for service in world.runtime.git.desired().services.values():
            world.engine.run(service)
        if world.run().result is not RunResult.CONVERGED:
            raise RuntimeError("the world is not in sync at first")
        yield from _sizes(world, names, incidents)
        yield from _times(world, names[0], rounds)


def _service(name: str) -> str:
    return service_yaml(
        name,
        env={"LOG_LEVEL": "info", "PORT": "8000"},
        resources={"memory": "256Mi", "cpu": "0.5"},
        alerts=[{"matchers": {"service": name}}],
    )


def _sizes(world: LoopWorld, names: list[str], incidents: int) -> Iterator[Row]:
    before = stored_bytes(world.remote)
    for _ in range(5):
        world.run()
    yield Row(NAME, "bytes a no-op adds", stored_bytes(world.remote) - before, "B", aim=_NOTHING)
    packed = _packed(world.remote)
    loose = stored_bytes(world.remote)
    for number in range(incidents):
        heal(world, names[number % len(names)])
    note = f"mean of {incidents}, two commits each"
    yield Row(
        NAME,
        "bytes an incident adds, as pushed",
        (stored_bytes(world.remote) - loose) / incidents,
        "B",
        aim=_INCIDENT,
        note=note,
    )
    yield Row(
        NAME,
        "bytes an incident adds, after git gc",
        (_packed(world.remote) - packed) / incidents,
        "B",
        aim=_INCIDENT,
        note=note,
    )


def heal(world: LoopWorld, name: str) -> RunReport:
    """One incident from kill to report."""
    world.engine.kill(name)
    report = world.run()
    if report.result is not RunResult.CONVERGED or not report.incidents:
        raise RuntimeError(f"not healed: {report}")
    return report


def _times(world: LoopWorld, name: str, rounds: int) -> Iterator[Row]:
    report = heal(world, name)
    state, redactor = world.runtime.git, world.runtime.redactor
    bare = BareClone(world.root / "bare.git", world.remote)
    git("init", "--quiet", "--bare", str(world.root / "bare-remote.git"))
    bare.run("remote", "set-url", "origin", str(world.root / "bare-remote.git"))
    author = world.config.platform.git.author

    def fresh() -> RunReport:
        """The same incident, told by another run."""
        return replace(report, run_id=str(uuid.uuid4()), finished_at=datetime.now(UTC))

    def commit() -> None:
        if state.commit_report(fresh(), now=datetime.now(UTC)) is None:
            raise RuntimeError("there was nothing to commit")

    def commit_bare() -> None:
        files = report_files(fresh(), state.reported(), redactor=redactor)
        edits = tuple(Edit(path, content=content) for path, content in files.items())
        new = authored("told\n", author, datetime.now(UTC), edits)
        parent = bare.run("for-each-ref", "--format=%(objectname)", _REF).decode().strip()
        stream = import_stream(_REF, parent or None, [new])
        bare.run("fast-import", "--quiet", "--done", stdin=stream)
        bare.run("push", "--quiet", "origin", _REF)

    costs = interleaved({"uici": commit, "bare": commit_bare}, rounds=rounds)
    against = "fast-import + push"
    yield Row(NAME, "wall", costs["uici"].wall, "s", against, costs["bare"].wall, _WALL)
    yield Row(NAME, "CPU", costs["uici"].cpu, "s", against, costs["bare"].cpu)


def _packed(repository: Path) -> int:
    """The size after a garbage collection of a copy."""
    copy = repository.with_name(f"{uuid.uuid4()}.git")
    git("clone", "--quiet", "--mirror", "--no-local", str(repository), str(copy))
    git(f"--git-dir={copy}", "gc", "--quiet", "--prune=now")
    return stored_bytes(copy)
