"""A run as Prefect's UI shows it: task runs, log lines, events, artifacts, the run's name.

The run never waits for Prefect: what is to be shown goes into an `Outbox`, and a task on
the flow's event loop sends it, in order, with the client that the flow run has anyway. A
Prefect API that is slow or dies in the middle costs the showing, never the healing.
Everything is redacted here before it leaves. Neighbour: `flows.prefect_edge.flow`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import structlog
from prefect import Task
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate, LogCreate
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Completed, Crashed, Failed, Running

from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.guard import Decision, Verdict
from flows.listener import NullListener
from flows.logging_setup import plain_line
from flows.plan import Plan
from flows.prefect_edge.progress import PROGRESS_KEY, Progress, Shown
from flows.prefect_edge.run_page import Artifact, RunPage
from flows.reporting.run_summary import asked_fields, drift_fields, run_name
from flows.reporting.status import AGENT_FOLDER, ConditionType, TargetStatus
from flows.reporting.text import plain
from flows.reporting.values import IncidentReport, IncidentResult, RunReport
from flows.repository.contract import CommitResult
from flows.verify import CheckState, Verification, VerificationResult
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.redaction import Redactor

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

LOGGER = "uici"

# What Prefect's client raises for an API that is gone, refuses, or answers nonsense
# (pydantic's ValidationError and json's JSONDecodeError are ValueErrors).
API_ERRORS = (httpx.HTTPError, PrefectException, TimeoutError, ValueError, OSError)

# A request that takes longer is a Prefect API that hangs. A server on SQLite that is busy waits
# for its lock for ten seconds by itself before it answers.
_REQUEST_SECONDS = 20.0
# One may be the API's bad moment; the run's end waits for so many in a row.
_MAX_FAILURES = 2
# A refusal that whatever follows will get, too: signed out, forbidden, too slow, too much.
_TO_ALL = frozenset({401, 403, 408, 429})
_LOG_BATCH = 100  # lines a request; Prefect refuses bodies of more than a megabyte

Send = Callable[["PrefectClient"], Awaitable[object]]


async def _incident() -> None:
    """Never called: Prefect wants a function behind each task run."""


_INCIDENT_TASK = Task(_incident, name="incident")


class Outbox:
    """What is to be sent to the Prefect API, sent in order by the flow's event loop.

    `put` and `log` may be called from any thread and return at once. What fails is dropped,
    and after two in a row to which there was no answer everything else, with one warning.
    """

    def __init__(self, client: PrefectClient, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Send | None] = asyncio.Queue()
        self._lines: list[LogCreate] = []
        self._failures = 0  # in a row
        self._pump = asyncio.create_task(self._send_all())

    def put(self, send: Send) -> None:
        """Send this after all that was put before."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, send)

    def log(self, level: int, text: str, *, task_run_id: UUID | None) -> None:
        """A line in the run's log."""
        line = LogCreate(
            name=LOGGER,
            level=level,
            message=text,
            timestamp=datetime.now(UTC),
            flow_run_id=self.flow_run_id,
            task_run_id=task_run_id,
        )
        # Which list it is, is known on the loop only: sending a batch replaces it.
        self._loop.call_soon_threadsafe(lambda: self._lines.append(line))

    async def close(self) -> None:
        """Send what is left; returns when it is sent or given up."""
        await self._queue.put(None)
        await self._pump

    async def _send_all(self) -> None:
        while (send := await self._queue.get()) is not None:
            await self._send(send)
            await self._send_lines()
        await self._send_lines()

    async def _send_lines(self) -> None:
        while self._lines and self._failures < _MAX_FAILURES:
            batch, self._lines = self._lines[:_LOG_BATCH], self._lines[_LOG_BATCH:]
            await self._send(lambda client, batch=batch: client.create_logs(batch))  # type: ignore[misc]  # bound now, not when called

    async def _send(self, send: Send) -> None:
        if self._failures >= _MAX_FAILURES:
            return
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await send(self._client)
        except API_ERRORS as exc:
            # Who refuses is there: what follows may be taken.
            self._failures = 0 if _refused(exc) else self._failures + 1
            gone = self._failures >= _MAX_FAILURES
            rest = "this run is not shown further in Prefect" if gone else "Prefect lacks a part"
            structlog.get_logger(LOGGER).warning(
                "prefect_unreachable" if gone else "prefect_request_failed",
                error=f"{type(exc).__name__}: {exc}",
                consequence=f"{rest}; the report is in Git",
            )
        else:
            self._failures = 0


