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
from infrastructure.config_models.notification_settings import NotificationSettings
from infrastructure.config_models.planning import (
    EvidenceSettings,
    LearningSettings,
    LlmSettings,
    ProposalSettings,
)
from infrastructure.config_models.report_settings import ReportSettings
from infrastructure.config_models.values import (
    CommitUrl,
    Identifier,
    Period,
    Regex,
    Retry,
    Url,
)
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
    """Identity of UICI's commits.

    Attributes:
        name: as in a commit.
        email: as in a commit.
    """

    name: str = Field(min_length=1)
    email: str = Field(min_length=3)


class Retention(Document):
    """How long report files stay on the tip of the reports branch (history keeps all).

    Attributes:
        reports: how old a report on the branch's tip may become; history keeps all.
        gc_every: how often Git tidies the agent's clone.
    """

    reports: Duration
    gc_every: Duration


class GitSettings(Document):
    """Where desired state is read and reports are written.

    Attributes:
        remote: address or path of the state repository; null: an embedded bare repository in
            `dataDirectory`, filled once from `seed`.
        seed: folder of the example that fills an embedded repository, relative to the
            configuration folder. Not looked at where `remote` is set.
        branch: the branch that is desired state.
        path: the folder in it that holds the files; `.` is the top one.
        pause_file: name of a file of kind Pause in that folder: while it is there, nothing is
            changed.
        reports_branch: the branch that reports, statuses and knowledge are committed to; never
            desired state.
        author: whose name the agent's commits carry.
        timeout: for each conversation with the remote.
        push: how often a push is tried when another writer was faster or the remote does not
            answer.
        local_commit_suffices_up_to: the highest risk that may run on a local commit alone while
            the remote can't be reached.
        heartbeat: after so long without any news a commit says that the agent is still there.
        retention: how long files stay on the reports branch.
        max_file_bytes: a larger file of desired state is refused.
        ssh: how a remote over SSH is reached; null: by the user's own settings.
        https: how a remote over HTTPS is reached; null: without credentials.
        signatures: whose signed commits count; null: every commit of the branch is believed.
        signing: the key that signs the agent's own commits; null: they are not signed.
        commit_url: a commit's page for people, with `{sha}`; null: known from `remote` for the
            public forges, else none.
    """

    remote: str | None
    seed: str
    branch: str = Field(min_length=1)
    path: str
    pause_file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.ya?ml$")
    reports_branch: str = Field(min_length=1)
    author: Author
    timeout: Period
    push: Retry
    local_commit_suffices_up_to: Risk
    heartbeat: Duration
    retention: Retention
    max_file_bytes: int = Field(ge=1024)
    ssh: SshAccess | None = None
    https: HttpsAccess | None = None
    signatures: CommitSignatures | None = None
    signing: CommitSigning | None = None
    commit_url: CommitUrl | None = None


class PrefectServer(Document):
    """`embedded`: `uici serve` starts a server on this address; `external`: it is there.

    Attributes:
        mode: `embedded`: `uici serve` starts a server on this address; `external`: it is there.
        host: address that an embedded server listens on.
        port: its port.
        ready_timeout: how long a server may take until it answers.
    """

    mode: Literal["embedded", "external"]
    host: str
    port: int = Field(ge=1, le=65535)
    ready_timeout: Period


class PrefectSettings(Document):
    """How UICI meets Prefect.

    Attributes:
        api_url: of the Prefect server, with `/api`.
        server: who starts that server.
        work_pool: the pool that `uici serve` takes runs from.
        poll_interval: how often it asks for runs.
        deployment: name of the deployment that reconciles.
        tags: of the deployments.
    """

    api_url: Url
    server: PrefectServer
    work_pool: Name
    poll_interval: Period
    deployment: Name
    tags: tuple[str, ...]


class ReconcileSettings(Document):
    """The loop's own limits.

    Attributes:
        interval: between two scheduled runs.
        deadline: of a whole run; what is not done by then is left to the next.
        concurrent_incidents: how many incidents are worked on at the same time.
    """

    interval: Period
    deadline: Period
    concurrent_incidents: int = Field(ge=1, le=64)


class ServerTls(Document):
    """What the endpoint proves itself with.

    Attributes:
        cert_file: PEM file of the certificate and its chain, absolute or relative to the
            process.
        key_file: PEM file of the private key, likewise.
    """

    cert_file: str = Field(min_length=1)
    key_file: str = Field(min_length=1)


class HttpEndpoint(Document):
    """Where the agent listens. Its pages ask for no password: loopback, or a safe network.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        tls: null: plain HTTP.
    """

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: ServerTls | None = None


