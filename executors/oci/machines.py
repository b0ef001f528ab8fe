"""Primitives on compute instances and instance pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from executors.oci.answers import Instance, Json, Pool
from executors.oci.job import Job
from executors.oci.notes import note_start
from executors.oci.session import Request, change_each, done, fetch, without_nothing
from executors.oci.settings import Api
from executors.oci.spec import GIB, GONE, machine_size
from infrastructure.errors import PermanentError
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import format_cpu

_UP = frozenset({"RUNNING"})
_DOWN = frozenset({"STOPPED"})
_GOING_UP = frozenset({"RUNNING", "STARTING", "PROVISIONING", "CREATING_IMAGE"})
_GOING_DOWN = frozenset({"STOPPED", "STOPPING"})


# ── single instances (also those of a pool, when one is named) ───────────────────


def start(job: Job) -> PrimitiveResult:
    """Power on what is off."""
    wanted = [i for i in job.require(job.instances) if i.lifecycle_state not in _GOING_UP]
    return done(_each(job, wanted, lambda i: _start_one(job, i)))


def stop(job: Job) -> PrimitiveResult:
    """Shut down; with a grace of 0, power off."""
    wanted = [i for i in job.require(job.instances) if i.lifecycle_state not in _GOING_DOWN]
    action = "STOP" if job.argument("grace_seconds") == 0 else "SOFTSTOP"
    return done(_each(job, wanted, lambda i: _stop_one(job, i, action)))


def restart(job: Job) -> PrimitiveResult:
    """Reboot; with a grace of 0, reset. What is off is powered on."""
    action = "RESET" if job.argument("grace_seconds") == 0 else "SOFTRESET"
    wanted = job.require(job.instances)

    def one(instance: Instance) -> str:
        if instance.lifecycle_state in _GOING_DOWN:
            return _start_one(job, instance)
        told = _act(job, instance, action)
        job.waiting.for_restart(
            lambda: {instance.id: _get(job, instance).lifecycle_state},
            _UP,
            what=f"restart {instance.name}",
            failed=GONE,
            begun=bool(told) and told not in _UP,
        )
        _note_start(job, instance)
        return instance.id

    return done(_each(job, wanted, one))


def update_resources(job: Job) -> PrimitiveResult:
    """Set vCPUs and memory of flexible shapes. Oracle Cloud reboots a running instance for it."""
    memory, cpu = _machine_limits(job)

    def body(instance: Instance) -> Json:
        has_memory, has_cpu = machine_size(instance.shape_config)
        wanted: Json = {}
        if memory is not None and memory != has_memory:
            wanted["memoryInGBs"] = memory / GIB
        if cpu is not None and cpu != has_cpu:
            wanted["vcpus"] = int(cpu)
        return wanted

    wanted = [(i, body(i)) for i in job.require(job.instances)]
    wanted = [(i, b) for i, b in wanted if b]
    for instance, _ in wanted:
        if not instance.shape.endswith(".Flex"):
            raise PermanentError(
                f"{job.what}: {instance.name} has the fixed shape {instance.shape}: only flexible"
                " shapes can be resized"
            )

    def one(item: tuple[Instance, Json]) -> str:
        instance, shape = item
        _update(job, instance, {"shapeConfig": shape})
        if instance.lifecycle_state in _UP:
            found = job.waiting.for_state(
                lambda: _get(job, instance), _UP, what=f"resize {instance.name}", failed=GONE
            )
            _note_start(job, found)
        return instance.id

    return done(_each(job, wanted, one))


def _machine_limits(job: Job) -> tuple[int | None, Decimal | None]:
    memory, cpu = job.limits()
    for limit, value in (("memory", memory), ("cpu", cpu)):
        if value == 0:
            raise PermanentError(f"{job.what}: a machine can't have unlimited {limit}")
    if cpu is not None and cpu % 1:
        raise PermanentError(f"{job.what}: a machine has whole vCPUs, not {format_cpu(cpu)}")
    return memory, cpu


def wait_healthy(job: Job) -> PrimitiveResult:
    """Wait until every instance runs."""
    wanted = job.require(job.instances)

    def one(instance: Instance) -> str:
        job.watching.for_state(
            lambda: _get(job, instance), _UP, what=f"wait for {instance.name}", failed=GONE | _DOWN
        )
        return instance.id

    return PrimitiveResult(changed=False, native_ids=tuple(job.read_each(wanted, one)))


def _start_one(job: Job, instance: Instance) -> str:
    _act(job, instance, "START")
    found = job.waiting.for_state(
        lambda: _get(job, instance), _UP, what=f"start {instance.name}", failed=GONE
    )
    _note_start(job, found)
    return instance.id


def _stop_one(job: Job, instance: Instance, action: str) -> str:
    _act(job, instance, action)
    job.waiting.for_state(
        lambda: _get(job, instance), _DOWN, what=f"stop {instance.name}", failed=GONE
    )
    return instance.id


def _act(job: Job, instance: Instance, action: str) -> str:
    """A power action; the state that the answer tells."""
    reply = job.cloud.ask(
        Request(
            Api.COMPUTE,
            "instance_action",
            (instance.id, action),
            what=f"{action} {instance.name}",
            mutates=True,
        ),
        job.deadline,
    )
    return str(reply.data.get("lifecycleState") or "") if isinstance(reply.data, dict) else ""


def _note_start(job: Job, instance: Instance) -> None:
    """Oracle Cloud does not tell when an instance was booted, so it is noted in a tag."""
    note_start(job, Api.COMPUTE, "instance", instance)


def _update(job: Job, instance: Instance, body: Json) -> None:
    what = f"update {instance.name}"
    reply = job.cloud.ask(
        Request(Api.COMPUTE, "update_instance", (instance.id, body), what=what, mutates=True),
        job.deadline,
    )
    if reply.work_request:
        job.waiting.for_work(Api.WORK, reply.work_request, what=what)


def _get(job: Job, instance: Instance) -> Instance:
    request = Request(Api.COMPUTE, "get_instance", (instance.id,), what=f"look at {instance.name}")
    return fetch(job.cloud, request, Instance, job.deadline)


def _each(job: Job, items: Sequence[Any], act: Any) -> list[str]:
    found: list[str] = change_each(items, act, what=job.what, concurrency=job.tools.concurrency)
    return found


# ── pools ────────────────────────────────────────────────────────────────────────


def start_pool(job: Job) -> PrimitiveResult:
    """Power on all of a pool's instances."""
    if job.call.instance is not None:
        return start(job)
    pool = _pool(job)
    if pool.lifecycle_state == "RUNNING" and not _not_in(job, _GOING_UP):
        return done(())
    _pool_action(job, pool, "start_instance_pool")
    _await_pool(job, pool, _UP)
    for instance in _not_in(job, _GOING_UP):
        found = job.waiting.for_state(
            lambda wanted=instance: _get(job, wanted),  # type: ignore[misc]  # bound now
            _UP,
            what=f"start {instance.name}",
            failed=GONE,
        )
        _note_start(job, found)
    return done((pool.id, *(i.id for i in job.instances)))


