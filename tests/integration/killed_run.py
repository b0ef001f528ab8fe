"""A run in a process of its own that ends itself with SIGKILL at a named point.

For `test_kill_minus_nine` and `test_two_agents`: production code knows nothing of it. What
surrounds the loop (the run lock, the clone, the executor, the listener) is wrapped here, and
each wrapper tells when it comes by. The engine is `tests.fakes.engine` kept in a file, so
that what a killed process has done to it stays done, or the real Docker Engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from executors.contract import Executor, ExecutorContext, Primitive, load_executor_module
from executors.docker.executor import PRIMITIVES
from executors.translator import CommandTranslator
from flows.git_state import GitState
from flows.listener import NullListener, RunRequest
from flows.open_executors import desired_state_parser
from flows.reconcile import reconcile
from flows.repository.clone import GitRepository
from flows.repository.contract import NewTip, Pushed, Tips
from flows.repository.proposal_branches import ProposalBranches
from flows.runtime import SYSTEM_CLOCK, Runtime
from infrastructure.config_loader import UniversalConfig, UniversalConfigLoader, agent_identity
from infrastructure.errors import UiciError
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineSnapshot, ObservedService
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from monitoring.http_source import MonitoringClients
from tests.fakes.engine import FakeEngine
from tests.fakes.loop import ENVIRONMENT

Reached = Callable[[str], None]
_WAIT = 60.0
MIDWAY = 0.15  # seconds after which a point that ends with "midway" kills


@dataclass(frozen=True, slots=True)
class Child:
    """What a process is to do.

    `point` empty: it lives; one that ends with ": wait" waits there for the file `.go`.
    `host` empty: the engine in a file.
    """

    config: Path
    run_id: str
    result: Path
    point: str = ""
    host: str = ""
    slow: float = 0.0  # seconds that a change of the engine in a file takes
    trace: Path | None = None  # where the points that were come by are written


class EngineOnDisk(FakeEngine):
    """The engine in memory, in a file that processes share; `journal` has what was changed."""

    def __init__(self, folder: Path, *, slow: float = 0.0, **given: Any) -> None:
        super().__init__(ENVIRONMENT, **given)
        self._file, self.journal = folder / "engine.pickle", folder / "journal.jsonl"
        self._slow = slow
        self._depth = threading.local()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """The containers as they are for everybody; kept at the end."""
        if getattr(self._depth, "held", False):
            yield
            return
        with self._file.with_suffix(".lock").open("w") as lock, self._lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._depth.held = True
            try:
                if self._file.exists():
                    self.containers, self._next_id = pickle.loads(self._file.read_bytes())  # noqa: S301 - the test's own
                yield
            finally:
                scratch = self._file.with_suffix(f".{os.getpid()}")
                scratch.write_bytes(pickle.dumps((self.containers, self._next_id)))
                scratch.replace(self._file)
                self._depth.held = False

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        with self.shared():
            return super().observe(services, all_services=all_services, timeout=timeout)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        if not PRIMITIVES[call.primitive].mutates:
            with self.shared():
                return super().call(service, call, timeout=timeout)
        time.sleep(self._slow)
        with self.shared():
            done = super().call(service, call, timeout=timeout)
            with self.journal.open("a") as journal:
                journal.write(json.dumps([service.metadata.name, call.primitive]) + "\n")
        return done

    def done(self) -> list[tuple[str, str]]:
        """What was changed: (service, primitive), in order."""
        if not self.journal.exists():
            return []
        return [tuple(json.loads(line)) for line in self.journal.read_text().splitlines()]


class _Engine:
    """An executor that tells when changes begin and end."""

    def __init__(self, inner: Executor, reached: Reached) -> None:
        self._inner, self._reached = inner, reached
        self.environment = inner.environment

    def declare(self, names: frozenset[str]) -> None:
        self._inner.declare(names)

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        self._reached("observe: before")
        seen = self._inner.observe(services, all_services=all_services, timeout=timeout)
        self._reached("observe: after")
        return seen

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        return self._inner.look(service, timeout=timeout)

    def primitives(self) -> Mapping[str, Primitive]:
        return self._inner.primitives()

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        mutates = self._inner.primitives()[call.primitive].mutates
        name = f"{call.primitive} {service.metadata.name}" if mutates else ""
        if mutates:
            self._reached(f"{name}: before")
            self._reached(f"{name}: midway")
        done = self._inner.call(service, call, timeout=timeout)
        if mutates:
            self._reached(f"{name}: after")
        return done

    def check(self, *, timeout: float) -> str:
        return self._inner.check(timeout=timeout)

    def close(self) -> None:
        self._inner.close()


class _Branches(ProposalBranches):
    reached: Reached

    def create(
        self, branch: str, base: str, files: Mapping[str, bytes], *, message: str, at: datetime
    ) -> tuple[str, str]:
        self.reached("proposal branch: before")
        made = super().create(branch, base, files, message=message, at=at)
        self.reached("proposal branch: after")
        return made


class _Clone(GitRepository):
    """The agent's clone, telling when it writes; the first commit of a repair is its intent."""

    reached: Reached = staticmethod(lambda _point: None)
    commits = 0

    @property
    def _word(self) -> str:
        return {0: "", 1: "intent", 2: "outcome"}.get(self.commits, f"commit {self.commits}")

    def fetch(self, branch: str, reports_branch: str) -> Tips:
        self.reached("fetch: before")
        tips = super().fetch(branch, reports_branch)
        self.reached("fetch: after")
        return tips

    def commit(
        self,
        branch: str,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        at: datetime,
        onto: str | None = None,
    ) -> NewTip | None:
        self.commits += 1
        self.reached(f"{self._word} commit: before")
        made = super().commit(branch, files, message=message, at=at, onto=onto)
        self.reached(f"{self._word} commit: after")
        return made

    def push(self, branch: str, sha: str) -> Pushed:
        self.reached(f"{self._word} push: before")
        self.reached(f"{self._word} push: midway")
        pushed = super().push(branch, sha)
        self.reached(f"{self._word} push: after")
        return pushed

    def push_commit(self, branch: str, sha: str) -> str:
        answer = super().push_commit(branch, sha)
        self.reached(f"{self._word} push: taken, not yet noted")
        return answer

    def branches(self, prefix: str) -> ProposalBranches:
        author = self._settings.author
        made = _Branches(prefix, self._plumbing, self._ask, author=author)
        made.reached = self.reached
        return made

    def maintain(self, now: datetime) -> None:
        self.reached("maintenance: before")
        super().maintain(now)
        self.reached("maintenance: after")


