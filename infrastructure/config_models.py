"""Shape of `infrastructure/config/*.yml`: one Pydantic model a file.

No field that a user could want to set has a default here: a value lives in the YAML
file or nowhere. Optional fields (`| None`, empty containers) mean "not used". The
committed JSON Schemas are generated from these models (`make schemas`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import Effect, Risk
from infrastructure.quantities import Duration
from infrastructure.service import PATTERN_WORDS, Backoff, Document, Mode, Name

_IDENTIFIER = r"^[a-z][a-z0-9_]*$"
_URL = r"^https?://\S+$"
PATTERN_WORDS |= {
    _IDENTIFIER: "be lower-case letters, digits and '_', with a letter first",
    _URL: "be an address such as http://127.0.0.1:9090",
}

Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER, max_length=63)]
Url = Annotated[str, StringConstraints(pattern=_URL)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from exc
    return pattern


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("write a duration longer than 0s")
    return value


Period = Annotated[Duration, AfterValidator(_positive)]
Regex = Annotated[str, AfterValidator(_compiles), Field(json_schema_extra={"format": "regex"})]


# ── platform.yml ────────────────────────────────────────────────────────────────


class Author(Document):
    """Identity of UICI's commits."""

    name: str = Field(min_length=1)
    email: str = Field(min_length=3)


class Retry(Document):
    """Bounded attempts with exponential, fully jittered back-off."""

    attempts: int = Field(ge=1, le=20)
    backoff: Backoff


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
    reports_branch: str = Field(min_length=1)
    author: Author
    timeout: Period
    push: Retry
    # Highest risk that may run on a local commit alone while the remote can't be reached.
    local_commit_suffices_up_to: Risk
    heartbeat: Duration
    retention: Retention
    max_file_bytes: int = Field(ge=1024)


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


class HttpEndpoint(Document):
    """Where the agent listens. Nothing asks for a password there: loopback, or a safe network."""

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)


class ServeSettings(Document):
    """`uici serve` itself. `http`: /healthz, /readyz and /metrics; null: nothing listens."""

    http: HttpEndpoint | None


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


class EvidenceSettings(Document):
    """What is collected about an incident before it is planned.

    `targets`: how many of its targets, root first, are asked for logs. `log_lines`: newest
    lines of each; `max_chars`: what is kept of them, cut in the middle. `facts`: how many
    facts; `fact_chars`: what is kept of each.
    """

    targets: int = Field(ge=1, le=20)
    log_lines: int = Field(ge=1, le=5000)
    max_chars: int = Field(ge=200)
    facts: int = Field(ge=1)
    fact_chars: int = Field(ge=80)


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
    """What may be done, by risk. A narrower policy can only forbid more.

    `approve` up to which risk a person may let it pass; above: denied. `allow` up to
    which risk it runs alone.
    """

    mode: Mode
    allow_up_to: Risk
    approve_up_to: Risk
    max_attempts: int = Field(ge=0, le=100)
    backoff: Backoff


class EnvironmentPolicy(Document):
    """The environment's own policy; absent fields come from the platform's."""

    mode: Mode | None = None
    allow_up_to: Risk | None = None
    approve_up_to: Risk | None = None
    max_attempts: int | None = Field(default=None, ge=0, le=100)
    backoff: Backoff | None = None


class BlastRadius(Document):
    """Caps of one run."""

    targets_per_run: int = Field(ge=1)
    steps_per_run: int = Field(ge=1)
    steps_per_incident: int = Field(ge=1)


class GuardSettings(Document):
    """The platform-wide guard."""

    policy: Policy
    blast_radius: BlastRadius
    # Operations that always wait for a person, whatever their risk.
    always_approve: tuple[Identifier, ...]
    # A model's plan that is less sure of itself changes nothing: the next planner plans.
    min_confidence: float = Field(ge=0, le=1)


class VerifySettings(Document):
    """When a repair counts as verified."""

    deadline: Period
    interval: Duration
    stable_for: Duration  # how long a service without any health check must stay up


class LlmPrice(Document):
    """US dollars per million tokens."""

    model: str
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class LlmSettings(Document):
    """The endpoint, shared by the agents. No API key: the runbooks plan."""

    base_url: Url
    # Normally "${env:OPENAI_API_KEY:-}"; empty: no LLM, unless key_required is false.
    api_key: str = Field(repr=False)
    key_required: bool
    timeout: Period
    retry: Retry
    repair_rounds: int = Field(ge=0, le=5)
    max_response_bytes: int = Field(ge=1024)
    prices: tuple[LlmPrice, ...]


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
    escalation: EscalationSettings
    secrets: SecretSettings


# ── agents.yml ──────────────────────────────────────────────────────────────────


class Budget(Document):
    """Upper limits; whichever is reached first ends the asking."""

    requests: int = Field(ge=0)
    tokens: int = Field(ge=0)
    dollars: float = Field(ge=0)


class Budgets(Document):
    """Spending limits of one agent."""

    incident: Budget
    run: Budget
    day: Budget


class AgentLlm(Document):
    """The agent's own model. Endpoint and key are in platform.yml, once."""

    model: str = Field(min_length=1)
    temperature: float = Field(ge=0, le=2)
    max_output_tokens: int = Field(ge=64)
    max_prompt_tokens: int = Field(ge=256)
    prompt: str = Field(min_length=1)  # file beside the config


class AgentIdentity(Document):
    """What is the agent itself, beside what is found from the runtime at start-up.

    `names`: service, container or workload names and alert `service` labels.
    `lives_on`: the same for what it needs to live (Prefect server, database, Git host).
    `native_ids`: engine ids, for where the runtime can't be asked.
    `labels`: an object that carries all of these is the agent.
    """

    names: tuple[str, ...] = Field(min_length=1)
    lives_on: tuple[str, ...]
    native_ids: tuple[str, ...]
    labels: dict[str, str]


