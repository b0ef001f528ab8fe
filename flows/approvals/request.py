"""What a person is asked to approve: one file `approvals/<id>.json` of the reports branch.

Types and their identity only. The id is a digest over everything that a person is shown and
an approval is bound to, so that a file in which somebody has changed the plan, the revision
or the expiry is no request at all. Neighbours: `flows.approvals.decision`, `ledger`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field

from infrastructure.operations import Risk
from infrastructure.service import Document, Moment

APPROVAL_FOLDER = "approvals"
ID_LENGTH = 12
PERSON = "person"  # as a planner: `flows.plan.PlannerKind`
NO_ID = "0" * ID_LENGTH  # while it is being made
_UNBOUND = (
    *("id", "state", "settled_at", "told"),
    *("pull_request", "number", "branch_commit", "branch_left"),
)


class RequestState(StrEnum):
    """How a request stands, as the agent has last written it. All but WAITING are final."""

    WAITING = "waiting"
    USED = "used"  # an approval of it was used; whatever came of that
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # another request took its place
    OVER = "over"  # nothing is wrong any more, or something else is


class AskedStep(Document):
    """One step of the plan, with what a person has to know about it.

    `risk`: the operation's; `undo`: the operation that undoes it, or what else does; empty: that
    is not told. `verdict`: why it does not run alone.
    """

    operation: str
    target: str
    parameters: dict[str, Any]
    why: str = ""
    expected_effect: str = ""
    risk: Risk = Risk.DESTRUCTIVE
    undo: str = ""
    verdict: str = ""


class AskedPlan(Document):
    """A plan as it is kept while it waits: enough to carry exactly it out, and to judge it."""

    planner: str
    planner_reason: str
    diagnosis: str
    confidence: float
    evidence: tuple[str, ...] = ()
    steps: tuple[AskedStep, ...]
    rollback: tuple[AskedStep, ...] = ()
    runbook: str | None = None
    learned: str | None = None


class Difference(Document):
    """One line of the diff: what Git says and what is."""

    target: str
    kind: str
    field: str = ""
    desired: str = ""
    observed: str = ""
    message: str = ""


class ApprovalRequest(Document):
    """One file of `approvals/`.

    `desired_content`: digest over what desired state says (see `flows.approvals.store`);
    `desired_revision` is its commit when it was asked, for people. `renews`: the request
    that a person asked to be made again. `told`: what became of it, in a sentence. All
    texts are redacted.
    """

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    api_version: Literal["uici/v1"] = "uici/v1"
    kind: Literal["ApprovalRequest"] = "ApprovalRequest"
    id: str = Field(default=NO_ID, pattern=rf"^[0-9a-f]{{{ID_LENGTH}}}$")
    target: str
    fingerprint: str
    plan_digest: str
    plan: AskedPlan
    diff: tuple[Difference, ...] = ()
    facts: tuple[str, ...] = ()
    spec_digest: str
    desired_revision: str
    desired_content: str
    run_id: str
    requested_at: Moment
    expires_at: Moment
    renews: str = ""
    state: RequestState = RequestState.WAITING
    settled_at: Moment | None = None
    told: str = ""
    pull_request: str | None = None  # its address
    number: int | None = None
    branch_commit: str | None = None  # of its branch, once there is one
    branch_left: bool = False  # it has ended, and its branch could not be deleted yet

    @property
    def risk(self) -> Risk:
        """The highest of its steps."""
        return max((s.risk for s in self.plan.steps), key=lambda r: r.rank, default=Risk.READ)

    @property
    def by_hand(self) -> bool:
        """Whether a person wants to do it (`uici run`), and not the loop."""
        return self.plan.planner == PERSON

    @property
    def bound_id(self) -> str:
        """The id that a request of this content has: a digest over all that a person sees."""
        content = self.model_dump(mode="json", exclude=set(_UNBOUND))
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]

    def identified(self) -> ApprovalRequest:
        """The same under its own id."""
        return self.model_copy(update={"id": self.bound_id})

    def settled(self, state: RequestState, now: datetime, told: str) -> ApprovalRequest:
        """The same with its end."""
        return self.model_copy(update={"state": state, "settled_at": now, "told": told})


def request_path(request: str) -> str:
    """Where a request stands on the reports branch."""
    return f"{APPROVAL_FOLDER}/{request}.json"
