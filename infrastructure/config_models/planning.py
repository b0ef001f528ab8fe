"""Settings of platform.yml about evidence, the model, learning and proposals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infrastructure.config_models.values import Period, Retry, Url
from infrastructure.quantities import Duration, Memory
from infrastructure.service import Document, Name


class EvidenceSettings(Document):
    """What is collected about an incident before it is planned: its dossier.

    `max_tokens`: of the whole dossier, by a cautious estimate; what does not fit is left out,
    the least telling first, and said. `targets`: how many of its targets, root first, are
    asked for logs and resource use. `log_lines`: newest lines read of each. `log_groups`:
    groups of like lines kept of each log; `max_chars`: what is kept of each log. `facts`: how
    many facts; `fact_chars`: what is kept of each. `changes`: newest commits of desired
    state told, at most as old as `changes_within`.
    `pattern_timeout`: what one error pattern may take on one target's log. `similar`: past
    incidents told.
    """

    max_tokens: int = Field(ge=200)
    targets: int = Field(ge=1, le=20)
    log_lines: int = Field(ge=1, le=5000)  # what get_logs gives at most
    log_groups: int = Field(ge=1, le=500)
    max_chars: int = Field(ge=200)
    facts: int = Field(ge=1)
    fact_chars: int = Field(ge=80)
    changes: int = Field(ge=0, le=50)
    changes_within: Period
    pattern_timeout: Period
    similar: int = Field(ge=0, le=20)


class LlmPrice(Document):
    """US dollars per million tokens."""

    model: str
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class LlmAbilities(Document):
    """What the endpoint can do: `auto` finds out by one small question, kept on disk."""

    strict_schema: Literal["auto", "yes", "no"]
    tools: Literal["auto", "yes", "no"]
    keep_for: Period


class CircuitBreaker(Document):
    """After so many failed questions in a row the endpoint is left alone for a while."""

    failures: int = Field(ge=1)
    open_for: Period


class IsolationSettings(Document):
    """What a model may look up before it plans, by read-only operations.

    `rounds`: how often it may ask; 0: never. `calls`: operations of one incident together.
    `seconds` of `timeout` go to the reads. `result_tokens`: what it gets of each answer.
    """

    rounds: int = Field(ge=0, le=10)
    calls: int = Field(ge=0, le=50)
    timeout: Period
    result_tokens: int = Field(ge=50)


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
    abilities: LlmAbilities
    circuit_breaker: CircuitBreaker
    isolation: IsolationSettings
    nothing_to_do_for: Period  # a model's word that a service works as declared holds so long
    keep_answers_for: Duration  # the same question is not asked twice within; 0: it is


class LearningSettings(Document):
    """What is kept of incidents that were worked on.

    `trust_after`: verified recoveries in a row, without a failure, after which a class is
    planned without a model. `history`: past incidents kept in a target's status.
    `give_way_after`: after so many endings of a trusted plan that nobody saw (a temporary
    error, an unknown outcome) the next planner has its turn on that target.
    `classes`: how many classes are kept; the longest unused goes first.
    `relapse_within`: a fault of a service's own that comes back so soon after a verified
    recovery has not been mended by it.
    """

    trust_after: int = Field(ge=1)
    relapse_within: Period
    give_way_after: int = Field(ge=1)
    history: int = Field(ge=1, le=200)
    classes: int = Field(ge=1, le=10_000)


class Forge(Document):
    """Where pull requests are opened. `project`: `owner/name`, or GitLab's path or number."""

    kind: Literal["github", "gitlab", "gitea"]
    api_url: Url
    project: str = Field(min_length=1)
    token: str = Field(repr=False)
    timeout: Period


class ProposalLimits(Document):
    """What a proposal may ask for at most."""

    memory: Memory
    replicas: int = Field(ge=1)


class ProposalSettings(Document):
    """When the coding agent proposes another desired state, and where.

    `recurrences` of the same drift within `within` make a cause. `headroom`: the factor on
    the highest use seen. `forge`: null makes a branch without a pull request.
    """

    agent: Name
    enabled: bool
    recurrences: int = Field(ge=2)
    within: Period
    headroom: float = Field(gt=1, le=4)
    limits: ProposalLimits
    branch_prefix: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]*/$")
    forge: Forge | None
