"""What a run has to tell about approvals. Values only; made by `flows.approvals.settling`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.approvals.request import ApprovalRequest, request_path
from infrastructure.observed import empty


@dataclass(frozen=True, slots=True)
class ApprovalNews:
    """`asked`: new requests; `ended`: those that nobody has to answer any more.

    `forgotten`: paths of the reports branch that are no longer kept. `waiting`: sentences
    by the incident's fingerprint, about every request that waits.
    """

    asked: tuple[ApprovalRequest, ...] = ()
    ended: tuple[ApprovalRequest, ...] = ()
    forgotten: tuple[str, ...] = ()
    waiting: Mapping[str, str] = field(default_factory=empty)

    @property
    def files(self) -> dict[str, bytes | None]:
        """What is written on the reports branch; redacted when it was asked."""
        written = (*self.asked, *self.ended)
        return {
            **dict.fromkeys(self.forgotten),
            **{request_path(r.id): request_bytes(r) for r in written},
        }


def request_bytes(request: ApprovalRequest) -> bytes:
    """A request as it stands on the reports branch."""
    text = request.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return f"{text}\n".encode()
