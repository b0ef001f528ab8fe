"""agents.yml, as models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infrastructure.service import Document, Name


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
