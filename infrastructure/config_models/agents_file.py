"""agents.yml, as models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infrastructure.service import Document, Name


class Budget(Document):
    """Upper limits; whichever is reached first ends the asking.

    Attributes:
        requests: to the model.
        tokens: of prompts and answers together.
        dollars: by `llm.prices`.
    """

    requests: int = Field(ge=0)
    tokens: int = Field(ge=0)
    dollars: float = Field(ge=0)


class Budgets(Document):
    """Spending limits of one agent.

    Attributes:
        incident: of one incident in one run.
        run: of one run.
        day: of one day, UTC, over all runs.
    """

    incident: Budget
    run: Budget
    day: Budget


class AgentLlm(Document):
    """The agent's own model. Endpoint and key are in platform.yml, once.

    Attributes:
        model: as the endpoint calls it.
        temperature: 0: the likeliest answer.
        max_output_tokens: of one answer.
        max_prompt_tokens: of one question; what does not fit is left out and said.
        prompt: file of the instructions, relative to the configuration folder.
    """

    model: str = Field(min_length=1)
    temperature: float = Field(ge=0, le=2)
    max_output_tokens: int = Field(ge=64)
    max_prompt_tokens: int = Field(ge=256)
    prompt: str = Field(min_length=1)


class AgentIdentity(Document):
    """What is the agent itself, beside what is found from the runtime at start-up.

    Attributes:
        names: service, container or workload names, and `service` labels of alerts.
        lives_on: the same for what it needs to live (Prefect server, database, Git host).
        native_ids: engine ids, for where the runtime can't be asked.
        labels: an object that carries all of these is the agent; empty: none does.
    """

    names: tuple[str, ...] = Field(min_length=1)
    lives_on: tuple[str, ...]
    native_ids: tuple[str, ...]
    labels: dict[str, str]


class Agent(Document):
    """One agent's settings.

    Attributes:
        description: for people.
        llm: its model.
        budgets: what it may spend.
        identity: what it must never act on.
    """

    description: str
    llm: AgentLlm
    budgets: Budgets
    identity: AgentIdentity


class Agents(Document):
    """agents.yml

    Attributes:
        agents: by name.
    """

    api_version: Literal["uici/v1"]
    kind: Literal["Agents"]
    agents: dict[Name, Agent] = Field(min_length=1)
