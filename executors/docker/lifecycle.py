"""Primitives that change whether containers run: start, stop, restart, pause, resume, wait."""

from __future__ import annotations

import time

from executors.deadline import Deadline
from executors.docker.session import DockerSession, Job, done, each, require_instances
from executors.docker.spec import Container
from infrastructure.errors import DeadlineExceededError, PermanentError
from infrastructure.observed import EngineHealth, InstanceState
from infrastructure.operations import PrimitiveResult

_POLL_FIRST, _POLL_MOST = 0.05, 0.5  # seconds between two looks, doubling
_AFTER_GRACE = 2.0  # seconds that the engine needs beyond the grace itself


def start(job: Job) -> PrimitiveResult:
    """Start what is stopped, and let go on what is paused."""
    wanted = [c for c in require_instances(job) if c.state is not InstanceState.RUNNING]
    each(job, wanted, revive)
    return done(wanted)


def revive(session: DockerSession, container: Container) -> None:
    """Make one container run, whatever keeps it from running."""
    if container.state is InstanceState.PAUSED:
        session.unpause(container.id)
    elif container.state is not InstanceState.RUNNING:
        session.start(container.id)


def stop(job: Job) -> PrimitiveResult:
    """Stop what runs, with time to finish."""
    grace = job.argument("grace_seconds")
    asleep = (InstanceState.STOPPED, InstanceState.PENDING)
    wanted = [c for c in require_instances(job) if c.state not in asleep]
    _require_grace(job, grace)
    each(job, wanted, lambda session, c: halt(session, c, _grace(job, c, grace)))
    return done(wanted)


def halt(session: DockerSession, container: Container, grace: int) -> None:
    """Stop one container; a frozen one can't hear the signal, so it is thawed first."""
    if container.state is InstanceState.PAUSED:
        session.unpause(container.id)
    session.stop(container.id, grace)


def _grace(job: Job, container: Container, asked: int | None) -> int:
    return fitting_grace(container, job.deadline) if asked is None else asked


def restart(job: Job) -> PrimitiveResult:
    """Stop and start every container at the same time; what was stopped is started."""
    grace = job.argument("grace_seconds")
    wanted = require_instances(job)
    _require_grace(job, grace)

    def one(session: DockerSession, container: Container) -> None:
        if container.state in (InstanceState.STOPPED, InstanceState.PENDING):
            session.start(container.id)
            return
        if container.state is InstanceState.PAUSED:
            session.unpause(container.id)
        session.restart(container.id, _grace(job, container, grace))

    each(job, wanted, one)
    return done(wanted)


def pause(job: Job) -> PrimitiveResult:
    """Freeze what runs."""
    wanted = [c for c in require_instances(job) if c.state is InstanceState.RUNNING]
    if not wanted and all(c.state is not InstanceState.PAUSED for c in job.containers):
        raise PermanentError(f"pause {job.service.target}: none of its containers runs")
    each(job, wanted, lambda session, c: session.pause(c.id))
    return done(wanted)


def resume(job: Job) -> PrimitiveResult:
    """Let go on what is frozen."""
    wanted = [c for c in require_instances(job) if c.state is InstanceState.PAUSED]
    each(job, wanted, lambda session, c: session.unpause(c.id))
    return done(wanted)


def wait_healthy(job: Job) -> PrimitiveResult:
    """Wait until every container runs and the engine's health check, if any, passes."""
    wanted = require_instances(job)
    stable = float(job.argument("stable_seconds", 0))
    each(job, wanted, lambda s, c: await_up(s, c.id, job.deadline, stable=stable, name=c.name))
    return PrimitiveResult(changed=False, native_ids=tuple(c.id for c in wanted))


def await_up(
    session: DockerSession,
    container_id: str,
    deadline: Deadline,
    *,
    stable: float = 0.0,
    name: str = "",
) -> None:
    """Return once the container is up, and was at the look before it (`stable` seconds apart).

    Raises:
        PermanentError: it ended by itself; waiting longer would not help.
        DeadlineExceededError: not up in time.
    """
    since: tuple[str, float] | None = None  # start time, first look at which it was up
    pause_for = _POLL_FIRST
    while True:
        current = Container(session.inspect(container_id))
        started = str((current.inspect.get("State") or {}).get("StartedAt"))
        now = time.monotonic()
        if not current.is_up or (since is not None and since[0] != started):
            since = None
        if current.is_up:
            if since is not None and now - since[1] >= stable:
                return
            since = since or (started, now)
        elif current.state is InstanceState.STOPPED:
            code = (current.inspect.get("State") or {}).get("ExitCode")
            raise PermanentError(f"{name or current.name} ended by itself with exit code {code}")
        if deadline.left <= pause_for:
            raise DeadlineExceededError(
                f"{name or current.name} is not up in time: {_condition(current)}"
            )
        time.sleep(pause_for)
        pause_for = min(_POLL_MOST, pause_for * 2)


def _condition(container: Container) -> str:
    health = container.health
    state = container.state.value
    return state if health is EngineHealth.NONE else f"{state}, {health.value}"


def fitting_grace(container: Container, deadline: Deadline) -> int:
    """The container's own grace, cut to what the deadline leaves: nobody asked for a figure."""
    return max(0, min(container.stop_timeout, int(deadline.left - _AFTER_GRACE)))


def _require_grace(job: Job, grace: int | None) -> None:
    """Refuse before anything changes: killing earlier than asked would break a promise."""
    if grace is not None and grace + _AFTER_GRACE > job.deadline.left and grace > 0:
        raise PermanentError(
            f"{job.call.primitive} {job.service.target}: a grace of {grace} s does not fit into"
            " the operation's time-out: raise `timeout` in operations.yml or give less grace"
        )
