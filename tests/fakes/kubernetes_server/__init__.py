"""A stateful Kubernetes API server in memory, over HTTP on loopback.

It keeps what the real one promises and the executor relies on: resource versions and their
conflicts, server-side apply with field managers, defaulting and validation of what is used,
generations, paging, asynchronous controllers and a kubelet, exec over websocket, logs, events,
metrics, access reviews. Faults are brought about by `faults`.
"""

from collections.abc import Mapping
from typing import Any

from tests.fakes.kubernetes_server.server import FakeKubernetes, Fault

# What environments.yml has to say of every cluster.
LIMITS: Mapping[str, Any] = {
    "pageSize": 1000,
    "maxAnswer": "128Mi",
    "fieldManager": "uici",
    "changeAttempts": 5,
    "readAttempts": 3,
    "firstPause": "200ms",
    "progressDeadline": "10m",
}

__all__ = ["LIMITS", "FakeKubernetes", "Fault"]