class WebhookSettings(Document):
    """What Alertmanager may post to `serve.http`.

    Attributes:
        path: of the address.
        token: the bearer token that it has to send; empty: nothing is taken.
        max_bytes: a larger body is refused.
        per_minute: requests in the long run.
        burst: requests at once.
    """

    path: str = Field(pattern=r"^/[A-Za-z0-9/_-]+$")
    token: str = Field(repr=False)
    max_bytes: int = Field(ge=1024, le=64 * 1024 * 1024)
    per_minute: int = Field(ge=1)
    burst: int = Field(ge=1)


class ServeSettings(Document):
    """What `uici serve` itself listens on.

    Attributes:
        http: /healthz, /readyz and /metrics; null: nothing listens.
        webhook: what Alertmanager may post; null: nothing.
    """

    http: HttpEndpoint | None
    webhook: WebhookSettings | None = None


class GraceSettings(Document):
    """How long a state must last before it is a drift: transients mend themselves.

    Counted from what the engine or the alert says; where nobody says (missing, a failed
    probe, a breached metric), from the first run that saw it.

    Attributes:
        missing: of a service that is not there.
        stopped: of one whose process has ended: an engine's own restart policy goes first.
        starting: of one that was started and is not well yet.
        unhealthy: of a failed probe, a breached metric, an alert.
        confirm_after: a drift younger than this, or without a known age, is confirmed by a
            second look in the same run.
    """

    missing: Duration
    stopped: Duration
    starting: Duration
    unhealthy: Duration
    confirm_after: Duration


class CrashLoopSettings(Document):
    """Restart count that makes a loop, when the instance was started this recently.

    Attributes:
        restarts: so many restarts by the engine …
        within: … and a start this recent.
    """

    restarts: int = Field(ge=1)
    within: Duration


class BreakerSettings(Document):
    """When `share` of at least `minimum` targets drift at once, monitoring is suspected.

    Attributes:
        share: of the targets of an environment.
        minimum: with fewer targets the breaker never opens.
    """

    share: float = Field(gt=0, le=1)
    minimum: int = Field(ge=2)


class CompareSettings(Document):
    """Thresholds of the comparison.

    Attributes:
        grace: how long a state must last before it is a drift.
        crash_loop: what a crash loop is.
        breaker: when monitoring is doubted and not the services.
    """

    grace: GraceSettings
    crash_loop: CrashLoopSettings
    breaker: BreakerSettings


class ProbeSettings(Document):
    """HTTP health probes.

    Attributes:
        concurrency: probes at the same time.
    """

    concurrency: int = Field(ge=1, le=512)


class MetricSettings(Document):
    """How Prometheus' answers are read.

    Attributes:
        staleness: an older sample is unknown.
        step: resolution of the `for` of metric checks: your scrape interval.
        max_bytes: a larger answer is unknown.
    """

    staleness: Period
    step: Period
    max_bytes: int = Field(ge=1024)


class AlertSettings(Document):
    """How Alertmanager's answers are read.

    Attributes:
        max_bytes: a larger answer is unknown.
    """

    max_bytes: int = Field(ge=1024)


class ObserveSettings(Document):
    """Limits of observation.

    Attributes:
        probe: HTTP health probes.
        metrics: how Prometheus' answers are read.
        alerts: how Alertmanager's answers are read.
    """

    probe: ProbeSettings
    metrics: MetricSettings
    alerts: AlertSettings


class Policy(Document):
    """What may be done, by risk and time. A narrower policy can only forbid more.

    Attributes:
        mode: `observe` only looks, `propose` plans, `enforce` acts.
        allow_up_to: up to which risk an operation runs alone.
        approve_up_to: up to which risk a person may let it pass; above: denied.
        max_attempts: failed attempts at the same declaration, after which a person has to look.
        backoff: the wait between them.
        cool_down: how long the same operation rests on the same target after it was done there.
        replica_share: of a service's replicas, how many a step may take down at once; one is
            always allowed.
        window: when anything may be done; empty: always. Of every layer that has windows, one
            has to be open.
        freezes: times in which nothing is done.
        overrun: what becomes of a plan that has begun when its window ends.
    """

    mode: Mode
    allow_up_to: Risk
    approve_up_to: Risk
    max_attempts: int = Field(ge=0, le=100)
    backoff: Backoff
    cool_down: Duration
    replica_share: float = Field(gt=0, le=1)
    window: Windows = ()
    freezes: tuple[Freeze, ...] = ()
    overrun: Overrun

    @property
    def windows(self) -> tuple[Windows, ...]:
        """Those of each layer that has any: of every layer one has to be open."""
        return (self.window,) if self.window else ()


class BlastRadius(Document):
    """Caps on how much is changed. An hour is any sixty minutes.

    Attributes:
        targets_per_run: in one run.
        steps_per_run: in one run.
        steps_per_incident: of one plan.
        targets_per_hour: of all runs; null: no cap.
        steps_per_hour: of all runs; null: no cap.
    """

    targets_per_run: int = Field(ge=1)
    steps_per_run: int = Field(ge=1)
    steps_per_incident: int = Field(ge=1)
    targets_per_hour: int | None = Field(default=None, ge=1)
    steps_per_hour: int | None = Field(default=None, ge=1)


