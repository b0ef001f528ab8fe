"""What is remembered of a proposal: a small file of the reports branch. Types only.

The branch at the remote says whether a proposal is open; this says what it was about, so
that one which a person refused is not made again for the same declaration.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from infrastructure.service import Document, Moment

PROPOSAL_FOLDER = "proposals"


class ProposalState(StrEnum):
    """How a proposal stands."""

    OPEN = "open"
    REFUSED = "refused"  # a person closed its pull request or deleted its branch
    LEFT = "left"  # moot, but somebody else has committed to its branch: it is theirs


class NotedExchange(Document):
    """`flows.plan.Exchange`: what the model was asked about it, and its answer, redacted."""

    purpose: str
    model: str
    endpoint: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    seconds: float
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class ProposalNote(Document):
    """One file of `proposals/`. `field` is a JSON pointer into the spec.

    `cost`: tokens, money and the prompt's version, for people; empty: no model was asked.
    """

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    target: str
    field: str
    old: str
    new: str
    spec_digest: str
    branch: str
    commit: str
    state: ProposalState
    at: Moment
    run_id: str
    pull_request: str | None = None  # its address
    number: int | None = None
    exchanges: tuple[NotedExchange, ...] = ()
    cost: str = ""
    # How often its pull request could not be closed, and when that is tried again.
    unclosed: int | None = None
    not_before: Moment | None = None


def note_path(branch: str) -> str:
    """Path on the reports branch."""
    return f"{PROPOSAL_FOLDER}/{branch.rpartition('/')[2]}.json"
