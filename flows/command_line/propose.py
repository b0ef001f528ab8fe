"""`uici propose`: look for recurring drift that only another desired state ends."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from flows.listener import RunRequest
from flows.proposals.result import Proposal, Result, Writing
from flows.proposals.wiring import propose
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.runtime import Runtime


def run(request: RunRequest, runtime: Runtime, writing: Writing) -> tuple[Proposal, ...]:
    """Consider the targets' proposals now. Asks no engine.

    Raises:
        InvalidInputError: no such target.
        TemporaryError: no desired state could be read, or a run is under way.
    """
    with runtime.one_run_at_a_time():
        world = runtime.open_world(request)
        return propose(runtime, world, world.statuses, writing)


def failed(proposals: Iterable[Proposal]) -> bool:
    """Whether something has to be tried again."""
    return any(proposal.result is Result.FAILED for proposal in proposals)


def as_data(proposals: Iterable[Proposal]) -> dict[str, Any]:
    """As JSON."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Proposals",
        "proposals": [
            {
                "target": proposal.target,
                "branch": proposal.branch,
                "result": proposal.result.value,
                "told": proposal.told,
                "title": proposal.title,
                "body": proposal.body,
                "diff": proposal.diff,
                "commit": proposal.commit,
                "pullRequest": proposal.pull_request,
            }
            for proposal in proposals
        ],
    }


def notes_data(notes: Mapping[str, ProposalNote]) -> list[dict[str, Any]]:
    """Notes as JSON."""
    found = sorted(notes.values(), key=lambda note: note.branch)
    return [note.model_dump(mode="json", by_alias=True, exclude_none=True) for note in found]


def show(proposals: Iterable[Proposal]) -> None:
    """For people."""
    lines = [line for proposal in proposals for line in _lines(proposal)]
    _print(lines or ["nothing recurs that another desired state would end"])


def show_notes(notes: Mapping[str, ProposalNote], targets: Iterable[str]) -> None:
    """Open proposals of these targets, a line each; nothing if there are none."""
    wanted = set(targets)
    _print(
        f"proposed: {note.target} {note.field} {note.old} → {note.new}:"
        f" {note.pull_request or note.branch}"
        for note in sorted(notes.values(), key=lambda note: note.branch)
        if note.target in wanted and note.state is ProposalState.OPEN
    )


def _lines(proposal: Proposal) -> Iterable[str]:
    yield f"{proposal.result.value}: {proposal.branch or proposal.target}: {proposal.told}"
    if proposal.pull_request:
        yield f"  {proposal.pull_request}"
    if proposal.result is Result.WOULD_OPEN:
        yield from ("", proposal.title, "", *proposal.body.rstrip("\n").split("\n"), "")
    if proposal.diff:  # other separators of lines than this one are its values' own
        yield from proposal.diff.rstrip("\n").split("\n")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write("".join(c if c.isprintable() or c == "\t" else " " for c in line) + "\n")
