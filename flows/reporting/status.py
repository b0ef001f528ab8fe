"""Status of a target between runs: conditions, attempts, what was last tried.

Kept in Git as `status/<environment>/<name>.json` on the reports branch; the newest
commit is the memory of the loop, there is no other. Types and their JSON form only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from flows.approvals.ledger import Ledger
from flows.comparison.drift import Sync
from flows.learning.shelf import Shelf
from flows.reporting.incident_result import IncidentResult
from flows.reporting.proposal_note import ProposalNote
from infrastructure.observed import empty
from infrastructure.pause import PauseFile
from infrastructure.service import Document, Moment

# Far above what the loop writes.
_Count = Annotated[int, Field(ge=0, le=10**9)]
_RECOVERED = IncidentResult.RECOVERED.value


class ConditionType(StrEnum):
    """`Ready` always; the others only while they are true."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DRIFTED = "Drifted"


class Condition(Document):
    """As in Kubernetes. `last_transition_time` changes only when `status` does."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Moment


class Step(Document):
    """One operation of a past plan. `target` None: the incident's root."""

    operation: str
    parameters: dict[str, Any]
    target: str | None = None


class TriedPlan(Document):
    """A plan that was carried out and has not helped. `remedy`: `Plan.remedy`."""

    remedy: str
    planner: str
    steps: tuple[Step, ...]
    at: Moment
    result: str


class Attempts(Document):
    """Failed tries on one (target, spec digest); reset by a verified recovery or new digest.

    `tried` are the plans that did not help; none of them is carried out again before the reset.
    `open_ended` are those of which nobody knows: a temporary error, an outcome never seen.
    """

    spec_digest: str
    count: _Count
    last_at: Moment
    not_before: Moment
    tried: tuple[TriedPlan, ...] = ()
    open_ended: tuple[TriedPlan, ...] = ()


class PastIncident(Document):
    """One incident of the target that was worked on: the loop's memory of what helps.

    `seconds` from the start of the run to the verified recovery; None: it did not recover.
    `approval`: the request that a person approved it by; None: it ran alone. `approved_by`:
    that person, empty where an older UICI wrote it. `by_itself`: a
    fault of the service's own (`flows.learning.relapse`). `idle`: no operation changed anything.
    """

    at: Moment
    run_id: str
    spec_digest: str
    incident_class: str  # name in `knowledge/`
    kinds: tuple[str, ...]
    fields: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    planner: str
    steps: tuple[Step, ...]
    result: str
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    approval: str | None = None
    approved_by: str = ""
    by_itself: bool = False
    idle: bool = False


class LastIncident(Document):
    """The newest incident of the target: an unchanged one is not planned, nor told, again."""

    fingerprint: str
    run_id: str
    plan_digest: str
    planner: str
    result: str
    at: Moment
    escalated: bool = False
    flapping: bool = False  # told because it recovers and fails again; over when it rests
    severity: str = ""  # of the alert that tells people
    told: str = ""  # its summary
    summary: str = ""  # what came of the newest try; telling a person is none
    diagnosis: str = ""  # what was held to be wrong, in a sentence


