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

from flows.report import RunReport, RunResult, report_files
from flows.repository.fast_import import Edit, authored, import_stream
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
    prepared = _Prepared(world, heal(world, name))
    works = {"uici": prepared.commit, "bare": prepared.commit_bare}
    costs = interleaved(works, rounds=rounds, prepare=prepared.again)
    against = "fast-import + push"
    yield Row(NAME, "wall", costs["uici"].wall, "s", against, costs["bare"].wall, _WALL)
    yield Row(NAME, "CPU", costs["uici"].cpu, "s", against, costs["bare"].cpu)


class _Prepared:
    """The same incident, told by one run after the other; by the product, or by bare Git."""

    def __init__(self, world: LoopWorld, report: RunReport) -> None:
        self._world = world
        self._report = report
        remote = world.root / "bare-remote.git"
        git("init", "--quiet", "--bare", str(remote))
        self._bare = BareClone(world.root / "bare.git", remote)

    def again(self) -> None:
        """What a run has at hand before its report: statuses read, the files rendered."""
        self._report = replace(
            self._report, run_id=str(uuid.uuid4()), finished_at=datetime.now(UTC)
        )
        before = self._world.runtime.git.reported()
        files = report_files(self._report, before, redactor=self._world.runtime.redactor)
        edits = tuple(Edit(path, content=content) for path, content in files.items())
        author = self._world.config.platform.git.author
        commit = authored("told\n", author, datetime.now(UTC), edits)
        tip = self._bare.run("for-each-ref", "--format=%(objectname)", _REF).decode().strip()
        self._stream = import_stream(_REF, tip or None, [commit])

    def commit(self) -> None:
        """The product's."""
        if self._world.runtime.git.commit_report(self._report, now=datetime.now(UTC)) is None:
            raise RuntimeError("there was nothing to commit")

    def commit_bare(self) -> None:
        """The same files by two commands."""
        self._bare.run("fast-import", "--quiet", "--done", stdin=self._stream)
        self._bare.run("push", "--quiet", "origin", _REF)


def _packed(repository: Path) -> int:
    """The size after a garbage collection of a copy."""
    copy = repository.with_name(f"{uuid.uuid4()}.git")
    git("clone", "--quiet", "--mirror", "--no-local", str(repository), str(copy))
    git(f"--git-dir={copy}", "gc", "--quiet", "--prune=now")
    return stored_bytes(copy)
