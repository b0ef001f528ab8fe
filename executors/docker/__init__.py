"""The Docker executor. `sdk` is the only home of the Docker SDK.

`executor` is the contract; the procedures (`lifecycle`, `capacity`, `replace_container`,
`evidence`) work over the protocol of `session`; what needs no engine (`spec`,
`shape`, `membership`, `carry_over`, `errors`) is pure.
"""

from executors.docker.binding import Binding
from executors.docker.sdk import Connection, connect

__all__ = ["Binding", "Connection", "connect"]
