"""Primitives that change what a workload is: create, scale, recreate, limits, rollback.

All of them are server-side apply with a field manager of our own (see `apply`). A conflict
with another manager is reported and nothing is changed, unless the environment's connection
lists that manager under `takeOver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from executors.kubernetes import apply, secrets
from executors.kubernetes.binding import Json, WorkloadKind, core_path
from executors.kubernetes.errors import FieldConflictError
from executors.kubernetes.objects import (
    STOPPED_REPLICAS,
    container_of,
    meta,
    notes_of,
    owner_of,
    replicas_of,
    template_of,
)
from executors.kubernetes.reader import pages, read_workload
from executors.kubernetes.session import Job, done
from infrastructure.errors import ConflictError, NotFoundError, PermanentError
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import SecretRef

ROLLED_BACK = "uici.rolled-back-to"  # revision from which a second rollback would swing forward
_REVISION = "deployment.kubernetes.io/revision"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML, too
_TEMPLATE_KEYS = ("image", "command", "args", "env", "resources")
_PAGE = 500

# Gets the live object and the body of what is ours in it, which it changes.
Edit = Callable[[Json, Json], None]


def create(job: Job) -> PrimitiveResult:
    """Make the workload, or have it keep as many pods as are declared.

    One that was stopped on purpose stays so: `start` is for that.
    """
    live = job.workload
    if live is None:
        return _create(job)
    replicas = replicas_of(live, job.place)
    stopped = STOPPED_REPLICAS in notes_of(live)
    if replicas is None or stopped or replicas >= job.service.spec.replicas:
        return done(())
    if "/replicas" in job.service.spec.ignore_differences or not job.place.facts.scales:
        return done(())
    return _set_replicas(job, job.service.spec.replicas)


def scale(job: Job) -> PrimitiveResult:
    """Have the workload keep exactly `replicas` pods; one that is missing is made."""
    replicas = job.argument("replicas")
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise PermanentError(f"{job.what}: `replicas` has to be a number from 0")
    if not job.place.facts.scales:
        raise PermanentError(f"{job.what}: a {job.place.kind.value} has no number of replicas")
    if job.workload is None:
        return _create(job, replicas=replicas)
    return _set_replicas(job, replicas)


def recreate(job: Job) -> PrimitiveResult:
    """Replace every pod by one made from desired state.

    With `image` or `env`: only if the workload does not have these already. What desired
    state does not speak of stays, and so does the number of pods.
    """
    live = job.require()
    image, env = job.argument("image"), job.argument("env", {})
    partial = image is not None or bool(env)
    if partial and _has(job, live, image, env):
        return done(())
    values = {**desired_env(job), **{str(k): str(v) for k, v in env.items()}}
    if job.place.kind is WorkloadKind.JOB:
        return _replace(job, live, values, image)
    _keep_secrets(job, values)
    moment = datetime.now(UTC).isoformat()

    def edit(current: Json, body: Json) -> None:
        apply.lay_over(body, job.service, job.place, values, live=current)
        if image is not None:
            apply.edit_container(body, job.place, current)["image"] = image
        if not partial:
            template = apply.edit_template(body, job.place)
            apply.edit_annotations(template)[apply.RESTARTED_AT] = moment

    return change(job, edit)


def update_resources(job: Job) -> PrimitiveResult:
    """Set limits; None keeps a limit as it is. Pods are replaced by the roll-out."""
    job.require()
    if job.place.kind is WorkloadKind.JOB:
        raise PermanentError(f"{job.what}: a Job's template can't be changed: recreate it")
    try:
        memory = parse_memory(value) if (value := job.argument("memory")) is not None else None
        cpu = parse_cpu(value) if (value := job.argument("cpu")) is not None else None
    except ValueError as exc:
        raise PermanentError(f"{job.what}: {exc}") from exc

    def edit(live: Json, body: Json) -> None:
        container = apply.edit_container(body, job.place, live)
        apply.set_limits(container, memory, cpu)

    return change(job, edit)


def rollback(job: Job) -> PrimitiveResult:
    """Go back to the newest earlier revision that ran another image.

    Raises:
        PermanentError: there is none, or the last change was a rollback itself.
    """
    live = job.require()
    current, earlier = _revisions(job, live)
    noted = notes_of(live).get(ROLLED_BACK)
    image = container_of(template_of(live, job.place), job.place).get("image")
    found = next(
        (
            template
            for _, template in sorted(earlier, key=lambda pair: -pair[0])
            if container_of(template, job.place).get("image") not in (None, image)
        ),
        None,
    )
    if found is None or (noted is not None and noted == image):
        raise PermanentError(f"{job.what}: there is no earlier image to go back to ({current})")
    before = container_of(found, job.place)

    def edit(now: Json, body: Json) -> None:
        container = apply.edit_container(body, job.place, now)
        for key in _TEMPLATE_KEYS:
            if key in before:
                container[key] = before[key]
            else:
                container.pop(key, None)
        apply.edit_annotations(body)[ROLLED_BACK] = str(before.get("image"))

    return change(job, edit)


# ── how changes are made ────────────────────────────────────────────────────────


def change(job: Job, edit: Edit) -> PrimitiveResult:
    """Apply what is ours with an edit; made anew when the object changed in between.

    Returns:
        `changed` is whether the server's spec is another one than before.

    Raises:
        FieldConflictError: the edit is about fields that are somebody else's.
        ConflictError: the object kept changing.
    """
    live: Json | None = job.workload
    for attempt in range(1, job.policy.attempts + 1):
        if live is None:
            raise NotFoundError(f"{job.what}: {job.place} is gone")
        body = apply.owned(live, job.policy.manager)
        body["metadata"]["resourceVersion"] = meta(live)["resourceVersion"]
        body.setdefault("spec", {})
        edit(live, body)
        try:
            applied = _apply(job, job.place.path, body, f"apply {job.place}")
        except FieldConflictError:
            raise
        except ConflictError:
            if attempt == job.policy.attempts:
                raise
            live = read_workload(job.cluster, job.place, job.deadline)
            continue
        return done((applied,) if applied.get("spec") != live.get("spec") else ())
    raise AssertionError("unreachable")  # pragma: no cover


def _apply(job: Job, path: str, body: Mapping[str, Any], what: str) -> Json:
    """Server-side apply; other managers' fields are only taken where the connection says so."""
    try:
        return _send(job, path, body, what, force="false")
    except FieldConflictError as exc:
        if not exc.managers <= job.policy.take_over:
            raise
    return _send(job, path, body, what, force="true")