class TargetStatus(Document):
    """One file of `status/`."""

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    api_version: Literal["uici/v1"] = "uici/v1"
    kind: Literal["ServiceStatus"] = "ServiceStatus"
    target: str
    observed_revision: str
    spec_digest: str
    sync: str
    health: str
    conditions: tuple[Condition, ...]
    attempts: Attempts | None = None
    last_incident: LastIncident | None = None
    history: tuple[PastIncident, ...] = ()  # newest last, bounded by learning.history
    well_since: Moment | None = None  # before it became what it is; while well, Ready tells it
    synced_digest: str = (
        ""  # the spec that it was last in sync with, where that is not `specDigest`
    )
    well_digest: str = (
        ""  # the spec that it was well with until another was declared, while it is not well
    )

    @property
    def last_well(self) -> datetime | None:
        """The newest moment of which is known that all was well; None: there is none.

        What a log said before it is about something that is over.
        """
        moments = [past.at for past in self.history if past.result == _RECOVERED]
        moments += [c.last_transition_time for c in self.conditions if _tells_well(c)]
        moments += [self.well_since] if self.well_since is not None else []
        return max(moments, default=None)

    @property
    def last_synced_digest(self) -> str:
        """Digest of the newest spec that it was in sync with; empty: that is not known."""
        if self.synced_digest:
            return self.synced_digest
        if self.sync == Sync.SYNCED:
            return self.spec_digest
        ends = (p.spec_digest for p in reversed(self.history) if p.result == _RECOVERED)
        return next(ends, "")

    def behind(self, digest: str) -> bool:
        """Whether it was last in sync with another spec; False also where that is not known."""
        return self.last_synced_digest not in ("", digest)

    def of_spec(self, digest: str) -> dict[str, str]:
        """What changes where an attempt on another spec is counted, before the world is seen."""
        if digest == self.spec_digest:
            return {}
        return {
            "spec_digest": digest,
            "synced_digest": self.last_synced_digest,
            "well_digest": self.well_before(digest),
        }

    def well_before(self, digest: str) -> str:
        """Digest of the spec that it was well with until this one was declared; empty: none.

        Empty, too, where it was not well any more when its spec became another. What works, and
        is not what Git declares, works with the spec that it was last in sync with.
        """
        known = self.well_digest
        if not known and any(map(_tells_well, self.conditions)):
            known = self.last_synced_digest
        return known if known != digest else ""

    def broke_with(self, digest: str) -> bool:
        """Whether it was well until its spec became another than the one that it was well with."""
        return bool(self.well_before(digest))

    @property
    def not_well_since(self) -> datetime | None:
        """When it was first seen not to be well; None: it is, as far as is known."""
        ready = next((c for c in self.conditions if c.type is ConditionType.READY), None)
        return None if ready is None or _tells_well(ready) else ready.last_transition_time

    @property
    def since(self) -> datetime | None:
        """Since when it has been as it is told of; None: no run has told.

        A fault that came and was mended within one run moves no condition: the history tells.
        """
        times = {c.type: c.last_transition_time for c in self.conditions}
        if not any(map(_tells_well, self.conditions)):
            return times.get(ConditionType.READY)
        return times.get(ConditionType.DRIFTED) or self.last_well


def _tells_well(condition: Condition) -> bool:
    return condition.type is ConditionType.READY and condition.status == "True"


def status_path(target: str) -> str:
    """Path on the reports branch."""
    return f"status/{target}.json"


STATUS_FOLDER = "status"
INTENT_FOLDER = "intents"
REPORT_FOLDER = "reports"
AGENT_FOLDER = "agent"  # `status/agent/<name>.json` tells of the agent itself
REFUSED_PATH = "refused.json"  # the newest desired state that was refused, while it is
HEARTBEAT_PATH = "heartbeat.json"
PAGES_PATH = "pages/index.json"  # what the published pages rest on


def intent_path(run_id: str) -> str:
    """Where an intent stands until its outcome is committed."""
    return f"{INTENT_FOLDER}/{file_name(run_id)}.json"


def file_name(text: str) -> str:
    """A text as a part of a path on the reports branch."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:80] or "run"


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent without an outcome: its run ended before it could report.

    What it meant to do may have happened or not; `targets` are to be looked at again.
    `by` is the installation whose run it is, empty where an older UICI wrote it. Until
    `until`, its run's deadline, that run may still be at work. `planned` are its steps.
    """

    run_id: str
    path: str
    at: datetime | None = None
    desired_revision: str = ""
    targets: tuple[str, ...] = ()
    by: str = ""
    until: datetime | None = None
    planned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reported:
    """What the reports branch tells before a run: the loop's whole memory.

    `refused_revision` is the refused desired state that people were told about already.
    `damaged` names files that could not be read, and why; they count as absent.
    `knowledge` is what was learned, read when it is asked for. `tip` is the commit that
    tells all this; empty: there is none. A status holds the attempt that an open intent
    counts: `counted_by` names that intent's path, by target.
    """

    statuses: Mapping[str, TargetStatus] = field(default_factory=empty)
    refused_revision: str | None = None
    intents: tuple[OpenIntent, ...] = ()
    damaged: tuple[str, ...] = ()
    knowledge: Shelf = field(default_factory=Shelf)
    proposals: Mapping[str, ProposalNote] = field(default_factory=empty)  # by branch
    pauses: tuple[PauseFile, ...] = ()  # by `uici pause`
    approvals: Ledger = field(default_factory=Ledger)
    tip: str = ""
    pages: bytes | None = None  # `pages/index.json`, read by who publishes
    blobs: Mapping[str, str] = field(default_factory=empty)  # status files, by target
    counted_by: Mapping[str, str] = field(default_factory=empty)
