"""Primitives that change what a workload is: create, scale, recreate, limits, rollback.

All of them are server-side apply with a field manager of our own (see `apply`). A conflict
with another manager is reported and nothing is changed, unless the environment's connection
lists that manager under `takeOver`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from executors import secret_env
from executors.kubernetes import apply, secrets
from executors.kubernetes.binding import Json, WorkloadKind, core_path
from executors.kubernetes.errors import FieldConflictError
from executors.kubernetes.objects import STOPPED_REPLICAS, container_of, meta, notes_of, template_of
from executors.kubernetes.reader import read_workload
from executors.kubernetes.revisions import earlier_templates
from executors.kubernetes.session import Job, done
from executors.kubernetes.spelling import respelled
from executors.kubernetes.workloads import replicas_of
from infrastructure.errors import (
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import SecretRef, Service

ROLLED_BACK = "uici.rolled-back-to"  # revision from which a second rollback would swing forward
_APPLY = "application/apply-patch+yaml"  # JSON is YAML, too
_TEMPLATE_KEYS = ("image", "command", "args", "env", "resources")
_PAUSE = 0.2  # seconds between two tries of what must not be left half done
_STEM = 40  # characters of a Job's name in that of its rehearsal: 63 are allowed in all

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
    native = job.service.spec.native.get("workload") or {}
    refuse_on_delete(job, {**(live.get("spec") or {}), **native})
    moment = datetime.now(UTC).isoformat()

    def edit(current: Json, body: Json) -> None:
        apply.lay_over(body, job.service, job.place, values, live=current)
        if image is not None:
            apply.edit_container(body, job.place, current)["image"] = image
        if not partial:
            template = apply.edit_template(body, job.place)
            apply.edit_annotations(template)[apply.RESTARTED_AT] = moment

    with _secrets_kept(job, values, lambda: change(job, edit, dry=True)):
        return change(job, edit)


def update_resources(job: Job) -> PrimitiveResult:
    """Set limits; None keeps a limit as it is. Pods are replaced by the roll-out."""
    refuse_on_delete(job, job.require().get("spec") or {})
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
    refuse_on_delete(job, live.get("spec") or {})
    current, earlier = earlier_templates(job, live)
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


def refuse_on_delete(job: Job, spec: Mapping[str, Any]) -> None:
    """Refuse what would change a template and no pod, and would look as if it had worked.

    Raises:
        PermanentError: the workload's pods are only replaced when somebody deletes them.
    """
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        raise PermanentError(
            f"{job.what}: {job.place} has updateStrategy OnDelete, so no pod would be replaced:"
            " set RollingUpdate, or change it by hand and `restart` with strategy force"
        )


def change(job: Job, edit: Edit, *, dry: bool = False) -> PrimitiveResult:
    """Apply what is ours with an edit; made anew when the object changed in between.

    With `dry` the server only says whether it would.

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
            applied = _apply(job, job.place.path, body, f"apply {job.place}", dry=dry, live=live)
        except FieldConflictError:
            raise
        except ConflictError:
            if attempt == job.policy.attempts:
                raise
            live = read_workload(job.cluster, job.place, job.deadline)
            continue
        return done((applied,) if applied.get("spec") != live.get("spec") else ())
    raise AssertionError("unreachable")  # pragma: no cover


def _apply(
    job: Job,
    path: str,
    body: Mapping[str, Any],
    what: str,
    *,
    dry: bool = False,
    live: Json | None = None,
) -> Json:
    """Server-side apply; other managers' fields are only taken where the connection says so.

    Args:
        job: the call.
        path: of the object.
        body: to apply.
        what: the action and its object, for messages.
        dry: whether the server only says if it would.
        live: the object as it is. A field that says the same there is no matter of dispute,
            however it is spelled.
    """
    try:
        return _send(job, path, body, what, force="false", dry=dry)
    except FieldConflictError as exc:
        conflict = exc
    if live is not None:
        alike = {**body, "spec": respelled(body["spec"], live.get("spec") or {})}
        if alike != body:
            return _apply(job, path, alike, what, dry=dry)
    if not conflict.managers <= job.policy.take_over:
        raise conflict
    return _send(job, path, body, what, force="true", dry=dry)


