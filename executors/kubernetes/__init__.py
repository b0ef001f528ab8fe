"""The Kubernetes executor. `sdk` is the only home of the `kubernetes` package.

`executor` is the contract; the procedures (`lifecycle`, `rollout`, `evidence`) work over the
protocol of `session`; what needs no cluster (`settings`, `binding`, `objects`, `pods`,
`workloads`, `apply`, `spelling`, `secrets`, `errors`) is pure.
"""

from executors.kubernetes.binding import Binding, claims
from executors.kubernetes.sdk import connect
from executors.kubernetes.settings import Connection

__all__ = ["Binding", "Connection", "claims", "connect"]
