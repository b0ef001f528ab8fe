"""Primitives that put a new container in an old one's place: recreate and rollback.

The old container is renamed and kept until its successor runs (with several replicas: is
healthy). Whatever fails on the way, the old one gets its name back and runs again if it ran
before. A crash leaves a container with `OLD_MARK` in its name, and `settle` of the next
call finishes or undoes what was begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import structlog

from executors.deadline import Deadline
from executors.docker.blue_green import (
    install_beside,
    refuse_what_excludes_another,
    take_place,
)
from executors.docker.capacity import desired_env, require_image
from executors.docker.carry_over import (
    PREVIOUS_IMAGE_ID_LABEL,
    PREVIOUS_IMAGE_LABEL,
    extra_networks,
    lost_primary,
    remember_image,
    replacement_body,
)
from executors.docker.last_words import in_full, in_short, last_words
from executors.docker.lifecycle import await_up, fitting_grace, halt
from executors.docker.membership import NEW_MARK, new_name, old_name, original_name
from executors.docker.same_meaning import at_creation
from executors.docker.session import DockerSession, Job, done, require_instances
from executors.docker.spec import Container, Json, env_map
from infrastructure.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TakenBackError,
    UiciError,
)
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveResult

log = structlog.get_logger("uici")

_RUNS = (InstanceState.RUNNING, InstanceState.PAUSED, InstanceState.RESTARTING)
# Kept back from the deadline so that a failure can still be undone within it.
_RESTORE_SHARE, _RESTORE_MOST = 0.25, 15.0


@dataclass(frozen=True, slots=True)
class _Change:
    """What every replaced container gets."""

    env: Mapping[str, str]
    image: str
    image_id: str
    label: Callable[[Json, Container, str], None]
    beside: bool = False  # blue-green: the new one is up before the old one stops


@dataclass(slots=True)
class _Absence:
    """Since when nothing runs in the old one's place, by `time.monotonic`; None: it ran on."""

    since: float | None = None

    @property
    def told(self) -> str:
        """As the end of "it is as it was before"."""
        if self.since is None:
            return ""
        return f", and was away for {time.monotonic() - self.since:.1f} s"


def recreate(job: Job) -> PrimitiveResult:
    """Replace every container by one made from desired state.

    With `image` or `env` given, a running container that already has them is left alone;
    without, all are replaced: a fresh instance is then what was asked for. `beside`: each
    successor is up before its predecessor stops.
    """
    image, extra = job.argument("image"), job.argument("env", {})
    wanted = require_instances(job)
    reference = image or job.service.spec.image
    with job.session() as session:
        image_id = require_image(job, session, reference)
    if image or extra:
        wanted = tuple(c for c in wanted if not _has(c, image_id if image else None, extra))
    beside = bool(job.argument("beside", False))
    change = _Change(desired_env(job, extra), reference, image_id, remember_image, beside)
    return _replace_all(job, wanted, [change] * len(wanted))


def rollback(job: Job) -> PrimitiveResult:
    """Go back to the image that ran before the last change of image."""
    wanted = tuple(c for c in require_instances(job) if PREVIOUS_IMAGE_LABEL in c.labels)
    if not wanted:
        raise PermanentError(
            f"rollback {job.service.target}: no earlier image is known: none of its containers"
            " was made by a change of image"
        )
    env = desired_env(job)
    with job.session() as session:
        changes = [_Change(env, *_earlier_image(job, session, c), _forget_image) for c in wanted]
    return _replace_all(job, wanted, changes)


def settle(job: Job) -> tuple[str, ...]:
    """Finish or undo replacements that broke off; returns the ids of the leftovers.

    The successor was started: the old one is removed. It never was: it is removed, and the
    old one gets its name back.
    """
    for waiting in (c for c in job.leftovers if NEW_MARK in c.name):
        with job.session() as session:
            _settle_waiting(job, session, waiting)
    for old in (c for c in job.leftovers if NEW_MARK not in c.name):
        name = original_name(old.name)
        with job.session() as session:
            successor = _inspect_or_none(session, name)
            if successor is not None and _was_started(successor):
                session.remove(old.id)
                log.info("leftover_removed", target=job.service.target, container=name)
                continue
            if successor is not None:
                session.remove(successor.id)
            session.rename(old.id, name)
            log.info("leftover_restored", target=job.service.target, container=name)
    return tuple(old.id for old in job.leftovers)


def _settle_waiting(job: Job, session: DockerSession, new: Container) -> None:
    """A successor that ran beside: the place is free only if it was about to be taken."""
    name = original_name(new.name)
    free = _inspect_or_none(session, name) is None
    if free and new.is_up:
        session.rename(new.id, name)
        log.info("leftover_placed", target=job.service.target, container=name)
    else:
        session.remove(new.id)
        log.info("leftover_removed", target=job.service.target, container=new.name)


def _replace_all(
    job: Job, wanted: tuple[Container, ...], changes: list[_Change]
) -> PrimitiveResult:
    """One after the other; what is down goes first, so that the last healthy one goes last."""
    rolling = len(job.members.visible) > 1
    touched: list[str] = []
    pairs = sorted(zip(wanted, changes, strict=True), key=lambda pair: pair[0].is_up)
    for old, change in pairs:
        try:
            touched += [old.id, _replace(job, old, change, rolling=rolling)]
        except UiciError as exc:
            if not touched:
                raise
            raise OutcomeUnknownError(
                f"{job.call.primitive} {job.service.target}: {len(touched) // 2} of {len(pairs)}"
                f" containers replaced, then: {exc}",
                remedy="nothing to do by hand: the next run observes and goes on from there",
            ) from exc
    return done(touched)


