"""What the agent tells Prometheus about itself: `/metrics` of `uici serve`.

A listener like the log's: it is told of each run and counts. Names and help texts are an
interface, documented in docs/METRICS.md (a test holds the two together). Labels take
values from configuration and enums only, so their number is bounded. Neighbours:
`flows.endpoint` serves it, `flows.serve` tells it of the runs.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flows.comparison.drift import HealthStatus, Incident
from flows.guard import Verdict
from flows.listener import NullListener, RunStoppedError
from flows.llm.protocol import TokenUsage
from flows.reporting.status import ConditionType
from flows.reporting.text import begins_known, fault_seconds
from flows.reporting.values import IncidentResult, RunReport, RunResult, Stage
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome, OutcomeStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# A run that ended without a report: by an error, or because it was asked to end.
FAILED, STOPPED = "failed", "stopped"

# From a look at nothing to a run at its deadline, in seconds.
_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)


class RunMetrics(NullListener):
    """All metrics of one process, and the listener that feeds them. Thread-safe."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        build = Gauge(
            "uici_build_info", "Always 1; the running version.", ["version"], registry=registry
        )
        build.labels(_version()).set(1)
        self._runs = Counter(
            "uici_runs", "Runs that ended, by result.", ["result"], registry=registry
        )
        self._ended = Gauge(
            "uici_last_run_end_timestamp_seconds",
            "When the newest run with this result ended, in seconds since the epoch.",
            ["result"],
            registry=registry,
        )
        self._stages = Histogram(
            "uici_stage_duration_seconds",
            "Duration of one stage of a run that reported.",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._incidents = Counter(
            "uici_incidents",
            "Incidents that were worked on, by result.",
            ["result"],
            registry=registry,
        )
        self._recovery = Histogram(
            "uici_recovery_duration_seconds",
            "From the known beginning of a fault to its verified recovery.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._operations = Counter(
            "uici_operations",
            "Operations that were begun, by result.",
            ["operation", "result"],
            registry=registry,
        )
        self._verdicts = Counter(
            "uici_verdicts",
            "The guard's verdicts on steps of plans, by the rule that decided.",
            ["decision", "rule"],
            registry=registry,
        )
        self._requests = Counter(
            "uici_llm_requests",
            "Requests to the LLM; unanswered: what it cost is not known, the worst case is booked.",
            ["model", "outcome"],
            registry=registry,
        )
        self._tokens = Counter(
            "uici_llm_tokens", "Tokens of answered requests.", ["model", "kind"], registry=registry
        )
        self._cost = Counter(
            "uici_llm_cost_dollars",
            "Cost of answered requests by the prices in platform.yml, in US dollars.",
            ["model"],
            registry=registry,
        )
        self._standing = _Standing()
        registry.register(self._standing)
        for result in (*RunResult, FAILED, STOPPED):
            self._runs.labels(str(result))
        for stage in Stage:
            self._stages.labels(stage.value)
        for outcome in IncidentResult:
            self._incidents.labels(outcome.value)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    # ── what it is told ─────────────────────────────────────────────────────────

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002 - the protocol's
        """See `Listener`."""
        for verdict in verdicts:
            self._verdicts.labels(verdict.decision.value, verdict.rule).inc()

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:  # noqa: ARG002 - the protocol's
        """See `Listener`."""
        if outcome.status is not OutcomeStatus.SKIPPED:
            self._operations.labels(outcome.call.operation, outcome.status.value).inc()

    def run_finished(self, report: RunReport) -> None:
        """See `Listener`."""
        for stage, seconds in report.stage_seconds.items():
            self._stages.labels(stage.value).observe(seconds)
        for incident in report.incidents:
            self._incidents.labels(incident.result.value).inc()
            took = fault_seconds(incident)
            if took is not None and begins_known(incident):
                self._recovery.observe(took)
        if report.comparison.states.keys() >= report.desired.services.keys():
            self._standing.update(report)  # a run about a few targets tells nothing of the rest

    def run(self, reconcile: Callable[[], RunReport]) -> RunReport:
        """Carry out a run and count how it ended, whatever it raised."""
        result = FAILED
        try:
            report = reconcile()
            result = report.result.value
        except RunStoppedError:
            result = STOPPED
            raise
        finally:
            self._runs.labels(result).inc()
            self._ended.labels(result).set_to_current_time()
        return report

    def llm_asked(self, model: str, usage: TokenUsage | None, dollars: float | None) -> None:
        """One request to the LLM. `usage` None: no answer told what it took."""
        self._requests.labels(model, "unanswered" if usage is None else "answered").inc()
        if usage is not None:
            self._tokens.labels(model, "prompt").inc(usage.prompt)
            self._tokens.labels(model, "output").inc(usage.output)
            self._cost.labels(model).inc(dollars or 0.0)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """How the targets stood at the end of the last whole run."""

    environments: tuple[str, ...] = ()
    targets: Tally[tuple[str, str]] = field(default_factory=Tally)
    drifts: Tally[tuple[str, str]] = field(default_factory=Tally)
    stalled: Tally[str] = field(default_factory=Tally)
    refused: int = 0
    paused: frozenset[str] = frozenset()
    approvals: int = 0


class _Standing(Collector):
    """Gauges of the last whole run: replaced as one, so that no scrape sees half of it."""

    def __init__(self) -> None:
        self._snapshot = _Snapshot()

    def update(self, report: RunReport) -> None:
        """Take what this run has seen."""
        targets = {t: s for t, s in report.statuses.items() if t in report.comparison.states}
        drifts = (*report.comparison.drifts, *report.comparison.pending)
        self._snapshot = _Snapshot(
            environments=tuple(sorted({_environment(target) for target in targets})),
            targets=Tally((_environment(t), s.health) for t, s in targets.items()),
            drifts=Tally((_environment(d.target), d.kind.value) for d in drifts),
            stalled=Tally(
                _environment(target)
                for target, status in targets.items()
                if any(c.type is ConditionType.STALLED for c in status.conditions)
            ),
            refused=int(report.desired.refused_revision is not None),
            paused=frozenset(report.paused),
            approvals=len(report.approvals.waiting),
        )

    def collect(self) -> Iterable[Metric]:
        """See `Collector`. Zeros are told, so that what was there is seen to have gone."""
        now = self._snapshot
        targets = GaugeMetricFamily(
            "uici_targets",
            "Targets after the last whole run, by health.",
            labels=["environment", "health"],
        )
        drifts = GaugeMetricFamily(
            "uici_drifts",
            "Drifts that the last whole run found, by kind.",
            labels=["environment", "kind"],
        )
        stalled = GaugeMetricFamily(
            "uici_stalled_targets", "Targets for which a person must act.", labels=["environment"]
        )
        paused = GaugeMetricFamily(
            "uici_paused", "1 while people have paused all actions.", labels=["environment"]
        )
        for environment in now.environments:
            for health in HealthStatus:
                targets.add_metric(
                    [environment, health.value], now.targets[environment, health.value]
                )
            for kind in DriftKind:
                drifts.add_metric([environment, kind.value], now.drifts[environment, kind.value])
            stalled.add_metric([environment], now.stalled[environment])
            paused.add_metric([environment], environment in now.paused)
        yield from (targets, drifts, stalled, paused)
        yield GaugeMetricFamily(
            "uici_desired_state_refused",
            "1 while the newest desired state is refused and the last good one is in force.",
            value=now.refused,
        )
        yield GaugeMetricFamily(
            "uici_waiting_approvals",
            "Plans that wait for a person's approval.",
            value=now.approvals,
        )


def _environment(target: str) -> str:
    return target.partition("/")[0]


def _version() -> str:
    try:
        return version("uici")
    except PackageNotFoundError:  # run from a folder of files, never installed
        return "unknown"