def _send(
    job: Job, path: str, body: Mapping[str, Any], what: str, *, force: str, dry: bool
) -> Json:
    query = [("fieldManager", job.policy.manager), ("force", force)]
    if dry:
        query.append(("dryRun", "All"))
    return job.cluster.request(
        "PATCH",
        path,
        what=what,
        deadline=job.deadline,
        query=query,
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

    def made(*, dry: bool = False) -> Json:
        return _apply(job, job.place.path, body, f"apply {job.place}", dry=dry)

    with _secrets_kept(job, values, lambda: made(dry=True)):
        return done((made(),))


def _replace(job: Job, live: Json, values: Mapping[str, str], image: str | None) -> PrimitiveResult:
    """A Job's template can't be changed: it is deleted and made anew.

    From the live one, with desired state laid over: what others gave it stays.

    Raises:
        OutcomeUnknownError: it is deleted, and could not be made.
    """
    body = apply.anew(live)
    apply.lay_over(body, job.service, job.place, values, live=live)
    if image is not None:
        apply.edit_container(body, job.place, live)["image"] = image

    # Under its own name it would be a change of the one that is there: never accepted.
    name = f"{job.place.name[:_STEM]}-uici-rehearsal"
    other = {**body, "metadata": {**body["metadata"], "name": name}}
    _apply(job, f"{job.place.collection}/{name}", other, f"apply {job.place}", dry=True)
    with _secrets_kept(job, values, lambda: None):
        _delete(job, live)
    with _begun(f"{job.what}: {job.place} is deleted and not made again"):
        _await_end(job, live)
        return done((_made(job, body),))


def _delete(job: Job, live: Json) -> None:
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


def _await_end(job: Job, live: Json) -> None:
    """A finalizer may keep it after the request to delete it was answered."""
    while True:
        found = read_workload(job.cluster, job.place, job.deadline)
        if found is None or meta(found)["uid"] != meta(live)["uid"]:
            return
        time.sleep(min(_PAUSE, job.deadline.require(f"{job.place} is still there")))


def _made(job: Job, body: Json) -> Json:
    """Applied; tried again on errors that pass, because nothing is there until it works."""
    attempt = 1
    while True:
        try:
            return _apply(job, job.place.path, body, f"apply {job.place}")
        except TemporaryError:
            if attempt >= job.policy.attempts or job.deadline.left <= _PAUSE:
                raise
        attempt += 1
        time.sleep(_PAUSE)


def _set_replicas(job: Job, replicas: int) -> PrimitiveResult:
    def edit(_: Json, body: Json) -> None:
        body["spec"]["replicas"] = replicas
        apply.edit_annotations(body).pop(STOPPED_REPLICAS, None)

    return change(job, edit)


def desired_env(job: Job) -> dict[str, str]:
    """The declared environment with secrets resolved, without what is left to others.

    Raises:
        PermanentError: a secret can't be resolved.
    """
    but = () if job.workload is None else left_to_others(job.service)
    return secret_env.resolved(job.service, job.resolve_secret, but=but)


def left_to_others(service: Service) -> frozenset[str]:
    """Names of variables that desired state speaks of and leaves to others all the same."""
    theirs = set(service.spec.ignore_differences)
    return frozenset(n for n in service.spec.env if {"/env", f"/env/{n}"} & theirs)


def _hidden(job: Job, values: Mapping[str, str]) -> dict[str, str]:
    return {
        name: values[name]
        for name, value in job.service.spec.env.items()
        if isinstance(value, SecretRef) and name in values
    }


@contextmanager
def _secrets_kept(
    job: Job, values: Mapping[str, str], rehearse: Callable[[], object]
) -> Iterator[None]:
    """Put the values of declared secrets where the pod template refers to them.

    A Secret and its workload are two changes. So the server is asked beforehand whether it
    would take the second, and an error of it that comes all the same does not say that nothing
    changed.

    Args:
        job: the call.
        values: the environment with secrets resolved.
        rehearse: the change within the block, without effect.

    Raises:
        OutcomeUnknownError: the Secret was written, the block raised.
    """
    hidden = _hidden(job, values)
    if not hidden:
        yield
        return
    rehearse()
    body = secrets.secret_body(job.place, hidden, apply.labels_for(job.service))
    shown = f"Secret {job.place.namespace}/{body['metadata']['name']}"
    path = core_path("secrets", job.place.namespace, body["metadata"]["name"])
    _apply(job, path, body, f"apply {shown}")
    with _begun(f"{job.what}: {shown} is written"):
        yield


@contextmanager
def _begun(so_far: str) -> Iterator[None]:
    """What fails in the block has not left everything as it was."""
    try:
        yield
    except OutcomeUnknownError:
        raise
    except UiciError as exc:
        raise OutcomeUnknownError(
            f"{so_far}, then: {exc}",
            remedy="nothing to do by hand: the next run observes and goes on from there",
        ) from exc


def _has(job: Job, live: Json, image: str | None, env: Mapping[str, Any]) -> bool:
    container = container_of(template_of(live, job.place), job.place)
    present = {e["name"]: e.get("value") for e in container.get("env") or () if "name" in e}
    return (image is None or container.get("image") == image) and all(
        present.get(str(name)) == str(value) for name, value in env.items()
    )