def _replace(job: Job, old: Container, change: _Change, *, rolling: bool) -> str:
    """Replace one container; returns the new id."""
    deadline = job.deadline.reserving(min(_RESTORE_MOST, job.deadline.left * _RESTORE_SHARE))
    with job.session(deadline) as session:
        made_from = session.image(str(old.inspect.get("Image"))) or {}
        body = replacement_body(
            old, made_from.get("Config") or {}, job.service, change.env, image=change.image
        )
        change.label(body, old, change.image_id)
        if change.beside and old.state in _RUNS:
            return _replace_beside(job, session, old, body, deadline)
        if old.state is InstanceState.RESTARTING:  # between two starts it can't be renamed
            halt(session, old, 0)
        session.rename(old.id, old_name(old.name, old.id))
        away = _Absence()
        try:
            new = _install(session, old, body, deadline, away)
            _accept(session, new, old.name, deadline, rolling=rolling)
        except UiciError as exc:
            _restore(job, old, exc, away)
    with job.session() as session:
        session.remove(old.id)
    return new


def _replace_beside(
    job: Job, session: DockerSession, old: Container, body: Json, deadline: Deadline
) -> str:
    """Blue-green; returns the new id."""
    refuse_what_excludes_another(job, old, body)
    new = install_beside(job, session, old, body, deadline)
    try:
        take_place(session, new, old)
    except UiciError as exc:
        _restore(job, old, exc, _Absence())
    with job.session() as ending:
        halt(ending, old, fitting_grace(old, job.deadline))
        ending.remove(old.id)
    return new


def _install(
    session: DockerSession, old: Container, body: Json, deadline: Deadline, away: _Absence
) -> str:
    """Create first, stop then: the engine's refusal of the new one costs no downtime."""
    first, declared = at_creation(body)
    new = session.create(old.name, first)
    for network, endpoint in {**extra_networks(old), **declared}.items():
        session.connect(network, new, endpoint)
    detached = lost_primary(old)
    if detached is not None:
        session.disconnect(detached, new)
    if old.state in _RUNS:
        away.since = time.monotonic()
        halt(session, old, fitting_grace(old, deadline))
    session.start(new)
    return new


def _accept(
    session: DockerSession, new: str, name: str, deadline: Deadline, *, rolling: bool
) -> None:
    """With other replicas: wait until it is up. Alone: it must not have ended at once."""
    if rolling:
        await_up(session, new, deadline, name=name)
        return
    current = Container(session.inspect(new))
    if current.state is InstanceState.STOPPED:
        code = (current.inspect.get("State") or {}).get("ExitCode")
        raise PermanentError(f"the new {name} ended at once with exit code {code}")


def _restore(job: Job, old: Container, failure: UiciError, away: _Absence) -> NoReturn:
    """Give the old container its place back, then raise what it means.

    What the new one has said goes with it, so it is told before.
    """
    action = f"{job.call.primitive} {job.service.target}"
    said: tuple[str, ...] = ()
    try:
        with job.session() as session:
            for name in (old.name, new_name(old.name, old.id)):
                successor = _inspect_or_none(session, name)
                if successor is not None and successor.id != old.id:
                    said = said or last_words(job, successor.id)
                    session.remove(successor.id)
            if _inspect_or_none(session, old.name) is None:
                session.rename(old.id, old.name)
            if old.state in _RUNS:
                session.start(old.id)
    except UiciError as exc:
        raise OutcomeUnknownError(
            f"{action}: {failure}{in_short(said)}; and {old.name} could not be put back: {exc}",
            remedy=f"the old container may wait as {old_name(old.name, old.id)}: the next create,"
            " start or recreate puts it back",
        ) from exc
    told = f"{action}: {failure}{in_short(said)}; {old.name} is as it was before{away.told}"
    if away.since is None:
        raise PermanentError(told) from failure
    raise TakenBackError(told, output=in_full(old.name, said)) from failure


def _inspect_or_none(session: DockerSession, name: str) -> Container | None:
    try:
        return Container(session.inspect(name))
    except NotFoundError:
        return None


def _was_started(container: Container) -> bool:
    started = str((container.inspect.get("State") or {}).get("StartedAt", ""))
    return bool(started) and not started.startswith("0001-")


def _has(container: Container, image_id: str | None, env: Mapping[str, str]) -> bool:
    if container.state is not InstanceState.RUNNING:
        return False
    if image_id is not None and container.inspect.get("Image") != image_id:
        return False
    own = env_map(container.config.get("Env"))
    return all(own.get(str(key)) == str(value) for key, value in env.items())


def _earlier_image(job: Job, session: DockerSession, container: Container) -> tuple[str, str]:
    """Reference and id of the noted image. A tag may have moved since; the id has not."""
    reference = container.labels[PREVIOUS_IMAGE_LABEL]
    noted = container.labels.get(PREVIOUS_IMAGE_ID_LABEL, "")
    found = session.image(reference)
    if found is not None and found["Id"] == noted:
        return reference, noted
    if noted and session.image(noted) is not None:
        return noted, noted
    raise PermanentError(
        f"rollback {job.service.target}: the engine no longer has the earlier image {reference}"
    )


def _forget_image(body: Json, _old: Container, _image_id: str) -> None:
    """A second rollback must not swing forward again."""
    body["Labels"].pop(PREVIOUS_IMAGE_LABEL, None)
    body["Labels"].pop(PREVIOUS_IMAGE_ID_LABEL, None)
