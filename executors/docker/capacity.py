"""Primitives that change how much there is: create, scale, update_resources."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from executors import secret_env
from executors.docker.lifecycle import fitting_grace, halt
from executors.docker.membership import TARGET_LABEL, names_for, replica_index
from executors.docker.same_meaning import at_creation
from executors.docker.session import DockerSession, Job, done, each, require_instances
from executors.docker.spec import Container, Json, cores, create_body, memory_limit, nano_cpus
from infrastructure.errors import OutcomeUnknownError, PermanentError, UiciError
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import parse_cpu, parse_memory

_CPU_PERIOD = 100_000  # microseconds; the engine's default


def create(job: Job) -> PrimitiveResult:
    """Create and start the instances that desired state declares and that are missing."""
    return done(_add(job, planned_names(job)))


def scale(job: Job) -> PrimitiveResult:
    """Bring the number of instances to exactly `replicas`."""
    replicas = _replicas(job)
    surplus = len(job.members.instances) - replicas
    if surplus <= 0:
        return done(_add(job, planned_names(job)))
    # What others made goes last; among UICI's own the highest number goes first.
    order = sorted(
        job.containers,
        key=lambda c: (TARGET_LABEL not in c.labels, -replica_index(c.name)),
    )
    victims = order[:surplus]
    each(job, victims, lambda session, c: _take_away(job, session, c))
    return done(victims)


def remove(job: Job) -> PrimitiveResult:
    """Take away all containers of a service that desired state does not have. Volumes stay.

    Raises:
        PermanentError: desired state has it, or UICI did not make all of them. Nothing is done.
    """
    action = f"remove {job.service.target}"
    if job.declared:
        raise PermanentError(f"{action}: desired state has it")
    strange = [c.name for c in job.containers if c.labels.get(TARGET_LABEL) != job.service.target]
    if strange:
        raise PermanentError(f"{action}: UICI did not make {', '.join(strange)}")
    grace = job.argument("grace_seconds")
    each(job, job.containers, lambda session, c: _take_away(job, session, c, grace))
    return done(job.containers)


def update_resources(job: Job) -> PrimitiveResult:
    """Set limits without a restart; None keeps a limit as it is."""
    try:
        memory = parse_memory(value) if (value := job.argument("memory")) is not None else None
        cpu = parse_cpu(value) if (value := job.argument("cpu")) is not None else None
    except ValueError as exc:
        raise PermanentError(f"update_resources {job.service.target}: {exc}") from exc
    # All bodies are made before the first update: a limit that can't be set changes nothing.
    bodies = [(c, _limits(job, c, memory, cpu)) for c in require_instances(job)]
    wanted = [(c, body) for c, body in bodies if body]
    each(job, wanted, lambda session, item: session.update(item[0].id, item[1]))
    return done(c for c, _ in wanted)


def planned_names(job: Job) -> tuple[str, ...]:
    """The names that `create` or `scale` would give; self-exclusion looks at them first."""
    replicas = _replicas(job) if job.call.primitive == "scale" else job.service.spec.replicas
    count = max(0, replicas - len(job.members.instances))
    name = job.service.metadata.name
    # The engine refuses a name of one letter: then it is a numbered one.
    taken = job.names if len(name) > 1 else {name, *job.names}
    return names_for(name, replicas=replicas, count=count, taken=taken)


def desired_env(job: Job, extra: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The declared environment with secrets resolved, and `extra` on top.

    Raises:
        PermanentError: a secret can't be resolved.
    """
    declared = secret_env.resolved(job.service, job.tools.resolve_secret)
    return {**declared, **{str(k): str(v) for k, v in (extra or {}).items()}}


def require_image(job: Job, session: DockerSession, reference: str) -> str:
    """The image's id; pulled first where the connection says so.

    Raises:
        PermanentError: the engine does not have it.
    """
    found = session.image(reference)
    if found is None and job.tools.pull:
        session.pull(reference)
        found = session.image(reference)
    if found is None:
        raise PermanentError(
            f"{job.call.primitive} {job.service.target}: the engine has no image {reference}:"
            " build or load it there, or set pull: true in the environment's connection"
        )
    return str(found["Id"])


def _add(job: Job, names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    body = create_body(job.service, desired_env(job))
    with job.session() as session:
        require_image(job, session, body["Image"])
    return each(job, names, lambda session, name: _create_one(job, session, name, body))


def _create_one(job: Job, session: DockerSession, name: str, body: Json) -> str:
    first, networks = at_creation(body)
    made = session.create(name, first)
    try:
        for network, endpoint in networks.items():
            session.connect(network, made, endpoint)
        session.start(made)
    except OutcomeUnknownError:
        raise  # it may well run: the next run looks
    except UiciError:
        with job.session() as cleaning:
            cleaning.remove(made)
        raise
    return made


def _take_away(
    job: Job, session: DockerSession, container: Container, grace: int | None = None
) -> None:
    if container.state not in (InstanceState.STOPPED, InstanceState.PENDING):
        fitting = fitting_grace(container, job.deadline)
        halt(session, container, fitting if grace is None else min(grace, fitting))
    session.remove(container.id)


def _replicas(job: Job) -> int:
    value = job.argument("replicas")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PermanentError(f"scale {job.service.target}: `replicas` has to be a number from 0")
    return value


def _limits(job: Job, container: Container, memory: int | None, cpu: Decimal | None) -> Json:
    """The update body; empty where everything already is as asked."""
    host = container.host_config
    body: Json = {}
    if memory is not None and memory != (host.get("Memory") or 0):
        if not memory:
            raise _only_by_recreate(job, "memory")
        body.update(memory_limit(memory, host))
    if cpu is not None and cpu != cores(host):
        quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 0
        if quota or period:  # the engine refuses NanoCpus beside a quota
            period = period or _CPU_PERIOD
            body.update(CpuPeriod=period, CpuQuota=int(cpu * period) if cpu else -1)
        elif not cpu:
            raise _only_by_recreate(job, "cpu")
        else:
            body["NanoCpus"] = nano_cpus(cpu)
    return body


def _only_by_recreate(job: Job, limit: str) -> PermanentError:
    return PermanentError(
        f"update_resources {job.service.target}: the engine can't take a {limit} limit away from"
        " a container that exists: recreate it"
    )
