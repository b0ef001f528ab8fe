"""The Oracle Cloud executor. `sdk` is the only home of the OCI SDK.

`executor` is the contract; `observe` looks; the procedures (`machines`, `containers`,
`evidence`, `work_requests`) work over the protocol of `session`; what needs no service
(`settings`, `answers`, `membership`, `spec`, `errors`) is pure.
"""

from executors.oci.sdk import connect
from executors.oci.settings import Binding, Connection, claims, misfits, unsupported

__all__ = ["Binding", "Connection", "claims", "connect", "misfits", "unsupported"]