def stop_pool(job: Job) -> PrimitiveResult:
    """Shut down all of a pool's instances; with a grace of 0, power them off."""
    if job.call.instance is not None:
        return stop(job)
    pool = _pool(job)
    if pool.lifecycle_state in _GOING_DOWN:
        return done(())
    hard = job.argument("grace_seconds") == 0
    _pool_action(job, pool, "stop_instance_pool" if hard else "softstop_instance_pool")
    _await_pool(job, pool, _DOWN)
    return done((pool.id, *(i.id for i in job.instances)))


def restart_pool(job: Job) -> PrimitiveResult:
    """Reboot all of a pool's instances; with a grace of 0, reset them."""
    if job.call.instance is not None:
        return restart(job)
    pool = _pool(job)
    if pool.lifecycle_state in _GOING_DOWN:
        return start_pool(job)
    hard = job.argument("grace_seconds") == 0
    work = _pool_action(job, pool, "reset_instance_pool" if hard else "softreset_instance_pool")
    what = f"restart {pool.name}"
    if work:
        job.waiting.for_work(Api.WORK, work, what=what)
    job.waiting.for_restart(
        lambda: job.tools.observer.member_states(pool, job.deadline),
        _UP,
        what=what,
        failed=GONE,
        begun=bool(work),
    )
    job.read_each(job.instances, lambda instance: _note_start(job, instance))
    return done((pool.id, *(i.id for i in job.instances)))


def scale_pool(job: Job) -> PrimitiveResult:
    """Set the pool's size; wait until it has it."""
    replicas = job.replicas()
    pool = _pool(job)
    if pool.size == replicas:
        return done(())
    what = f"scale {pool.name}"
    job.cloud.ask(
        Request(
            Api.POOLS,
            "update_instance_pool",
            (pool.id, {"size": replicas}),
            what=what,
            mutates=True,
        ),
        job.deadline,
    )
    _await_pool(job, pool, _UP | _DOWN, size=replicas)
    return done((pool.id,))


def wait_for_pool(job: Job) -> PrimitiveResult:
    """What `create` means for a pool: it makes missing instances itself, so this only waits.

    Changes nothing, and says what to do where waiting would not help.
    """
    pool = _pool(job)
    if pool.size != job.service.spec.replicas:
        raise PermanentError(
            f"{job.what}: the pool's size is {pool.size}, {job.service.spec.replicas} are"
            " declared: scale it"
        )
    job.watching.for_state(lambda: _get_pool(job, pool), _UP, what=job.what, failed=GONE)
    return PrimitiveResult(changed=False, native_ids=(pool.id,))


def _pool(job: Job) -> Pool:
    if len(job.pools) == 1:
        return job.pools[0]
    if not job.pools:
        raise PermanentError(
            f"{job.what}: it has no instance pool: make one, and tag or name it as the service"
        )
    names = ", ".join(pool.name for pool in job.pools)
    raise PermanentError(f"{job.what}: several instance pools match ({names}): select one")


def _not_in(job: Job, states: frozenset[str]) -> list[Instance]:
    return [i for i in job.instances if i.lifecycle_state not in states]


def _pool_action(job: Job, pool: Pool, operation: str) -> str | None:
    """Something done to all of a pool; the work request, where the answer names one."""
    what = f"{operation.removesuffix('_instance_pool')} {pool.name}"
    request = Request(Api.POOLS, operation, (pool.id,), what=what, mutates=True)
    return job.cloud.ask(request, job.deadline).work_request


def _await_pool(job: Job, pool: Pool, states: frozenset[str], *, size: int | None = None) -> Pool:
    def look() -> Pool:
        found = _get_pool(job, pool)
        if size is not None and found.size != size:  # not accepted yet: still as before
            return replace(found, lifecycle_state="SCALING")
        return found

    return job.waiting.for_state(look, states, what=job.what, failed=GONE)


def _get_pool(job: Job, pool: Pool) -> Pool:
    request = Request(Api.POOLS, "get_instance_pool", (pool.id,), what=f"look at {pool.name}")
    return fetch(job.cloud, request, Pool, job.deadline)


def facts(instance: Instance) -> Json:
    """For `inspect`."""
    return without_nothing(
        {
            "instance": instance.name,
            "id": instance.id,
            "state": instance.lifecycle_state,
            "shape": instance.shape,
            "image": instance.image,
            "created_at": instance.time_created.isoformat() if instance.time_created else None,
        }
    )
