"""Primitives on container instances, one a replica.

A container can't be changed, only replaced: the successor is made first, and what it
replaces is deleted once the successor is up. Until then the successor carries the tag
`uici-replaces`; one whose making broke off is told by that tag and cleared away by the next
change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from executors.oci.answers import Container, ContainerInstance, Json
from executors.oci.bodies import Wanted, new_body, replacement_body
from executors.oci.job import Job
from executors.oci.membership import (
    PREVIOUS_IMAGE_TAG,
    REPLACES_TAG,
    TARGET_TAG,
    names_for,
    replica_index,
)
from executors.oci.notes import note_start
from executors.oci.session import Reply, Request, change_each, done, fetch, without_nothing
from executors.oci.settings import Api
from executors.oci.spec import GONE, Replica, container_spec, health_of
from infrastructure.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.observed import EngineHealth, InstanceState
from infrastructure.operations import PrimitiveResult

T = TypeVar("T")

_UP = frozenset({"ACTIVE"})
_DOWN = frozenset({"INACTIVE"})
_FAILED = GONE | {"FAILED"}


# ── life ─────────────────────────────────────────────────────────────────────────


def start(job: Job) -> PrimitiveResult:
    """Start what is inactive; where only the container ended, restart its machine."""
    wanted = [r for r in job.require(job.found) if r.state is InstanceState.STOPPED]
    return done(_each(job, wanted, lambda r: _revive(job, r)))


def stop(job: Job) -> PrimitiveResult:
    """Stop; how long it may take to finish is the instance's own setting."""
    wanted = [r for r in job.require(job.found) if r.instance.lifecycle_state == "ACTIVE"]

    def one(replica: Replica) -> str:
        _act(job, replica.instance, "stop", _DOWN)
        return replica.instance.id

    return done(_each(job, wanted, one))


def restart(job: Job) -> PrimitiveResult:
    """Stop and start; what is inactive is started."""
    return done(_each(job, job.require(job.found), lambda r: _revive(job, r)))


def wait_healthy(job: Job) -> PrimitiveResult:
    """Wait until every replica is active and its health checks, if any, pass."""

    def one(replica: Replica) -> str:
        machine = replica.instance
        job.watching.for_state(
            lambda: _get(job, machine.id),
            _UP,
            what=f"wait for {machine.name}",
            failed=_FAILED | _DOWN,
        )
        main = replica.main
        if main is not None:
            job.watching.for_state(
                lambda: _settled(_container(job, main)),
                _UP,
                what=f"wait for the container of {machine.name}",
                failed=_FAILED | _DOWN,
            )
        return machine.id

    ids = job.read_each(job.require(job.found), one)
    return PrimitiveResult(changed=False, native_ids=tuple(ids))


def _settled(container: Container) -> Container:
    """A container whose checks have not passed counts as not there yet."""
    if health_of(container) in (EngineHealth.STARTING, EngineHealth.UNHEALTHY):
        return replace(container, lifecycle_state="its health checks fail")
    return container


def _revive(job: Job, replica: Replica) -> str:
    if replica.instance.lifecycle_state == "FAILED":
        raise PermanentError(
            f"{job.what}: {replica.instance.name} failed to be made, and can't be started:"
            " recreate it"
        )
    active = replica.instance.lifecycle_state == "ACTIVE"
    _act(job, replica.instance, "restart" if active else "start", _UP)
    _note_start(job, replica.instance)
    return replica.instance.id


def _act(job: Job, machine: ContainerInstance, verb: str, until: frozenset[str]) -> None:
    what = f"{verb} {machine.name}"
    _change(job, f"{verb}_container_instance", (machine.id,), what=what, repeatable=False)
    job.waiting.for_state(lambda: _get(job, machine.id), until, what=what, failed=_FAILED)


def _note_start(job: Job, machine: ContainerInstance) -> None:
    """No API tells when it was last started, so it is noted in a tag."""
    note_start(job, Api.CONTAINERS, "container_instance", machine)


# ── how many ─────────────────────────────────────────────────────────────────────


def create(job: Job) -> PrimitiveResult:
    """Make the replicas that desired state declares and that are missing."""
    return done(_add(job, planned_names(job)))


def scale(job: Job) -> PrimitiveResult:
    """Bring the number of replicas to exactly `replicas`."""
    replicas = job.replicas()
    surplus = job.count - replicas
    if surplus <= 0:
        return done(_add(job, planned_names(job)))
    # What others made goes last; among UICI's own the highest number goes first.
    order = sorted(
        job.found,
        key=lambda r: (
            TARGET_TAG not in (r.instance.freeform_tags or {}),
            -replica_index(r.instance.name),
        ),
    )

    def one(replica: Replica) -> str:
        _delete(job, replica.instance)
        return replica.instance.id

    return done(_each(job, order[:surplus], one))