class _Runtime(Runtime):
    """A runtime that tells of the run lock."""

    @contextlib.contextmanager
    def one_run_at_a_time(self) -> Iterator[None]:
        clone: Any = self.git._repository
        clone.reached("run lock: before")
        with super().one_run_at_a_time():
            clone.reached("run lock: after")
            yield
            clone.reached("run lock: before it is freed")


class _Joints(NullListener):
    def __init__(self, reached: Reached) -> None:
        self._reached = reached

    def planned(self, incident: Any, plan: Any) -> None:  # noqa: ARG002 - the protocol's
        self._reached("plan: after")

    def judged(self, incident: Any, verdicts: Any) -> None:  # noqa: ARG002 - the protocol's
        self._reached("verdicts: after")

    def intent_committed(self, result: Any) -> None:  # noqa: ARG002 - the protocol's
        self._reached("intent: told")

    def operation_started(self, incident: Any, call: Any) -> None:
        self._reached(f"operation on {incident.root.partition('/')[2]}: before its call")
        del call

    def operation_finished(self, incident: Any, outcome: Any) -> None:
        self._reached(f"operation on {incident.root.partition('/')[2]}: after its call")
        del outcome

    def verified(self, incident: Any, verification: Any) -> None:
        self._reached(f"verification of {incident.root.partition('/')[2]}: after")
        del verification


def engine_of(root: Path, config: UniversalConfig, *, slow: float = 0.0) -> EngineOnDisk:
    """The engine in a file, as this configuration's agent sees it."""
    return EngineOnDisk(root, slow=slow, identity=agent_identity(config))


def executor_of(host: str, identity: AgentIdentity, resolve: Callable[[str], str]) -> Executor:
    """The real engine's."""
    module = load_executor_module("docker")
    made: Executor = module.connect(
        module.Connection.model_validate({"host": host}),
        ExecutorContext(ENVIRONMENT, 4, identity, resolve),
    )
    return made


def wait_for_file(path: Path, seconds: float) -> None:
    """Until it is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.01)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _reached(child: Child) -> Reached:
    lock = threading.Lock()

    def reached(point: str) -> None:
        if child.trace is not None:
            with lock, child.trace.open("a") as trace:
                trace.write(point + "\n")
        if child.point == f"{point}: wait":
            child.result.with_suffix(".reached").touch()
            wait_for_file(child.result.with_suffix(".go"), _WAIT)
        elif point == child.point and point.endswith("midway"):
            timer = threading.Timer(MIDWAY, _die)
            timer.daemon = True
            timer.start()
        elif point == child.point:
            _die()

    return reached


def run(child: Child) -> None:
    """The process: one run, then its result as JSON; or its death."""
    reached = _reached(child)
    config = UniversalConfigLoader(child.config).load()
    identity, redactor = agent_identity(config), config.redactor()
    secrets = SecretResolver(on_resolved=redactor.learn)
    settings, proposals = config.platform.git, config.platform.proposals
    clone = _Clone.open(
        settings.remote,
        config.data_directory,
        None,
        settings,
        proposals=proposals.branch_prefix if proposals.enabled else None,
    )
    assert isinstance(clone, _Clone)
    clone.reached = reached  # an instance's own
    parser = desired_state_parser(config, identity)
    root = child.result.parent  # where the engine's file is
    inner: Executor = (
        executor_of(child.host, identity, secrets.resolve)
        if child.host
        else engine_of(root, config, slow=child.slow)
    )
    runtime = _Runtime(
        config=config,
        identity=identity,
        redactor=redactor,
        secrets=secrets,
        registry=OperationRegistry(config.operations),
        translator=CommandTranslator(config.translations),
        executors={ENVIRONMENT: _Engine(inner, reached)},
        git=GitState(clone, parser.read, settings, redactor=redactor),
        clients=MonitoringClients(),
        clock=SYSTEM_CLOCK,
    )
    request = RunRequest(None, None, None, child.run_id)
    with contextlib.closing(runtime):
        try:
            report = reconcile(request, runtime, _Joints(reached))
        except UiciError as exc:
            answer: dict[str, Any] = {"result": "refused", "errors": [str(exc)]}
        else:
            answer = {
                "result": report.result.value,
                "errors": list(report.errors),
                "incidents": {
                    i.incident.root: [i.result.value, i.summary] for i in report.incidents
                },
                "interrupted": [[run.run_id, *run.found] for run in report.interrupted],
                "held_off": dict(report.held_off),
            }
    child.result.write_text(json.dumps(answer))
