"""`kill -9` at every boundary of a run; the next run, in a fresh process, mends what is left.

Each point is a real process that kills itself there, on a real bare Git remote. What must
hold afterwards: converged, nothing done twice at the engine, no intent without an outcome, no
report lost, no attempt forgotten. `-s` prints the table.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
import signal
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executors.docker.membership import old_name
from flows.local_stack import docker
from infrastructure.config_loader import UniversalConfigLoader
from tests.fakes.loop import ENVIRONMENT, git, service_yaml, write_config
from tests.integration import killed_run
from tests.integration.killed_run import Child, engine_of

_TIMEOUT = 60.0  # seconds for one child on a busy machine
_RUN: dict[str, Any] = {
    "reconcile": {"concurrentIncidents": 1},
    "guard": {"policy": {"backoff": {"initial": "1ms", "max": "1ms"}, "maxAttempts": 9}},
    "proposals": {"recurrences": 2},
    "learning": {"relapseWithin": "1ms"},  # the same fault again and again, and the same repair
}
# What is tried is not what is tested: these are not the shipped ones.
_RUNBOOKS = [
    {
        "name": f"by-{operation}",
        "when": {"kinds": [kind]},
        "diagnosis": f"It is {kind}.",
        "cause": "Unknown",
        "suffices": True,
        "steps": [{"operation": operation, "parameters": parameters, "why": "a test"}],
    }
    for kind, operation, parameters in (
        ("Missing", "create", {}),
        ("ConfigDrift", "recreate", {}),
        ("ScaleDrift", "scale", {"replicas": "{{ service.spec.replicas }}"}),
        ("Stopped", "start", {}),
    )
]
FILES = {
    # Two causes in a row of the same kind make a proposal.
    "shop": service_yaml("shop", resources={"memory": "64Mi"}),
    "web": service_yaml("web", env={"LOG_LEVEL": "info"}),
}
POINTS = (
    "run lock: before",
    "run lock: after",
    "fetch: before",
    "fetch: after",
    "observe: before",
    "observe: after",
    "plan: after",
    "verdicts: after",
    "intent commit: before",
    "intent commit: after",
    "intent push: before",
    "intent push: midway",
    "intent push: taken, not yet noted",
    "intent push: after",
    "intent: told",
    "operation on shop: before its call",
    "start shop: before",
    "start shop: after",
    "operation on shop: after its call",
    "verification of shop: after",
    "recreate web: before",
    "recreate web: after",
    "verification of web: after",
    "outcome commit: before",
    "outcome commit: after",
    "outcome push: before",
    "outcome push: midway",
    "outcome push: taken, not yet noted",
    "outcome push: after",
    "maintenance: before",
    "maintenance: after",
    "proposal branch: before",
    "proposal branch: after",
    "run lock: before it is freed",
)
REAL_POINTS = (
    "intent push: after",
    "recreate uici-killed: before",
    "recreate uici-killed: midway",
    "recreate uici-killed: after",
    "verification of uici-killed: after",
    "outcome commit: after",
    "outcome push: taken, not yet noted",
)


@pytest.fixture(scope="module")
def context() -> Any:
    """Starts processes that have imported everything already."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.integration.killed_run", "flows.proposals.propose"])
    return made


