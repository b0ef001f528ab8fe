"""Proposals bound to a runtime and a run's world. Wiring only.

`flows.reconcile` calls it at the end of a run, `flows.command_line.propose` for a person.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

import structlog

from flows.open_executors import desired_state_parser
from flows.proposals.advice import Adviser
from flows.proposals.candidate import Candidates
from flows.proposals.cause import Memory
from flows.proposals.edit import UneditableError
from flows.proposals.propose import Proposer
from flows.proposals.result import Proposal, Situation, Writing
from flows.reporting.status import TargetStatus
from flows.runtime import Runtime
from flows.world import World
from infrastructure.config_models import Platform
from infrastructure.errors import UiciError
from infrastructure.service import Mode

_LEAST = 1.0  # seconds of a time-out; with less left nothing is begun
# What code raises that met what it did not expect.
_MISTAKES = (
    UneditableError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    OSError,
)

_log = structlog.get_logger("uici")


def propose(
    runtime: Runtime,
    world: World,
    statuses: Mapping[str, TargetStatus],
    writing: Writing = Writing.FOR_REAL,
) -> tuple[Proposal, ...]:
    """Consider proposals for the world's selected targets; what became of each.

    Args:
        runtime: the process's.
        world: the run's: desired state and notes as its fetch brought them.
        statuses: the newest, with this run's incidents.
        writing: whether anything may be written.

    Raises:
        UiciError: the clone can't be read at all.
    """
    config = world.config
    settings = config.platform.proposals
    store = runtime.git.proposals()
    redact = world.redactor.text
    left = (world.deadline - world.clock.now()).total_seconds()
    proposer = Proposer(
        settings,
        store,
        Candidates(store, lambda: desired_state_parser(config, world.identity)),
        adviser=Adviser(
            _within(config.platform, left),
            settings.agent,
            config.get_agent(settings.agent),
            redact=redact,
            config_directory=config.directory,
            data_directory=config.data_directory,
            now=world.clock.now,
            on_request=runtime.on_llm_request,
        ),
        redact=redact,
        remembered=runtime.proposed,
        until=time.monotonic() + left,
    )
    memory = Memory(
        services=world.services,
        statuses=statuses,
        pattern_causes={p.name: p.cause for p in config.runbooks.patterns},
        is_protected=world.identity.protects_name,
        observed_only=frozenset(t for t, p in world.policies.items() if p.mode is Mode.OBSERVE),
    )
    situation = Situation(
        run_id=world.request.run_id,
        now=world.clock.now(),
        desired=world.desired,
        memory=memory,
        notes=world.proposals,
        targets=frozenset(world.selected),
    )
    return proposer.consider(situation, writing)


def _within(platform: Platform, left: float) -> Platform:
    """The same, but that a model has no longer to answer than the run lasts."""
    timeout = min(platform.llm.timeout, timedelta(seconds=max(left, _LEAST)))
    return platform.model_copy(update={"llm": platform.llm.model_copy(update={"timeout": timeout})})


def propose_after(runtime: Runtime, world: World, statuses: Mapping[str, TargetStatus]) -> None:
    """The same at the end of a run, whose result it can't change: trouble is logged."""
    try:
        propose(runtime, world, {**world.statuses, **statuses})
    except UiciError as exc:
        _log.warning("proposals_not_considered", reason=world.redactor.text(str(exc)))
    except _MISTAKES as exc:
        # A hint for people may never cost the run whose work is done and reported.
        reason = world.redactor.text(f"{type(exc).__name__}: {exc}")
        _log.error("proposals_failed", reason=reason)
