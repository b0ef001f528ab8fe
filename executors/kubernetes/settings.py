"""What people write about a cluster: its connection in environments.yml. Pure: no SDK.

Limits that a user could want to set (pages, attempts, deadlines) have no default here, so that
environments.yml is the one place that says them. What is absent is something that is not wanted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from executors.kubernetes.binding import WorkloadKind
from infrastructure.quantities import Duration, Memory
from infrastructure.service import Document, Name


class Connection(Document):
    """`connection` of an environment whose executor is kubernetes.

    Attributes:
        namespaces: those that may be looked at and changed; the first is the default.
        page_size: objects that one request lists.
        max_answer: bytes of one answer; a longer one makes the environment unknown. A page of
            a list is the longest that there is.
        field_manager: our name in server-side apply.
        change_attempts: how often a change is tried when the object changed in between.
        read_attempts: how often a read is tried on 429 and 5xx, while there is time.
        first_pause: before the second try of a read; doubles from there.
        progress_deadline: after which a StatefulSet or DaemonSet whose pods do not come up is
            taken to be stuck; a Deployment has such a time of its own.
        kubeconfig: path of a kubeconfig; absent: the service account of the pod that the
            agent runs in.
        context: of the kubeconfig; absent: its current one.
        cluster_wide: list all namespaces in one request; takes a ClusterRole.
        kinds: looked at, granted and checked beside those that services are bound to; absent:
            those alone (`executors.kubernetes.binding.kinds_of`).
        take_over: field managers (`kubectl-edit`, `kubectl-patch`, `kubectl-set` …) whose
            changes to declared fields are taken back. All others keep what they own, and the
            conflict is reported. Absent: all others.
        agent_namespace: what may be done in the namespace that the agent itself runs in.
    """

    namespaces: Annotated[tuple[Name, ...], Field(min_length=1)]
    page_size: int = Field(ge=1, le=5000)
    max_answer: Memory = Field(ge=2**20)
    field_manager: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    change_attempts: int = Field(ge=1, le=20)
    read_attempts: int = Field(ge=1, le=10)
    first_pause: Duration
    progress_deadline: Duration
    kubeconfig: str | None = None
    context: str | None = None
    cluster_wide: bool = False
    kinds: tuple[WorkloadKind, ...] = ()
    take_over: tuple[str, ...] = ()
    agent_namespace: Literal["protected", "shared"] = "protected"

    @model_validator(mode="after")
    def _context_needs_kubeconfig(self) -> Connection:
        if self.context is not None and self.kubeconfig is None:
            raise ValueError("context is one of a kubeconfig: write kubeconfig, too")
        return self
