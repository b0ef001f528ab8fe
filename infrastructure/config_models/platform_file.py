"""platform.yml, as models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infrastructure.config_models.approval_settings import ApprovalSettings
from infrastructure.config_models.git_access import (
    CommitSignatures,
    CommitSigning,
    HttpsAccess,
    SshAccess,
)
from infrastructure.config_models.planning import (
    EvidenceSettings,
    LearningSettings,
    LlmSettings,
    ProposalSettings,
)
from infrastructure.config_models.values import Identifier, Period, Regex, Retry, Url
from infrastructure.operations import Risk
from infrastructure.quantities import Duration
from infrastructure.service import (
    Backoff,
    Document,
    Freeze,
    Mode,
    Name,
    Overrun,
    Windows,
)


class Author(Document):
    """Identity of UICI's commits."""

    name: str = Field(min_length=1)
    email: str = Field(min_length=3)


class Retention(Document):
    """How long report files stay on the tip of the reports branch (history keeps all)."""

    reports: Duration
    gc_every: Duration


class GitSettings(Document):
    """Where desired state is read and reports are written."""

    remote: str | None  # null: an embedded bare repository, seeded from `seed`
    seed: str
    branch: str = Field(min_length=1)
    path: str
    # Name of a file of kind Pause: while it is there, nothing is changed.
    pause_file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.ya?ml$")
    reports_branch: str = Field(min_length=1)
    author: Author
    timeout: Period
    push: Retry
    # Highest risk that may run on a local commit alone while the remote can't be reached.
    local_commit_suffices_up_to: Risk
    heartbeat: Duration
    retention: Retention
    max_file_bytes: int = Field(ge=1024)
    ssh: SshAccess | None = None
    https: HttpsAccess | None = None
    signatures: CommitSignatures | None = None  # null: every commit of the branch is believed
    signing: CommitSigning | None = None  # null: the agent's own commits are not signed


class PrefectServer(Document):
    """`embedded`: `uici serve` starts a server on this address; `external`: it is there."""

    mode: Literal["embedded", "external"]
    host: str
    port: int = Field(ge=1, le=65535)
    ready_timeout: Period


class PrefectSettings(Document):
    """How UICI meets Prefect."""

    api_url: Url
    server: PrefectServer
    work_pool: Name
    poll_interval: Period
    deployment: Name
    tags: tuple[str, ...]


class ReconcileSettings(Document):
    """The loop's own limits."""

    interval: Period
    deadline: Period
    concurrent_incidents: int = Field(ge=1, le=64)


class ServerTls(Document):
    """Certificate (with its chain) and key as PEM files, absolute or relative to the process."""

    cert_file: str = Field(min_length=1)
    key_file: str = Field(min_length=1)


class HttpEndpoint(Document):
    """Where the agent listens. Its pages ask for no password: loopback, or a safe network."""

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: ServerTls | None = None


class WebhookSettings(Document):
    """What Alertmanager may post to serve.http. An empty token: nothing is taken.

    `per_minute` requests in the long run, `burst` at once.
    """

    path: str = Field(pattern=r"^/[A-Za-z0-9/_-]+$")
    token: str = Field(repr=False)
    max_bytes: int = Field(ge=1024, le=64 * 1024 * 1024)
    per_minute: int = Field(ge=1)
    burst: int = Field(ge=1)


class ServeSettings(Document):
    """`uici serve` itself. `http`: /healthz, /readyz and /metrics; null: nothing listens."""

    http: HttpEndpoint | None
    webhook: WebhookSettings | None = None


class GraceSettings(Document):
    """How long a state must last before it is a drift: transients mend themselves.

    Counted from what the engine or the alert says; where nobody says (missing, a failed
    probe, a breached metric), from the first run that saw it.
    """

    missing: Duration
    stopped: Duration
    starting: Duration
    unhealthy: Duration
    # A drift younger than this, or without a known age, is confirmed by a second look.
    confirm_after: Duration


class CrashLoopSettings(Document):
    """Restart count that makes a loop, when the instance was started this recently."""

    restarts: int = Field(ge=1)
    within: Duration


class BreakerSettings(Document):
    """When `share` of at least `minimum` targets drift at once, monitoring is suspected."""

    share: float = Field(gt=0, le=1)
    minimum: int = Field(ge=2)


class CompareSettings(Document):
    """Thresholds of the comparison."""

    grace: GraceSettings
    crash_loop: CrashLoopSettings
    breaker: BreakerSettings


class ProbeSettings(Document):
    """HTTP health probes."""

    concurrency: int = Field(ge=1, le=512)


class MetricSettings(Document):
    """How Prometheus' answers are read. `staleness`: an older sample is unknown."""

    staleness: Period
    step: Period
    max_bytes: int = Field(ge=1024)