class EnvironmentBlastRadius(Document):
    """Caps that count only what is changed in one environment.

    Attributes:
        targets_per_run: null: the platform's alone.
        steps_per_run: null: the platform's alone.
        targets_per_hour: null: the platform's alone.
        steps_per_hour: null: the platform's alone.
    """

    targets_per_run: int | None = Field(default=None, ge=1)
    steps_per_run: int | None = Field(default=None, ge=1)
    targets_per_hour: int | None = Field(default=None, ge=1)
    steps_per_hour: int | None = Field(default=None, ge=1)


class Prune(Document):
    """Removal of what UICI made and Git no longer names; each waits for a person.

    Attributes:
        max_shrink: share of the services known at the last run that may have left desired
            state; when more did, nothing is removed.
    """

    max_shrink: float = Field(gt=0, le=1)


class EnvironmentPolicy(Document):
    """The environment's own policy; absent fields come from the platform's.

    Attributes:
        mode: as the platform's.
        allow_up_to: as the platform's.
        approve_up_to: as the platform's.
        max_attempts: as the platform's.
        backoff: as the platform's.
        cool_down: as the platform's.
        replica_share: as the platform's.
        window: one of these and one of the platform's has to be open.
        freezes: added to the platform's.
        overrun: as the platform's.
        blast_radius: caps of this environment, beside the platform's.
        prune: null: what Git no longer names is told, and never removed.
    """

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
    prune: Prune | None = None


class FlappingSettings(Document):
    """A target that recovers too often in a short time, and fails again: people are told.

    Attributes:
        recoveries: so many verified recoveries …
        within: … within this time.
    """

    recoveries: int = Field(ge=2, le=100)
    within: Period


class GuardSettings(Document):
    """The platform-wide guard.

    Attributes:
        policy: what may be done, by risk and time.
        blast_radius: caps on how much is changed.
        always_approve: operations that always wait for a person, whatever their risk.
        min_confidence: a model's plan that is less sure of itself changes nothing: the next
            planner plans.
        engine_access: paths and addresses that lead to an engine: in a target that has one of
            them mounted or among its variables, no command is executed.
        flapping: when a target is left to people; null: it is repaired however often it fails.
    """

    policy: Policy
    blast_radius: BlastRadius
    always_approve: tuple[Identifier, ...]
    min_confidence: float = Field(ge=0, le=1)
    engine_access: tuple[Regex, ...]
    flapping: FlappingSettings | None


class VerifySettings(Document):
    """When a repair counts as verified.

    Attributes:
        deadline: until a repaired target has to be as Git says.
        interval: between two looks.
        stable_for: how long a service without any health check must stay up.
    """

    deadline: Period
    interval: Duration
    stable_for: Duration


class SecretSettings(Document):
    """What a secret looks like: literal values under such keys are refused in Git.

    Attributes:
        key_patterns: a literal value under such a key is refused in Git.
        redact_patterns: cut out of everything that leaves the process.
    """

    key_patterns: tuple[Regex, ...]
    redact_patterns: tuple[Regex, ...]


class EscalationSettings(Document):
    """How people are told.

    Attributes:
        lasts: an escalation's alert ends after this, unless it is told again.
    """

    lasts: Duration


class LogSettings(Document):
    """UICI's own log on stderr.

    Attributes:
        level: the least important events that are written.
        format: `auto` is text on a terminal, where at level `info` commands show only warnings
            and errors (`uici reconcile` and `uici run` all with `--verbose`), and JSON lines
            elsewhere.
    """

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]


class Platform(Document):
    """platform.yml

    Attributes:
        agent: which agent of agents.yml reconciles.
        data_directory: the agent's own folder: its clone of the state repository, its locks and
            its notes. `~` is the user's home. Two agents on one machine need two.
        log: UICI's own log.
        git: the state repository.
        prefect: the Prefect server and what is registered there.
        reconcile: the loop's own limits.
        serve: what `uici serve` listens on.
        observe: how the world is looked at.
        compare: when a difference is a drift.
        evidence: what is collected about an incident before it is planned.
        guard: what may be done, how much of it, and what waits for a person.
        verify: when a repair counts.
        llm: the model's endpoint.
        learning: what is kept of incidents that were worked on.
        proposals: when another desired state is proposed.
        approvals: how a step that needs a person is asked for.
        escalation: how people are told.
        notifications: Prefect's own notifications.
        reports: what people find on the reports branch beside the reports.
        secrets: what a secret looks like.
    """

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
    notifications: NotificationSettings = NotificationSettings()
    reports: ReportSettings = ReportSettings()
    secrets: SecretSettings
