"""Servers that the demo and the tests need, as children on loopback.

Each is a context manager: it starts one child on a free port of 127.0.0.1 (or a Unix
socket) inside a scratch directory, waits for that child's own readiness, and ends it by
its pid. Nothing is left behind, also when the body raises. A Prefect server is started
by `flows.prefect_edge.server`, the same way. Production uses none of this.
"""

from flows.local_stack.child import Child, answers, child, free_port
from flows.local_stack.engine import DockerEngine, docker, docker_engine
from flows.local_stack.image import STACK_LABEL, build_demo_image, remove_stack
from flows.local_stack.network import container_network
from flows.local_stack.remote import bare_remote
from flows.local_stack.telemetry import alertmanager, prometheus

__all__ = [
    "STACK_LABEL",
    "Child",
    "DockerEngine",
    "alertmanager",
    "answers",
    "bare_remote",
    "build_demo_image",
    "child",
    "container_network",
    "docker",
    "docker_engine",
    "free_port",
    "prometheus",
    "remove_stack",
]