class AlertSettings(Document):
    """How Alertmanager's answers are read."""

    max_bytes: int = Field(ge=1024)


class ObserveSettings(Document):
    """Limits of observation."""

    probe: ProbeSettings
    metrics: MetricSettings
    alerts: AlertSettings


class Policy(Document):
    """What may be done, by risk and time. A narrower policy can only forbid more.

    `approve` up to which risk a person may let it pass; above: denied. `allow` up to
    which risk it runs alone.
    """

    mode: Mode
    allow_up_to: Risk
    approve_up_to: Risk
    max_attempts: int = Field(ge=0, le=100)
    backoff: Backoff
    # How long the same operation rests on the same target after it was done there.
    cool_down: Duration
    # Of a service's replicas, how many a step may take down at once; one is always allowed.
    replica_share: float = Field(gt=0, le=1)
    window: Windows = ()
    freezes: tuple[Freeze, ...] = ()
    overrun: Overrun

    @property
    def windows(self) -> tuple[Windows, ...]:
        """Those of each layer that has any: of every layer one has to be open."""
        return (self.window,) if self.window else ()


class BlastRadius(Document):
    """Caps on how much is changed. An hour is any sixty minutes."""

    targets_per_run: int = Field(ge=1)
    steps_per_run: int = Field(ge=1)
    steps_per_incident: int = Field(ge=1)
    targets_per_hour: int | None = Field(default=None, ge=1)
    steps_per_hour: int | None = Field(default=None, ge=1)


class EnvironmentBlastRadius(Document):
    """Caps that count only what is changed in one environment."""

    targets_per_run: int | None = Field(default=None, ge=1)
    steps_per_run: int | None = Field(default=None, ge=1)
    targets_per_hour: int | None = Field(default=None, ge=1)
    steps_per_hour: int | None = Field(default=None, ge=1)


class Prune(Document):
    """Removal of what UICI made and Git no longer names; each waits for a person.

    `max_shrink`: share of the services known at the last run that may have left desired
    state; when more did, nothing is removed.
    """

    max_shrink: float = Field(gt=0, le=1)


class EnvironmentPolicy(Document):
    """The environment's own policy; absent fields come from the platform's."""

    mode: Mode | None = None
    allow_up_to: Risk | None = None
    approve_up_to: Risk | None = None
    max_attempts: int | None = Field(default=None, ge=0, le=100)
    backoff: Backoff | None = None
    cool_down: Duration | None = None
    replica_share: float | None = Field(default=None, gt=0, le=1)
    window: Windows = ()
    freezes: tuple[Freeze, ...] = ()
    overrun: Overrun | None = None
    blast_radius: EnvironmentBlastRadius = EnvironmentBlastRadius()
    prune: Prune | None = None  # null: what Git no longer names is told, and never removed


class FlappingSettings(Document):
    """A target that has recovered `recoveries` times within `within` and fails again flaps."""

    recoveries: int = Field(ge=2, le=100)
    within: Period


class GuardSettings(Document):
    """The platform-wide guard. `flapping` null: a target is repaired however often it fails."""

    policy: Policy
    blast_radius: BlastRadius
    # Operations that always wait for a person, whatever their risk.
    always_approve: tuple[Identifier, ...]
    # A model's plan that is less sure of itself changes nothing: the next planner plans.
    min_confidence: float = Field(ge=0, le=1)
    # Paths and addresses that lead to an engine: in a target that has one of them mounted or
    # among its variables, no command is executed.
    engine_access: tuple[Regex, ...]
    flapping: FlappingSettings | None


class VerifySettings(Document):
    """When a repair counts as verified."""

    deadline: Period
    interval: Duration
    stable_for: Duration  # how long a service without any health check must stay up


class SecretSettings(Document):
    """What a secret looks like: literal values under such keys are refused in Git."""

    key_patterns: tuple[Regex, ...]
    redact_patterns: tuple[Regex, ...]


class EscalationSettings(Document):
    """How people are told. An escalation's alert ends after `lasts` unless told again."""

    lasts: Duration


class LogSettings(Document):
    """UICI's own log on stderr."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]


class Platform(Document):
    """platform.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Platform"]
    agent: Name
    data_directory: str = Field(min_length=1)
    log: LogSettings
    git: GitSettings
    prefect: PrefectSettings
    reconcile: ReconcileSettings
    serve: ServeSettings
    observe: ObserveSettings
    compare: CompareSettings
    evidence: EvidenceSettings
    guard: GuardSettings
    verify: VerifySettings
    llm: LlmSettings
    learning: LearningSettings
    proposals: ProposalSettings
    approvals: ApprovalSettings
    escalation: EscalationSettings
    secrets: SecretSettings
