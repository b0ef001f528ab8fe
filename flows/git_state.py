"""Git: desired state in, reports out. The only module that imports `git`.

The agent keeps a bare clone of its own under the data directory; no working tree of a
user is ever touched. Desired state is read at a commit; reports go to a branch of their
own, committed here first and then pushed, never by force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from infrastructure.errors import Problem
from infrastructure.service import Service


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What Git says should run.

    `revision` is `<branch>@sha1:<40 hex>`. When the newest commit does not validate,
    `revision` and `services` are the last good ones, `problems` say what is wrong and
    `refused_revision` is the commit that was refused. `stale` tells that the remote could
    not be reached, and why; what is in force is then the newest that was ever fetched.
    """

    revision: str
    services: Mapping[str, Service]
    problems: tuple[Problem, ...] = ()
    refused_revision: str | None = None
    stale: str | None = None


class Durability(StrEnum):
    """How far a commit got."""

    PUSHED = "pushed"
    LOCAL = "local"  # on the agent's own disk; pushed as soon as the remote is back


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit on the reports branch. `error` says why it was not pushed."""

    sha: str
    durability: Durability
    error: str = ""