def _send(job: Job, path: str, body: Mapping[str, Any], what: str, *, force: str) -> Json:
    return job.cluster.request(
        "PATCH",
        path,
        what=what,
        deadline=job.deadline,
        query=(("fieldManager", job.policy.manager), ("force", force)),
        body=body,
        content_type=_APPLY,
    )


def _create(job: Job, *, replicas: int | None = None) -> PrimitiveResult:
    if read_workload(job.cluster, job.place, job.deadline) is not None:
        raise PermanentError(
            f"{job.what}: {job.place} exists and is another target's: give one of them"
            " another name in spec.binding"
        )
    values = desired_env(job)
    body = apply.new_body(job.service, job.place, values)
    if replicas is not None:
        body["spec"]["replicas"] = replicas
    _keep_secrets(job, values)
    return done((_apply(job, job.place.path, body, f"apply {job.place}"),))


def _replace(job: Job, live: Json, values: Mapping[str, str], image: str | None) -> PrimitiveResult:
    """A Job's template can't be changed: it is deleted and made anew."""
    job.cluster.request(
        "DELETE",
        job.place.path,
        what=f"delete {job.place}",
        deadline=job.deadline,
        body={
            "propagationPolicy": "Background",
            "preconditions": {"uid": meta(live)["uid"]},
        },
    )
    body = apply.new_body(job.service, job.place, values)
    if image is not None:
        apply.edit_container(body, job.place, None)["image"] = image
    _keep_secrets(job, values)
    return done((_apply(job, job.place.path, body, f"apply {job.place}"),))


def _set_replicas(job: Job, replicas: int) -> PrimitiveResult:
    def edit(_: Json, body: Json) -> None:
        body["spec"]["replicas"] = replicas
        apply.edit_annotations(body).pop(STOPPED_REPLICAS, None)

    return change(job, edit)


def desired_env(job: Job) -> dict[str, str]:
    """The declared environment with secrets resolved.

    Raises:
        PermanentError: a secret can't be resolved.
    """
    return {
        name: job.resolve_secret(value.secret) if isinstance(value, SecretRef) else value
        for name, value in job.service.spec.env.items()
    }


def _keep_secrets(job: Job, values: Mapping[str, str]) -> None:
    """Put the values of declared secrets where the pod template refers to them."""
    hidden = {
        name: values[name]
        for name, value in job.service.spec.env.items()
        if isinstance(value, SecretRef)
    }
    if hidden:
        body = secrets.secret_body(job.place, hidden, apply.labels_for(job.service))
        path = core_path("secrets", job.place.namespace, secrets.secret_name(job.place))
        _apply(job, path, body, f"apply Secret {job.place.namespace}/{body['metadata']['name']}")


def _has(job: Job, live: Json, image: str | None, env: Mapping[str, Any]) -> bool:
    container = container_of(template_of(live, job.place), job.place)
    present = {e["name"]: e.get("value") for e in container.get("env") or () if "name" in e}
    return (image is None or container.get("image") == image) and all(
        present.get(str(name)) == str(value) for name, value in env.items()
    )


def _revisions(job: Job, live: Json) -> tuple[str, list[tuple[int, Json]]]:
    """The current revision's name, and number and pod template of all that are kept."""
    owner = meta(live)["uid"]
    if job.place.kind is WorkloadKind.DEPLOYMENT:
        plural, current = "replicasets", notes_of(live).get(_REVISION, "?")
    elif job.place.facts.rolls:
        plural = "controllerrevisions"
        current = str((live.get("status") or {}).get("updateRevision", "?"))
    else:
        raise PermanentError(f"{job.what}: a {job.place.kind.value} keeps no earlier revisions")
    found: list[tuple[int, Json]] = []
    path = f"/apis/apps/v1/namespaces/{job.place.namespace}/{plural}"
    for page in pages(job.cluster, path, what=plural, deadline=job.deadline, size=_PAGE):
        for item in page:
            controller = owner_of(item)
            if controller is not None and controller[2] == owner:
                found.append(_revision(item))
    return f"revision {current}", found


def _revision(item: Json) -> tuple[int, Json]:
    if "revision" in item:  # a ControllerRevision holds a patch of the template
        return int(item["revision"]), ((item.get("data") or {}).get("spec") or {}).get(
            "template"
        ) or {}
    return int(notes_of(item).get(_REVISION, 0)), (item.get("spec") or {}).get("template") or {}