def planned_names(job: Job) -> tuple[str, ...]:
    """The names that `create` or `scale` would give; self-exclusion looks at them first."""
    scaling = job.call.primitive == "scale"
    replicas = job.replicas() if scaling else job.service.spec.replicas
    count = max(0, replicas - job.count)
    return names_for(
        job.service.metadata.name, replicas=replicas, count=count, taken=job.lists.names
    )


def _add(job: Job, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    env = job.desired_env()
    bodies = [
        new_body(
            job.service,
            job.containers_binding,
            Wanted(name, env),
            compartment=job.compartment,
        )
        for name in names
    ]
    return _each(job, bodies, lambda body: _make(job, body))


def _make(job: Job, body: Json) -> str:
    """Make one and wait until it is up; one that never gets there is taken away again."""
    what = f"create {body['displayName']}"
    reply = _send(job, "create_container_instance", (body,), what=what)
    made = reply.data.get("id") if isinstance(reply.data, dict) else None
    if not isinstance(made, str):
        raise OutcomeUnknownError(
            f"{what}: the answer names no container instance",
            remedy="nothing to do by hand: the next run observes and goes on from there",
        )
    try:
        if reply.work_request:
            job.waiting.for_work(Api.CONTAINERS, reply.work_request, what=what)
        job.waiting.for_state(lambda: _get(job, made), _UP, what=what, failed=_FAILED | _DOWN)
    except OutcomeUnknownError:
        raise  # it may well come up: the next run looks
    except UiciError as exc:
        _clear_away(job, made, exc)
        raise
    return made


def _clear_away(job: Job, made: str, why: UiciError) -> None:
    """Delete what never came up, so that it is taken for no replica."""
    try:
        _delete(job, _get(job, made))
    except UiciError as exc:
        raise OutcomeUnknownError(
            f"{why}; what was made of it is still there: {exc}",
            remedy="delete the failed container instance, or recreate the service",
        ) from why


def _delete(job: Job, machine: ContainerInstance) -> None:
    what = f"delete {machine.name}"
    try:
        _send(job, "delete_container_instance", (machine.id,), what=what)
    except NotFoundError as exc:
        # One answer for "gone" and for "a policy forbids it": whether it can be seen tells.
        if _is_gone(job, machine):
            return
        raise PermanentError(
            f"{what}: a policy forbids it: the agent needs `manage compute-container-family` in"
            " the compartment of the container instance"
        ) from exc
    job.waiting.for_absence(lambda: _get(job, machine.id), GONE, what=what)


def _is_gone(job: Job, machine: ContainerInstance) -> bool:
    try:
        return _get(job, machine.id).lifecycle_state in GONE
    except NotFoundError:
        return True


# ── replacing ────────────────────────────────────────────────────────────────────


def settle(job: Job) -> list[str]:
    """Take away successors whose making broke off.

    Raises:
        PermanentError: a policy forbids it. Whatever was asked for is not done then: each
            replacement would leave one more behind.
    """

    def one(machine: ContainerInstance) -> str:
        _delete(job, machine)
        return machine.id

    return _each(job, job.leftovers, one)


def recreate(job: Job) -> PrimitiveResult:
    """Replace replicas by ones of desired state, or of another image, environment or limit."""
    image, extra = job.argument("image"), job.argument("env")
    env = {**job.desired_env(), **{str(k): str(v) for k, v in (extra or {}).items()}}
    wanted = Wanted("", env, image=image)
    replicas = job.require(job.found)
    if image is not None or extra is not None:
        replicas = [r for r in replicas if not _is_so(job, r, image, extra)]
    return done(_each(job, replicas, lambda r: _replace(job, r, wanted)))


def update_resources(job: Job) -> PrimitiveResult:
    """Other limits: a container's can't be changed, so this replaces it."""
    memory, cpu = job.limits()
    wanted = Wanted("", job.desired_env(), memory=memory, cpu=cpu)

    def differs(replica: Replica) -> bool:
        if replica.main is None:
            return True
        seen = container_spec(replica.main, job.service)
        return (memory is not None and memory != seen.memory) or (
            cpu is not None and cpu != seen.cpu
        )

    replicas = [r for r in job.require(job.found) if differs(r)]
    keep = {r.instance.id: r.main.image_url for r in replicas if r.main is not None}
    return done(
        _each(
            job,
            replicas,
            lambda r: _replace(job, r, replace(wanted, image=keep.get(r.instance.id))),
        )
    )


def rollback(job: Job) -> PrimitiveResult:
    """Go back to the image that ran before the last replacement by another."""
    replicas = job.require(job.found)
    before = {
        r.instance.id: (r.instance.freeform_tags or {}).get(PREVIOUS_IMAGE_TAG) for r in replicas
    }
    if not all(before.values()):
        raise PermanentError(f"{job.what}: no earlier image is known")
    env = job.desired_env()
    return done(
        _each(
            job,
            replicas,
            lambda r: _replace(
                job, r, Wanted("", env, image=before[r.instance.id]), remember=False
            ),
        )
    )


def _is_so(job: Job, replica: Replica, image: str | None, env: dict[str, str] | None) -> bool:
    """Whether it already has what was asked for."""
    if replica.main is None:
        return False
    seen = container_spec(replica.main, job.service)
    return (image is None or seen.image == image) and all(
        seen.env.get(str(key)) == str(value) for key, value in (env or {}).items()
    )


def _replace(job: Job, replica: Replica, wanted: Wanted, *, remember: bool = True) -> str:
    old = _whole(job, replica)
    was_inactive = old.instance.lifecycle_state in _DOWN
    vnic = job.tools.observer.vnic(old.instance, job.deadline)
    network = without_nothing(
        {
            "subnetId": vnic.subnet_id if vnic else None,
            "nsgIds": list(vnic.nsg_ids or ()) or None if vnic else None,
            "hostnameLabel": vnic.hostname_label if vnic else None,
            "isPublicIpAssigned": bool(vnic and vnic.public_ip),
        }
    )
    tags = {REPLACES_TAG: old.instance.id}
    image = wanted.image or job.service.spec.image
    earlier = _earlier_image(old, image) if remember else None
    if earlier:
        tags[PREVIOUS_IMAGE_TAG] = earlier
    body = replacement_body(
        job.service,
        job.containers_binding,
        replace(wanted, name=old.instance.name, tags=tags),
        old,
        network,
    )
    if not earlier:
        body["freeformTags"].pop(PREVIOUS_IMAGE_TAG, None)
    try:
        made = _make(job, body)
    except OutcomeUnknownError:
        raise
    except PermanentError as exc:
        state = "inactive" if was_inactive else "active"
        raise PermanentError(f"{exc}; {old.instance.name} is {state}, as it was before") from exc
    _retire(job, old.instance, made)
    return made


def _retire(job: Job, old: ContainerInstance, made: str) -> None:
    """Delete what was replaced; if that is forbidden, the successor goes again instead."""
    try:
        _delete(job, old)
    except TemporaryError as exc:
        raise OutcomeUnknownError(
            f"{exc}; its successor is up beside it",
            remedy="nothing to do by hand: the next change takes the successor away first",
        ) from exc
    except PermanentError as exc:  # refused: had it been accepted, it would be "unknown"
        try:
            _delete(job, _get(job, made))
        except UiciError as again:
            raise OutcomeUnknownError(
                f"{exc}; its successor runs beside it: {again}",
                remedy="grant it, or delete one of the two by hand; until then UICI changes"
                " nothing of this service",
            ) from exc
        raise PermanentError(f"{exc}; {old.name} is as it was before") from exc


def _earlier_image(old: Replica, image: str) -> str | None:
    if old.main is not None and old.main.image_url != image:
        return old.main.image_url
    return (old.instance.freeform_tags or {}).get(PREVIOUS_IMAGE_TAG)


def _whole(job: Job, replica: Replica) -> Replica:
    """Everything about it, asked for one by one: lists leave things out."""
    instance = _get(job, replica.instance.id)
    containers = tuple(_container(job, c) for c in replica.containers)
    main = replica.main.id if replica.main is not None else None
    return Replica(instance, containers, next((c for c in containers if c.id == main), None))


# ── requests ─────────────────────────────────────────────────────────────────────


def _get(job: Job, machine: str) -> ContainerInstance:
    request = Request(
        Api.CONTAINERS, "get_container_instance", (machine,), what="look at a container instance"
    )
    return fetch(job.cloud, request, ContainerInstance, job.deadline)


def _container(job: Job, container: Container) -> Container:
    request = Request(
        Api.CONTAINERS, "get_container", (container.id,), what=f"look at {container.name}"
    )
    return fetch(job.cloud, request, Container, job.deadline)


def _send(
    job: Job, operation: str, arguments: tuple[object, ...], *, what: str, repeatable: bool = True
) -> Reply:
    return job.cloud.ask(
        Request(
            Api.CONTAINERS, operation, arguments, what=what, mutates=True, repeatable=repeatable
        ),
        job.deadline,
    )


def _change(
    job: Job, operation: str, arguments: tuple[object, ...], *, what: str, repeatable: bool = True
) -> None:
    reply = _send(job, operation, arguments, what=what, repeatable=repeatable)
    if reply.work_request:
        job.waiting.for_work(Api.CONTAINERS, reply.work_request, what=what)


def _each(job: Job, items: Sequence[T], act: Callable[[T], str]) -> list[str]:
    return change_each(items, act, what=job.what, concurrency=job.tools.concurrency)
