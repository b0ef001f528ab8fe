"""What a kubelet makes of pods. Pure: a pod in, its status out.

Used by the server in memory, and by the contract suite to play the kubelet of a real API
server that has none. Tests steer it by annotations of a pod.
"""

from __future__ import annotations

import hashlib
from typing import Any

Json = dict[str, Any]

KILLED = "uict.example/killed"  # exit code: the container ended with it and is backing off
SICK = "uict.example/sick"  # any text: the readiness probe fails
BROKEN_ARGS = ["/no/such/program"]
MISSING_IMAGE = "uict-nowhere:1"


def next_status(pod: Json, *, now: str) -> Json | None:
    """The status that a kubelet would report now; None: as it is.

    Args:
        pod: with `spec` and `status`.
        now: an RFC 3339 time.
    """
    status: Json = pod.get("status") or {}
    notes = pod["metadata"].get("annotations") or {}
    spec = pod["spec"]
    container = spec["containers"][0]
    present = (status.get("containerStatuses") or [{}])[0]
    running = (present.get("state") or {}).get("running")
    wanted: Json
    if container["image"] == MISSING_IMAGE:
        message = f'Back-off pulling image "{MISSING_IMAGE}"'
        wanted = _waiting(container, "ImagePullBackOff", message)
    elif container.get("args") == BROKEN_ARGS:
        wanted = _waiting(
            container, "CrashLoopBackOff", "back-off 10s restarting", code=128, now=now
        )
    elif KILLED in notes:
        code = int(notes[KILLED])
        message = "back-off 10s restarting failed container"
        wanted = _waiting(container, "CrashLoopBackOff", message, code=code, now=now)
    else:
        started = running["startedAt"] if running else now
        wanted = _running(pod, container, started=started, ready=SICK not in notes)
    if _same(present, wanted):
        return None
    ready_text = "True" if wanted["ready"] else "False"
    return {
        "phase": "Running" if "running" in wanted["state"] or wanted["restartCount"] else "Pending",
        "podIP": "127.0.0.1",
        "hostIP": "127.0.0.1",
        "startTime": status.get("startTime") or now,
        "conditions": [
            _condition("Initialized", "True", now),
            _condition("Ready", ready_text, now),
            _condition("ContainersReady", ready_text, now),
            _condition("PodScheduled", "True", now),
        ],
        # Annotations are about the first container; the others run.
        "containerStatuses": [
            wanted,
            *(_running(pod, other, started=now) for other in spec["containers"][1:]),
        ],
    }


def _running(pod: Json, container: Json, *, started: str, ready: bool = True) -> Json:
    identity = f"{pod['metadata']['uid']}{container['name']}"
    return {
        **_named(container),
        "ready": ready,
        "started": True,
        "restartCount": 0,
        "containerID": f"containerd://{hashlib.sha256(identity.encode()).hexdigest()}",
        "state": {"running": {"startedAt": started}},
        "lastState": {},
    }


def _same(present: Json, wanted: Json) -> bool:
    """Whether nothing is to be reported; times of what has ended do not count."""
    keys = ("ready", "restartCount")
    if any(present.get(key) != wanted[key] for key in keys):
        return False
    now_waits = (wanted["state"].get("waiting") or {}).get("reason")
    return bool(((present.get("state") or {}).get("waiting") or {}).get("reason") == now_waits)


def _named(container: Json) -> Json:
    return {"name": container["name"], "image": container["image"], "imageID": ""}


def _waiting(
    container: Json, reason: str, message: str, *, code: int | None = None, now: str = ""
) -> Json:
    ended: Json = {}
    if code is not None:
        why = "OOMKilled" if code == 137 and "oom" in message else "Error"
        ended = {
            "terminated": {"exitCode": code, "reason": why, "startedAt": now, "finishedAt": now}
        }
    return {
        **_named(container),
        "ready": False,
        "started": False,
        "restartCount": 1 if code is not None else 0,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": ended,
    }


def _condition(kind: str, status: str, now: str) -> Json:
    return {"type": kind, "status": status, "lastTransitionTime": now}
