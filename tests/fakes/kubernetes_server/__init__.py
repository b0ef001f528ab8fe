"""A stateful Kubernetes API server in memory, over HTTP on loopback.

It keeps what the real one promises and the executor relies on: resource versions and their
conflicts, server-side apply with field managers, defaulting and validation of what is used,
generations, paging, asynchronous controllers and a kubelet, exec over websocket, logs, events,
metrics, access reviews. Faults are brought about by `faults`.
"""

from tests.fakes.kubernetes_server.server import FakeKubernetes, Fault

__all__ = ["FakeKubernetes", "Fault"]