class Agent(Document):
    """One agent's settings."""

    description: str
    llm: AgentLlm
    budgets: Budgets
    identity: AgentIdentity


class Agents(Document):
    """agents.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Agents"]
    agents: dict[Name, Agent] = Field(min_length=1)


# ── environments.yml ────────────────────────────────────────────────────────────


class BasicAuth(Document):
    """HTTP basic authentication."""

    username: str
    password: str = Field(repr=False)


class Tls(Document):
    """Files for TLS: own authority, client certificate. Relative to environments.yml."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class HttpSource(Document):
    """A Prometheus- or Alertmanager-compatible server. Several: tried or merged in order."""

    url: Url
    timeout: Period
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    tls: Tls | None = None


class DetectionRule(Document):
    """One sign that the environment is here; exactly one field is set."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    file: str | None = None  # a socket or file that exists
    env: str | None = None  # an environment variable that is set
    url: Url | None = None  # an address that answers (instance metadata)

    @model_validator(mode="after")
    def _one_sign(self) -> Self:
        if [self.file, self.env, self.url].count(None) != 2:
            raise ValueError("give exactly one of file, env, url; another sign is another rule")
        return self


class Environment(Document):
    """One place where services run."""

    executor: Identifier
    connection: dict[str, Any] = Field(repr=False)  # checked by the executor's own model
    detect: tuple[DetectionRule, ...]
    deadline: Period
    concurrency: int = Field(ge=1, le=128)
    prometheus: tuple[HttpSource, ...]
    alertmanager: tuple[HttpSource, ...]
    policy: EnvironmentPolicy


class Environments(Document):
    """environments.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Environments"]
    environments: dict[Name, Environment] = Field(min_length=1)


# ── operations.yml ──────────────────────────────────────────────────────────────


class Inverse(Document):
    """The operation that undoes this one. Templates see `parameters` and `before`.

    `before` holds the observed spec of the target before the step: image, env, memory,
    cpu, replicas.
    """

    operation: Identifier
    parameters: dict[str, Any]


class Operation(Document):
    """One universal operation."""

    description: str = Field(min_length=1)
    risk: Risk
    parameters: dict[str, Any]  # JSON Schema of an object
    # Parameter → JSON pointer into the Service's spec: as a repair the operation runs only
    # with the value that Git declares there.
    bounds: dict[str, Annotated[str, StringConstraints(pattern=r"^/")]] = Field(
        default_factory=dict
    )
    # Its result is by design not what Git declares: never a repair.
    leaves_desired_state: bool = False
    inverse: Inverse | None = None
    irreversible: bool = False
    timeout: Period
    effect: Effect


class Operations(Document):
    """operations.yml"""

    api_version: Literal["uici/v1"]
    kind: Literal["Operations"]
    operations: dict[Identifier, Operation] = Field(min_length=1)


# ── command_translations.yml ────────────────────────────────────────────────────


class TranslationStep(Document):
    """One call of a primitive, or a group done instance by instance.

    Values of `with` and `when` are sandboxed Jinja2 templates over `parameters`,
    `service` (desired spec) and `target`; a value that is one expression keeps its type.
    `each: instance` repeats `do` for every instance in turn, the next only when the last
    call of the group succeeded.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["call"]}, {"required": ["each", "do"]}]}
    )

    call: Identifier | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: str | bool | None = None
    each: Literal["instance"] | None = None
    do: tuple[TranslationStep, ...] = ()

    @model_validator(mode="after")
    def _call_or_group(self) -> Self:
        is_call = self.call is not None and self.each is None and not self.do
        is_group = self.call is None and self.each is not None and self.do and not self.with_
        if not is_call and not is_group:
            raise ValueError("write either call, with its arguments in with, or each and do")
        return self


class CommandTranslations(Document):
    """command_translations.yml: executor (or `platform`) → operation → steps."""

    api_version: Literal["uici/v1"]
    kind: Literal["CommandTranslations"]
    translations: dict[Identifier, dict[Identifier, tuple[TranslationStep, ...]]]


# ── runbooks.yml ────────────────────────────────────────────────────────────────


class ErrorPattern(Document):
    """A log line that tells something, and what it usually means."""

    name: Name
    regex: Regex
    meaning: str


class RunbookCondition(Document):
    """All that is given must hold.

    `kinds`: at least one of these; `all_kinds`: each of these; `only_kinds`: no other kind.

    `fields`: at least one ConfigDrift is about one of these fields (JSON pointers
    without the leading slash, first segment); `only_fields`: no ConfigDrift about
    another. `pattern`: an error pattern found in the evidence.
    """

    kinds: tuple[DriftKind, ...] = ()
    all_kinds: tuple[DriftKind, ...] = ()
    only_kinds: tuple[DriftKind, ...] = ()
    fields: tuple[str, ...] = ()
    only_fields: tuple[str, ...] = ()
    pattern: Name | None = None


class RunbookStep(Document):
    """One step. Parameter templates see `service` (desired spec) and `drifts`."""

    operation: Identifier
    parameters: dict[str, Any]
    why: str


class Runbook(Document):
    """What to do about a class of incidents, without a model."""

    name: Name
    when: RunbookCondition
    diagnosis: str
    steps: tuple[RunbookStep, ...]


class Runbooks(Document):
    """runbooks.yml: the first runbook whose condition holds plans."""

    api_version: Literal["uici/v1"]
    kind: Literal["Runbooks"]
    patterns: tuple[ErrorPattern, ...]
    runbooks: tuple[Runbook, ...]
