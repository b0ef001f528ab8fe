"""`uici plan`: stages 1 to 4 without the power to act. Nothing is committed or executed."""

from __future__ import annotations

from dataclasses import dataclass

from flows.cases import Case, LeftAlone, open_cases
from flows.compare import Comparison
from flows.listener import NullListener, RunRequest
from flows.observe import SourceFailure
from flows.reconcile import look
from flows.repository.contract import DesiredState
from flows.runtime import Runtime
from infrastructure.drift_kinds import DriftKind


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would find and do now."""

    desired: DesiredState
    comparison: Comparison
    failures: tuple[SourceFailure, ...]
    cases: tuple[Case, ...]
    left: tuple[LeftAlone, ...]

    @property
    def differs(self) -> bool:
        """Whether anything declared differs, also where nothing would be done about it."""
        drifts = (*self.comparison.drifts, *self.comparison.pending)
        return any(drift.kind is not DriftKind.ORPHAN for drift in drifts)


def preview(request: RunRequest, runtime: Runtime) -> Preview:
    """Look, compare, plan and judge.

    Raises:
        InvalidInputError: the request names what is not there.
        TemporaryError: no desired state could be read, now or ever before.
    """
    world = runtime.open_world(request)
    sight = look(world)
    cases, left = open_cases(world, sight.comparison, sight.seen, NullListener())
    failures = tuple(f for e in sight.seen.environments.values() for f in e.failures)
    return Preview(world.desired, sight.comparison, failures, cases, left)
