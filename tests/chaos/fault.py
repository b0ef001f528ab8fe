"""What a fault is: how it is made, how one knows that it is there, and what is right then."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.oracle import Oracle
from tests.chaos.services import STACK, containers
from tests.chaos.stage import Stage


class Right(StrEnum):
    """What the agent should make of it.

    REPAIR: the world is as Git says again, by the operations that are named. TELL: people are
    told, nothing is changed but what is named. LEAVE: nothing is done, nobody is told; the same
    holds for CONTROL, where nothing is wrong.
    """

    REPAIR = "repaired"
    TELL = "escalated"
    LEAVE = "left alone"
    CONTROL = "control"


# What an operation does to the containers of its service, as the engine records it.
_MAKES = frozenset({"create", "start"})
_ENDS = frozenset({"stop", "kill", "die"})
EVENTS: Mapping[str, frozenset[str]] = {
    "start": frozenset({"start"}),
    "resume": frozenset({"unpause"}),
    "create": _MAKES,
    "scale": _MAKES | _ENDS | {"destroy"},
    "restart": _ENDS | {"start", "restart"},
    "recreate": _MAKES | _ENDS | {"destroy", "rename"},
    "set_resources": frozenset({"update"}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, made and judged by `tests.chaos.play`.

    Attributes:
        kind: the row of the table that it counts in.
        about: what it is done to, in a few words.
        targets: services that have to be worked on or told of.
        right: what the agent should make of it.
        inject: makes it.
        seen: whether the world shows it; looked at until it does, before the agent runs.
        operations: service → operations that may be done there; nothing else may be.
        brings: container → what the fault itself does to it from now on (an engine's restarts).
        mend: what a person does about what only people can mend.
        after: as `operations`, once it was mended.
        told: targets of alerts by which people are told, if not those of `targets`.
        seconds: how long a repair (or an escalation) may take.
        until: what has to be so when it is repaired, beside all that is always so.
    """

    kind: str
    about: str
    targets: tuple[str, ...]
    right: Right
    inject: Callable[[], object]
    seen: Callable[[], bool]
    operations: Mapping[str, frozenset[str]] = field(default_factory=dict)
    brings: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mend: Callable[[], object] | None = None
    after: Mapping[str, frozenset[str]] = field(default_factory=dict)
    told: frozenset[str] | None = None
    seconds: float = 45.0
    until: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Making:
    """What a kind makes its fault from."""

    stage: Stage
    oracle: Oracle
    rng: random.Random

    def any(self, *, but: tuple[str, ...] = (), **like: object) -> str:
        """A service of the stack, of one replica unless asked for, whose `Kind` is like this."""
        wanted = {"replicas": 1, **like}
        fit = [
            name
            for name, kind in STACK.items()
            if name not in but and all(getattr(kind, k) == v for k, v in wanted.items())
        ]
        return self.rng.choice(sorted(fit))

    def post(self, name: str, path: str) -> None:
        """Ask a service to break itself."""
        status = self.oracle.status(name, path)
        if status != 200:
            raise RuntimeError(f"{name}{path} answers {status}")

    def running(self, name: str) -> bool:
        """Whether its (first) container runs."""
        return bool(self.oracle.state(containers(name)[0]).get("Status") == "running")

    def health(self, name: str, status: int | None) -> bool:
        """Whether /health answers so."""
        return self.oracle.status(name) == status


Make = Callable[[Making], Fault]


def allowed(*operations: str) -> frozenset[str]:
    """Operations, checked for spelling."""
    return frozenset(operations) if set(operations) <= EVENTS.keys() else frozenset(EVENTS[""])


def one(name: str, *operations: str) -> Mapping[str, frozenset[str]]:
    """`operations` of a fault with one target."""
    return {name: allowed(*operations)}