def _refused(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_client_error and error.response.status_code not in _TO_ALL
    return isinstance(error, ObjectNotFound)


@dataclass(slots=True)
class Told:
    """What Prefect was told in earlier runs of this process: events tell what is new.

    Lost when the process ends, and then told once more; but for what stands still, of which
    the status says since when. Used by one run at a time, and by a run's threads under its lock.
    """

    drifts: set[tuple[str, str, str]] = field(default_factory=set)
    escalated: set[str] = field(default_factory=set)
    own_alerts: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)  # targets whose status was looked at
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_drifts(self, comparison: Comparison) -> list[dict[str, Any]]:
        """Rows of the drifts that the last look at their target did not have."""
        rows = [drift_fields(drift) for drift in comparison.drifts]
        keys = [(row["target"], row["kind"], row["field"]) for row in rows]
        with self.lock:
            fresh = [row for row, key in zip(rows, keys, strict=True) if key not in self.drifts]
            kept = {key for key in self.drifts if key[0] not in comparison.states}
            self.drifts = kept | set(keys)
        return fresh

    def new_own_alerts(self, comparison: Comparison) -> list[str]:
        """Names of alerts about the agent itself that the last run did not see."""
        names = set(comparison.ignored_alerts)
        with self.lock:
            fresh, self.own_alerts = sorted(names - self.own_alerts), names
        return fresh

    def new_stalled(
        self, statuses: Mapping[str, TargetStatus], began: datetime
    ) -> list[tuple[TargetStatus, str]]:
        """Targets that stand still since this run, and why; one that moves again is forgotten.

        What this process sees for the first time was told by the one before, if it is older
        than the run, which `began` then.
        """
        found = {
            target: (status, condition)
            for target, status in statuses.items()
            for condition in status.conditions
            if condition.type is ConditionType.STALLED and condition.status == "True"
        }
        with self.lock:
            fresh = [
                (status, condition.message)
                for target, (status, condition) in sorted(found.items())
                if target not in self.stalled
                and (target in self.seen or condition.last_transition_time >= began)
            ]
            self.stalled = (self.stalled - statuses.keys()) | found.keys()
            self.seen |= statuses.keys()
        return fresh

    def forget_escalation(self, fingerprint: str) -> None:
        """It is over: the same fault, should it come again, is told again."""
        with self.lock:
            self.escalated.discard(fingerprint)

    def new_escalation(self, fingerprint: str) -> bool:
        """Whether this is the first time that this incident is escalated."""
        with self.lock:
            if fingerprint in self.escalated:
                return False
            self.escalated.add(fingerprint)
            return True