@dataclass(frozen=True)
class Setting:
    """One remote, one engine, one agent; a copy of the first for every point."""

    context: Any
    root: Path
    host: str = ""

    @property
    def remote(self) -> Path:
        return self.root / "remote.git"

    def config(self) -> Path:
        path = self.root / "config"
        if not path.exists():
            # A busy machine's engine takes its time; the one in a file does not.
            verify = {"verify": {"deadline": "20s"}} if self.host else {}
            platform = {**_RUN, **verify, "git": {"remote": str(self.remote)}}
            write_config(path, platform=platform, runbooks={"runbooks": _RUNBOOKS})
        return path

    def child(self, point: str = "") -> Child:
        run_id = str(uuid.uuid4())
        result = self.root / f"result-{run_id}.json"
        return Child(self.config(), run_id, result, point, self.host, trace=self.root / "trace")

    def run(self, point: str = "") -> tuple[Child, int | None]:
        """One process to its end; how it ended."""
        child = self.child(point)
        process = self.context.Process(target=killed_run.run, args=(child,))
        process.start()
        process.join(_TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        return child, code

    def again(self) -> dict[str, Any]:
        """A run that lives."""
        child, code = self.run()
        assert code == 0, f"the run ended with {code}"
        found: dict[str, Any] = json.loads(child.result.read_text())
        return found

    # what Git tells

    def files(self) -> list[str]:
        return git(self.remote, "ls-tree", "-r", "--name-only", "uici/reports").splitlines()

    def show(self, path: str) -> Any:
        return json.loads(git(self.remote, "show", f"uici/reports:{path}"))

    def told(self) -> set[str]:
        """Runs of which a report tells, as their own or as interrupted."""
        found: set[str] = set()
        for path in self.files():
            if path.startswith("reports/") and path.endswith(".json"):
                report = self.show(path)
                found |= {report["runId"], *(r["run"] for r in report.get("interrupted", ()))}
        return found

    def intended(self) -> set[str]:
        """Runs whose intent ever stood on the remote's branch."""
        log = (
            "log",
            "--format=",
            "--name-only",
            "--diff-filter=A",
            "uici/reports",
            "--",
            "intents",
        )
        return {Path(line).stem for line in git(self.remote, *log).split()}

    def remembered(self, name: str) -> dict[str, str]:
        """Run → result in the target's history."""
        status = self.show(f"status/{ENVIRONMENT}/{name}.json")
        return {each["runId"]: each["result"] for each in status.get("history", ())}


def _commit(root: Path, files: dict[str, str]) -> None:
    git(root, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(root, "clone", "-q", str(root / "remote.git"), "work")
    for name, text in files.items():
        (root / "work" / f"{name}.yml").write_text(text)
    git(root / "work", "checkout", "-q", "-B", "main")
    git(root / "work", "add", "-A")
    git(root / "work", "commit", "-qm", "services")
    git(root / "work", "push", "-q", "origin", "main")


def _break(setting: Setting) -> None:
    engine = engine_of(setting.root, UniversalConfigLoader(setting.config()).load())
    with engine.shared():
        shop = engine.named("shop")
        shop.end(137)
        shop.oom_killed = True
        engine.named("web").env["LOG_LEVEL"] = "debug"
    engine.journal.unlink(missing_ok=True)


def _slow_remote(setting: Setting, point: str) -> None:
    """So that a push is under way when its process dies."""
    if point.endswith("push: midway"):
        hook = setting.remote / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nsleep 0.4\n")
        hook.chmod(0o755)


def _check_git(setting: Setting, killed: Child, trace: Sequence[str], *targets: str) -> None:
    """No intent open, none without an outcome, no report lost, no attempt forgotten."""
    assert [p for p in setting.files() if p.startswith("intents/")] == []
    assert setting.intended() <= setting.told()
    if "outcome commit: after" in trace:
        assert any(setting.show(p)["runId"] == killed.run_id for p in _reports(setting))
    if "intent commit: after" in trace:
        for target in targets:
            assert killed.run_id in setting.remembered(target), f"{target}: attempt forgotten"


def _reports(setting: Setting) -> list[str]:
    return [p for p in setting.files() if p.startswith("reports/") and p.endswith(".json")]


def _one(setting: Setting, point: str) -> str:
    """Kill there, run again, look. Returns the row of the table."""
    _break(setting)
    _slow_remote(setting, point)
    (setting.root / "trace").unlink(missing_ok=True)
    killed, code = setting.run(point)
    assert code == -signal.SIGKILL, f"it ended with {code}"
    trace = (setting.root / "trace").read_text().splitlines()
    engine = engine_of(setting.root, UniversalConfigLoader(setting.config()).load())
    before = engine.done()
    next_run = setting.again()
    assert next_run["result"] == "converged", next_run
    assert sorted(engine.done()) == [("shop", "start"), ("web", "recreate")], "done twice"
    _check_git(setting, killed, trace, "shop", "web")
    branches = git(setting.remote, "for-each-ref", "--format=%(refname:short)").splitlines()
    assert "uici/propose/local-docker-shop-memory" in branches
    found = "interrupted" if next_run["interrupted"] else "nothing open"
    return f"{len(before)} done before, {len(engine.done()) - len(before)} after, {found}"


def test_the_next_run_mends_what_a_killed_run_has_left(context: Any, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    _commit(first, FILES)
    setting = Setting(context, first)
    setting.again()
    _break(setting)
    assert setting.again()["result"] == "converged"

    def attempt(point: str) -> tuple[str, str, bool]:
        root = tmp_path / point.replace(" ", "-").replace(":", "")
        root.mkdir()
        shutil.copytree(first / "remote.git", root / "remote.git")
        shutil.copy(first / "engine.pickle", root)
        try:
            return point, _one(Setting(context, root), point), True
        except AssertionError as exc:
            return point, f"WRONG: {exc}", False

    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(attempt, POINTS))
    for point, row, _ in rows:
        print(f"{point:42} {row}")  # noqa: T201 - the table is asked for with -s
    assert [row for row in rows if not row[2]] == []


# ── on the real engine ──────────────────────────────────────────────────────────

NAME = "uici-killed"


@pytest.mark.real
def test_on_the_real_engine_nothing_is_done_twice(
    context: Any, tmp_path: Path, docker_host: str, demo_image: str
) -> None:
    spec = {"image": demo_image, "env": {"PORT": "8000", "LOG_LEVEL": "info"}}
    _commit(tmp_path, {NAME: service_yaml(NAME, **spec)})
    setting = Setting(context, tmp_path, docker_host)
    rows = []
    with contextlib.ExitStack() as stack:
        stack.callback(docker, docker_host, "rm", "--force", NAME)
        assert setting.again()["result"] == "converged"
        for point in REAL_POINTS:
            _change_by_hand(docker_host, demo_image)
            (tmp_path / "trace").unlink(missing_ok=True)
            since = datetime.now(UTC).timestamp()
            killed, code = setting.run(point)
            assert code == -signal.SIGKILL, (point, code)
            trace = (tmp_path / "trace").read_text().splitlines()
            result = setting.again()
            assert result["result"] == "converged", f"{point}: {json.dumps(result)}"
            made = _created(docker_host, since)
            rows.append((point, made, result["interrupted"]))
            # Half of a replacement is put away or ended, and then it is made once more.
            assert made <= (2 if point.endswith("midway") else 1), point
            (seen,) = json.loads(docker(docker_host, "inspect", NAME))
            assert seen["State"]["Running"]
            assert "LOG_LEVEL=info" in seen["Config"]["Env"]
            assert _names(docker_host) == [NAME], "half a replacement was left"
            _check_git(setting, killed, trace, NAME)
    for point, made, interrupted in rows:
        print(f"{point:42} containers made: {made}, interrupted: {bool(interrupted)}")  # noqa: T201 - as above


def _change_by_hand(host: str, image: str) -> None:
    docker(host, "rm", "--force", NAME)
    label = f"uici.target={ENVIRONMENT}/{NAME}"
    env = ("--env", "LOG_LEVEL=debug", "--env", "PORT=8000")
    docker(host, "run", "--detach", "--name", NAME, "--label", label, *env, image)


HALVES = ("renamed", "created", "stopped", "started")


@pytest.mark.real
def test_half_a_replacement_is_ended_by_the_next_run(
    context: Any, tmp_path: Path, docker_host: str, demo_image: str
) -> None:
    """Wherever it broke off: one run, and one container that is as Git says."""
    spec = {"image": demo_image, "env": {"PORT": "8000", "LOG_LEVEL": "info"}}
    _commit(tmp_path, {NAME: service_yaml(NAME, **spec)})
    setting = Setting(context, tmp_path, docker_host)
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_all, docker_host)
        for half in HALVES:
            _remove_all(docker_host)
            _change_by_hand(docker_host, demo_image)
            _half_replaced(docker_host, demo_image, half)
            result = setting.again()
            assert result["result"] == "converged", f"{half}: {json.dumps(result)}"
            assert _names(docker_host) == [NAME], half
            (seen,) = json.loads(docker(docker_host, "inspect", NAME))
            assert seen["State"]["Running"], half
            assert "LOG_LEVEL=info" in seen["Config"]["Env"], half
            assert setting.again()["incidents"] == {}


def _half_replaced(host: str, image: str, half: str) -> None:
    """As `recreate` leaves it when it dies there."""
    (seen,) = json.loads(docker(host, "inspect", NAME))
    parked = old_name(NAME, seen["Id"])
    docker(host, "rename", NAME, parked)
    if half != "renamed":
        label = f"--label=uici.target={ENVIRONMENT}/{NAME}"
        env = ("--env", "LOG_LEVEL=info", "--env", "PORT=8000")
        docker(host, "create", "--name", NAME, label, *env, image)
    if half in ("stopped", "started"):
        docker(host, "stop", "--time", "1", parked)
    if half == "started":
        docker(host, "start", NAME)


def _names(host: str) -> list[str]:
    which = f"label=uici.target={ENVIRONMENT}/{NAME}"
    return docker(host, "ps", "--all", "--filter", which, "--format", "{{.Names}}").split()


def _remove_all(host: str) -> None:
    for name in _names(host):
        docker(host, "rm", "--force", name)


def _created(host: str, since: float) -> int:
    """Containers of the service that the engine itself says it has created."""
    asked = ("--since", f"{since:.3f}", "--until", f"{datetime.now(UTC).timestamp():.3f}")
    which = ("--filter", f"label=uici.target={ENVIRONMENT}/{NAME}", "--filter", "event=create")
    return len(docker(host, "events", *asked, *which, "--format", "{{.ID}}").split())
