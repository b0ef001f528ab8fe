"""Settings of platform.yml about evidence, the model, learning and proposals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infrastructure.config_models.values import Period, Retry, Url
from infrastructure.quantities import Duration, Memory
from infrastructure.service import Document, Name


class EvidenceSettings(Document):
    """What is collected about an incident before it is planned: its dossier.

    Attributes:
        max_tokens: of the whole dossier, by a cautious estimate; what does not fit is left out,
            the least telling first, and said.
        targets: how many of its targets, root first, are asked for logs and resource use.
        log_lines: newest lines read of each, at most what `get_logs` gives.
        log_groups: groups of like lines kept of each log.
        max_chars: what is kept of each log.
        facts: how many facts.
        fact_chars: what is kept of each.
        changes: newest commits of desired state told that touched a target.
        changes_within: at most this old.
        pattern_timeout: what one error pattern may take on one target's log; then the rest of
            the log is left out.
        similar: past incidents told.
    """

    max_tokens: int = Field(ge=200)
    targets: int = Field(ge=1, le=20)
    log_lines: int = Field(ge=1, le=5000)
    log_groups: int = Field(ge=1, le=500)
    max_chars: int = Field(ge=200)
    facts: int = Field(ge=1)
    fact_chars: int = Field(ge=80)
    changes: int = Field(ge=0, le=50)
    changes_within: Period
    pattern_timeout: Period
    similar: int = Field(ge=0, le=20)


class LlmPrice(Document):
    """US dollars per million tokens.

    Attributes:
        model: its name.
        input: of a prompt.
        output: of an answer.
    """

    model: str
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class LlmAbilities(Document):
    """What the endpoint can do: `auto` finds out by one small question, kept on disk.

    Attributes:
        strict_schema: whether it keeps a JSON Schema.
        tools: whether it calls tools beside a schema.
        keep_for: what was found out.
    """

    strict_schema: Literal["auto", "yes", "no"]
    tools: Literal["auto", "yes", "no"]
    keep_for: Period


class CircuitBreaker(Document):
    """After so many failed questions in a row the endpoint is left alone for a while.

    Attributes:
        failures: failed questions in a row.
        open_for: how long it is left alone; then one question is the trial.
    """

    failures: int = Field(ge=1)
    open_for: Period


class IsolationSettings(Document):
    """What a model may look up before it plans, by read-only operations.

    Attributes:
        rounds: how often it may ask; 0: never.
        calls: operations of one incident together.
        timeout: of the reads together.
        result_tokens: what it gets of each answer.
    """

    rounds: int = Field(ge=0, le=10)
    calls: int = Field(ge=0, le=50)
    timeout: Period
    result_tokens: int = Field(ge=50)


class LlmSettings(Document):
    """The endpoint, shared by the agents.

    Attributes:
        base_url: any that speaks OpenAI's API.
        api_key: normally `"${env:OPENAI_API_KEY:-}"`; empty: no model, unless `keyRequired` is
            false.
        key_required: false for a local endpoint that takes no key.
        timeout: of one question, retries included.
        retry: after 429, 5xx and broken connections.
        repair_rounds: how often an answer that does not fit goes back with what is wrong.
        max_response_bytes: a larger answer is none.
        prices: for budgets and reports; of a model without a price only requests and tokens are
            limited.
        abilities: what the endpoint can do.
        circuit_breaker: when a failing endpoint is left alone.
        isolation: what the model may look up before it plans.
        nothing_to_do_for: so long a model's word that a service works as declared holds, unless
            its fingerprint changes.
        keep_answers_for: so long the same question, word for word, is answered from disk; `0s`:
            never.
    """

    base_url: Url
    api_key: str = Field(repr=False)
    key_required: bool
    timeout: Period
    retry: Retry
    repair_rounds: int = Field(ge=0, le=5)
    max_response_bytes: int = Field(ge=1024)
    prices: tuple[LlmPrice, ...]
    abilities: LlmAbilities
    circuit_breaker: CircuitBreaker
    isolation: IsolationSettings
    nothing_to_do_for: Period
    keep_answers_for: Duration


class LearningSettings(Document):
    """What is kept of incidents that were worked on.

    Attributes:
        trust_after: verified recoveries in a row, without a failure, after which a class is
            planned without a model.
        relapse_within: a fault of a service's own that comes back so soon after a verified
            recovery has not been mended by it.
        give_way_after: after so many endings of a trusted plan that nobody saw (a temporary
            error, an unknown outcome) the next planner has its turn on that target.
        history: past incidents kept in a target's status.
        classes: how many classes are kept; the longest unused goes first.
    """

    trust_after: int = Field(ge=1)
    relapse_within: Period
    give_way_after: int = Field(ge=1)
    history: int = Field(ge=1, le=200)
    classes: int = Field(ge=1, le=10_000)


class Forge(Document):
    """Where pull requests are opened.

    Attributes:
        kind: `gitea` is Forgejo, too.
        api_url: with the API's path.
        project: `owner/name`; for GitLab the path or the number.
        token: with the right to write pull requests and issues.
        timeout: of one request.
    """

    kind: Literal["github", "gitlab", "gitea"]
    api_url: Url
    project: str = Field(min_length=1)
    token: str = Field(repr=False)
    timeout: Period


class ProposalLimits(Document):
    """What a proposal may ask for at most.

    Attributes:
        memory: of one instance.
        replicas: of one service.
    """

    memory: Memory
    replicas: int = Field(ge=1)


class ProposalSettings(Document):
    """When the coding agent proposes another desired state, and where.

    Attributes:
        agent: of agents.yml: its model, prompt and budgets.
        enabled: false: nothing is proposed.
        recurrences: of the same drift on the same declaration that make a cause …
        within: … within this time.
        headroom: the factor on the highest use seen.
        limits: what a proposal may ask for at most.
        branch_prefix: of its branches.
        forge: where pull requests are opened; null: a branch without a pull request.
    """

    agent: Name
    enabled: bool
    recurrences: int = Field(ge=2)
    within: Period
    headroom: float = Field(gt=1, le=4)
    limits: ProposalLimits
    branch_prefix: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*/$")
    forge: Forge | None