class PrefectListener(NullListener):
    """Shows one run in Prefect. See the module's text for what it promises."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        redactor: Redactor,
        page: RunPage,
        told: Told,
    ) -> None:
        self._outbox = outbox
        self._redactor = redactor
        self._page = page
        self._told = told
        self._progress = Progress()
        self._progress_id: UUID | None = None  # written and read by the outbox only
        self._progress_begun = False
        self._tasks: dict[str, UUID] = {}  # fingerprint → open or ended task run
        self._ended: set[str] = set()

    def log_line(self, level: int, event: Mapping[str, Any]) -> None:
        """Takes UICI's log lines (see `flows.logging_setup.mirrored_to`)."""
        text = self._text(plain_line(event))
        self._outbox.log(level, text, task_run_id=self._tasks.get(str(event.get("incident"))))

    def drifts_found(self, comparison: Comparison) -> None:
        """One event for each target that has a new drift."""
        by_target: dict[str, list[dict[str, Any]]] = {}
        for row in self._told.new_drifts(comparison):
            by_target.setdefault(row["target"], []).append(row)
        for target, rows in by_target.items():
            self._emit("uici.drift.detected", target, {"drifts": rows})
        for alert in self._told.new_own_alerts(comparison):
            summary = f"{alert} fires about the agent itself, which never acts on itself"
            self._emit("uici.escalated", f"{AGENT_FOLDER}/{alert}", {"summary": summary})

    def planned(self, incident: Incident, plan: Plan) -> None:
        """One task run an incident, named after it."""
        kinds = ", ".join(dict.fromkeys(drift.kind.value for drift in incident.drifts))
        name = self._text(f"{incident.root}: {kinds}")
        message = self._text(plan.diagnosis)
        task_run_id = uuid4()
        self._tasks[incident.fingerprint] = task_run_id
        flow_run_id = self._outbox.flow_run_id
        self._outbox.put(
            lambda client: client.create_task_run(
                _INCIDENT_TASK,
                flow_run_id=flow_run_id,
                dynamic_key=incident.fingerprint,
                id=task_run_id,
                name=name,
                state=Running(message=message),
            )
        )

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """Steps that may be done make the length of the progress."""
        allowed = sum(verdict.decision is Decision.ALLOWED for verdict in verdicts)
        self._progress.judged(incident.fingerprint, allowed)

    def intent_committed(self, result: CommitResult) -> None:  # noqa: ARG002 - the protocol's
        """The progress begins."""
        if (shown := self._progress.begun()) is not None:
            self._progress_begun = True
            self._show(shown)

    def operation_started(self, incident: Incident, call: OperationCall) -> None:
        """What the progress shows until it ends."""
        words = f"{call.operation} on {call.target} …"
        self._show(self._progress.operation(incident.fingerprint, words, ended=False))

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        """One event for each operation that was sent."""
        status = outcome.status.value.replace("_", " ")
        words = f"{outcome.call.operation} on {outcome.call.target}: {status}"
        self._show(self._progress.operation(incident.fingerprint, words, ended=True))
        if outcome.status is OutcomeStatus.SKIPPED:
            return
        payload = {
            "operation": outcome.call.operation,
            "status": outcome.status.value,
            "seconds": outcome.seconds,
            "changed": outcome.changed,
            "error": outcome.error,
            "incident": incident.fingerprint,
        }
        self._emit("uici.operation.executed", outcome.call.target, payload)

    def verified(self, incident: Incident, verification: Verification) -> None:
        """A recovery is told at once; anything else waits for the end of the run."""
        words = f"{incident.root}: {verification.result.value.replace('_', ' ')}"
        self._show(self._progress.verified(incident.fingerprint, words))
        if verification.result is not VerificationResult.RECOVERED:
            return
        payload = {"incident": incident.fingerprint, "seconds": verification.seconds}
        # Only the root was verified; of the others, those that were looked at and are well.
        well = {check.target for check in verification.checks if check.state is CheckState.PASSED}
        self._told.forget_escalation(incident.fingerprint)
        for target in (t for t in incident.targets if t == incident.root or t in well):
            self._emit("uici.target.recovered", target, payload)
        text = f"verified after {verification.seconds:.1f} s"
        self._end_task(incident.fingerprint, Completed(name="Recovered", message=text))

    def run_finished(self, report: RunReport) -> None:
        """Ends the task runs, tells escalations, writes artifacts if anything happened."""
        for incident in report.incidents:
            fingerprint = incident.incident.fingerprint
            self._end_task(fingerprint, _task_state(incident, self._text(incident.summary)))
            if incident.result is IncidentResult.ESCALATED and self._told.new_escalation(
                fingerprint
            ):
                payload = {"incident": fingerprint, "summary": incident.summary}
                self._emit("uici.escalated", incident.incident.root, payload)
        for asked in report.approvals.asked:
            self._emit("uici.approval.requested", asked.target, asked_fields(asked))
        for status, why in self._told.new_stalled(report.statuses, report.started_at):
            self._emit("uici.target.stalled", status.target, {"reason": why, "summary": why})
        self._show(Progress.ended(run_name(report)))
        for artifact in self._page.artifacts(report):
            self._artifact(artifact)
        self.name_run(run_name(report))

    def name_run(self, name: str) -> None:
        """Give the flow run a name that says what happened."""
        text = self._text(name)
        flow_run_id = self._outbox.flow_run_id
        self._outbox.put(lambda client: client.set_flow_run_name(flow_run_id, text))

    def abandon(self, reason: str) -> None:
        """The run ended without a report: no task run may look as if it still worked."""
        for fingerprint in list(self._tasks):
            self._end_task(fingerprint, Crashed(message=self._text(reason)))

    def _text(self, text: str) -> str:
        return self._redactor.text(text)

    def _end_task(self, fingerprint: str, state: State[None]) -> None:
        task_run_id = self._tasks.get(fingerprint)
        if task_run_id is None or fingerprint in self._ended:
            return
        self._ended.add(fingerprint)
        self._outbox.put(lambda client: client.set_task_run_state(task_run_id, state, force=True))

    def _artifact(self, artifact: Artifact) -> None:
        made = ArtifactCreate(
            key=artifact.key,
            type=artifact.kind,
            data=artifact.data,
            description=artifact.description,
            flow_run_id=self._outbox.flow_run_id,
        )
        self._outbox.put(lambda client: client.create_artifact(made))

    def _show(self, progress: Shown) -> None:
        """The progress artifact, made at its first state and written over afterwards."""
        if not self._progress_begun:
            return
        words = plain(self._text(progress.words))
        flow_run_id = self._outbox.flow_run_id

        async def send(client: PrefectClient) -> None:
            if self._progress_id is None:
                made = ArtifactCreate(
                    key=PROGRESS_KEY,
                    type="progress",
                    data=progress.percent,
                    description=words,
                    flow_run_id=flow_run_id,
                )
                self._progress_id = (await client.create_artifact(made)).id
            else:
                update = ArtifactUpdate(data=progress.percent, description=words)
                await client.update_artifact(self._progress_id, update)

        self._outbox.put(send)

    def _emit(self, event: str, target: str, payload: Mapping[str, Any]) -> None:
        clean = self._redactor.data(dict(payload))

        async def send(_: PrefectClient) -> None:
            emit_event(event=event, resource=resource(target), payload=clean)

        self._outbox.put(send)


def resource(target: str) -> dict[str, str]:
    """A target as Prefect's events name it: `uici.target.<environment>.<name>`."""
    environment, _, name = target.partition("/")
    return {
        "prefect.resource.id": f"uici.target.{environment}.{name}",
        "prefect.resource.name": target,
        "uici.environment": environment,
    }


def _task_state(report: IncidentReport, summary: str) -> State[None]:
    match report.result:
        case IncidentResult.FAILED:
            return Failed(message=summary)
        case IncidentResult.UNKNOWN:
            return Failed(name="OutcomeUnknown", message=summary)
        case result:
            return Completed(name=result.value.capitalize(), message=summary)
