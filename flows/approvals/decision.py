"""What a person said about a request, and what became of it: small files beside it.

`approvals/<id>/<decision|renewal>-<…>.json` and `approvals/<id>/used-<run>.json`. Each has a
name of its own, so that two who decide at the same moment both stay visible, and none of
them is ever changed. Types only; whether one counts is `flows.approvals.standing`'s.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from flows.approvals.request import APPROVAL_FOLDER, ApprovalRequest
from infrastructure.service import Document, Moment

MAX_REASON = 500


class Answer(StrEnum):
    """What a person said. RENEW: ask again, about a request that has ended."""

    APPROVE = "approve"
    REJECT = "reject"
    RENEW = "renew"


class Way(StrEnum):
    """How a person said it."""

    COMMAND = "command"  # uici approve, uici reject
    PREFECT = "prefect"  # the form in Prefect's UI
    MERGE = "merge"  # a pull request's merge; read from desired state, never from a file


class Decision(Document):
    """One person's word about one request, with everything that it is bound to."""

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    api_version: Literal["uici/v1"] = "uici/v1"
    kind: Literal["ApprovalDecision"] = "ApprovalDecision"
    request: str
    answer: Answer
    plan_digest: str
    desired_content: str
    expires_at: Moment
    by: str = Field(max_length=200)
    way: Way
    reason: str = Field(default="", max_length=MAX_REASON)
    at: Moment

    def is_about(self, request: ApprovalRequest) -> bool:
        """Whether it is bound to exactly this request."""
        return (
            self.request == request.id
            and self.plan_digest == request.plan_digest
            and self.desired_content == request.desired_content
            and self.expires_at == request.expires_at
        )


class Use(Document):
    """That a run takes an approval: written with the run's intent, before its first step."""

    model_config = ConfigDict(extra="ignore")

    api_version: Literal["uici/v1"] = "uici/v1"
    kind: Literal["ApprovalUse"] = "ApprovalUse"
    request: str
    plan_digest: str
    run_id: str
    by: str
    way: Way
    at: Moment


def decision_path(decision: Decision) -> str:
    """A path of its own for every decision."""
    content = decision.model_dump_json().encode()
    return f"{folder(decision.request)}/decision-{hashlib.sha256(content).hexdigest()[:16]}.json"


def use_path(request: str, run_id: str) -> str:
    """A path of its own for every run."""
    return f"{folder(request)}/used-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}.json"


def folder(request: str) -> str:
    """Where everything about a request stands, but the request itself."""
    return f"{APPROVAL_FOLDER}/{request}"
