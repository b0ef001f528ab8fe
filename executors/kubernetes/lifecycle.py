"""Primitives that change whether pods run: start, stop, restart, wait.

A pod can't be stopped and started again; a workload can be asked to keep none. `stop` notes
how many it kept before, `start` goes back to that.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from executors.kubernetes import apply
from executors.kubernetes.binding import Json, WorkloadKind, core_path
from executors.kubernetes.objects import STOPPED_REPLICAS, meta, notes_of
from executors.kubernetes.pods import observed_pod
from executors.kubernetes.revisions import of_current_revision
from executors.kubernetes.rollout import change, refuse_on_delete
from executors.kubernetes.session import Job, done, uid
from executors.kubernetes.workloads import is_observed, replicas_of, roll_out
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    UiciError,
)
from infrastructure.observed import EngineHealth, InstanceState, ObservedInstance, ObservedSpec
from infrastructure.operations import PrimitiveResult

_POLL_FIRST, _POLL_MOST = 0.1, 1.0  # seconds between two looks, doubling


def start(job: Job) -> PrimitiveResult:
    """Ask for as many pods as before the stop; let those that wait after a crash begin anew."""
    workload = job.require()
    if replicas_of(workload, job.place) == 0:
        return _unstop(job, workload)
    waiting = [
        pod
        for pod in job.chosen
        if _seen(job, pod).state in (InstanceState.RESTARTING, InstanceState.STOPPED)
    ]
    return done(_delete(job, waiting, grace=None))


def stop(job: Job) -> PrimitiveResult:
    """Ask for no pod, and note how many there were.

    How long they may take to end is the pods' own matter: their spec says so.
    """
    workload = job.require()
    replicas = replicas_of(workload, job.place)
    if replicas == 0:
        return done(())
    if not job.place.facts.scales and not job.place.facts.suspends:
        raise PermanentError(
            f"{job.what}: a {job.place.kind.value} has no number of pods that could be set to"
            " none: remove it, or give it a nodeSelector"
        )

    def edit(live: Json, body: Json) -> None:
        if job.place.facts.suspends:
            body.setdefault("spec", {})["suspend"] = True
            return
        before = replicas_of(live, job.place) or job.service.spec.replicas
        apply.edit_annotations(body)[STOPPED_REPLICAS] = str(before)
        body.setdefault("spec", {})["replicas"] = 0

    return change(job, edit)


def restart(job: Job) -> PrimitiveResult:
    """Have every pod replaced; a workload that was stopped is started.

    Strategy `rolling` leaves it to the workload's own roll-out, which keeps as many pods
    available as it says there; otherwise the pods are deleted at the same time, with
    `grace_seconds` to finish.
    """
    workload = job.require()
    if replicas_of(workload, job.place) == 0:
        return _unstop(job, workload)
    strategy = job.argument("strategy", "force")
    if strategy == "rolling" and job.place.facts.rolls and job.call.instance is None:
        refuse_on_delete(job, workload.get("spec") or {})
        moment = datetime.now(UTC).isoformat()

        def edit(_: Json, body: Json) -> None:
            template = apply.edit_template(body, job.place)
            apply.edit_annotations(template)[apply.RESTARTED_AT] = moment

        return change(job, edit)
    return done(_delete(job, job.chosen, grace=job.argument("grace_seconds")))


def wait_healthy(job: Job) -> PrimitiveResult:
    """Wait until the workload is rolled out and every pod is up, for `stable_seconds`.

    Raises:
        PermanentError: a pod crashes again and again, or a Job has failed; waiting longer would
            not help. A pod that is being replaced may crash: it only has to go.
        DeadlineExceededError: not up in time; the message names what is waited for.
    """
    job.require()
    stable = float(job.argument("stable_seconds", 0))
    workload, pods = job.workload, job.pods
    pause, since = _POLL_FIRST, None
    while True:
        waits_for = _not_up(job, workload, pods)
        now = time.monotonic()
        if waits_for:
            since = None
        elif since is None:
            since = now
        if since is not None and now - since >= stable:
            return PrimitiveResult(changed=False, native_ids=tuple(uid(pod) for pod in pods))
        if job.deadline.left <= pause:
            raise DeadlineExceededError(f"{job.what}: {waits_for or 'not stable yet'}")
        time.sleep(pause)
        pause = min(2 * pause, _POLL_MOST)
        workload, pods = job.refresh()


def _not_up(job: Job, workload: Json | None, pods: tuple[Json, ...]) -> str:
    """What is waited for; empty: nothing."""
    if workload is None:
        raise NotFoundError(f"{job.what}: {job.place} is gone")
    if not is_observed(workload, job.place.kind):
        return f"{job.place} is not rolled out"
    settled, reason = roll_out(workload, job.place.kind)
    if not settled and job.place.kind is WorkloadKind.JOB:
        raise PermanentError(f"{job.what}: {job.place} has failed: {reason}")
    troubled = tuple(pod for pod in pods if _trouble(job, pod))
    if troubled:  # only then it matters which of them are on their way out
        troubled = of_current_revision(job, workload, troubled)
    waiting = ""
    for pod in troubled:
        seen, told = _seen(job, pod), _trouble(job, pod)
        if seen.state in (InstanceState.RESTARTING, InstanceState.STOPPED):
            raise PermanentError(f"{job.what}: {told}")
        waiting = waiting or told
    if not settled:
        waiting = waiting or f"{job.place} is not rolled out" + (f": {reason}" if reason else "")
    return waiting


def _trouble(job: Job, pod: Json) -> str:
    """What keeps a pod from being up; empty: nothing."""
    seen = _seen(job, pod)
    if seen.state is not InstanceState.RUNNING:
        why = f": {seen.reason}" if seen.reason else ""
        return f"{seen.native.name} is {seen.state.value}{why}"
    if seen.health not in (EngineHealth.NONE, EngineHealth.HEALTHY):
        return f"{seen.native.name} is {seen.health.value}"
    return ""


def _seen(job: Job, pod: Json) -> ObservedInstance:
    return observed_pod(pod, job.place, spec=ObservedSpec(), now=datetime.now(UTC))


def _unstop(job: Job, workload: Json) -> PrimitiveResult:
    noted = notes_of(workload).get(STOPPED_REPLICAS, "")
    replicas = int(noted) if noted.isdigit() else job.service.spec.replicas

    def edit(_: Json, body: Json) -> None:
        if job.place.facts.suspends:
            body.setdefault("spec", {})["suspend"] = False
            return
        body.setdefault("spec", {})["replicas"] = replicas
        apply.edit_annotations(body).pop(STOPPED_REPLICAS, None)

    return change(job, edit)


def _delete(job: Job, pods: tuple[Json, ...] | list[Json], *, grace: int | None) -> list[Json]:
    """Delete pods, so that their controller makes new ones; returns those that were there.

    Raises:
        OutcomeUnknownError: some were deleted, then one could not be.
    """
    gone: list[Json] = []
    for pod in pods:
        try:
            if _delete_one(job, pod, grace):
                gone.append(pod)
        except UiciError as exc:
            if not gone or isinstance(exc, OutcomeUnknownError):
                raise
            raise OutcomeUnknownError(
                f"{job.what}: {len(gone)} of {len(pods)} pods deleted, then: {exc}",
                remedy="nothing to do by hand: the next run observes and goes on from there",
            ) from exc
    return gone


def _delete_one(job: Job, pod: Json, grace: int | None) -> bool:
    """Whether it was there. By uid: a namesake that came since is left alone."""
    options: Json = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": uid(pod)},
    }
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    name = str(meta(pod)["name"])
    try:
        job.cluster.request(
            "DELETE",
            core_path("pods", job.place.namespace, name),
            what=f"delete pod {name}",
            deadline=job.deadline,
            body=options,
        )
    except (NotFoundError, ConflictError):
        return False
    return True
