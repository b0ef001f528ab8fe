"""The Kubernetes executor. `sdk` is the only home of the `kubernetes` package.

`executor` is the contract; the procedures (`lifecycle`, `rollout`, `evidence`) work over the
protocol of `session`; what needs no cluster (`binding`, `objects`, `apply`, `secrets`,
`errors`, `permissions`) is pure.
"""

from executors.kubernetes.binding import Binding, claims
from executors.kubernetes.sdk import Connection, connect

__all__ = ["Binding", "Connection", "claims", "connect"]
