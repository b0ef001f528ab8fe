"""Which limits hold for a target: platform, then environment, then the Service itself.

Each narrower layer can only forbid more: the result is the strictest of the three.
"""

from __future__ import annotations

from infrastructure.config_models import EnvironmentPolicy, Policy
from infrastructure.operations import Risk
from infrastructure.service import Backoff, Mode, Remediation


def effective_policy(
    platform: Policy,
    environment: EnvironmentPolicy,
    service: Remediation,
    run_mode: Mode | None = None,
) -> Policy:
    """The strictest of the layers; `run_mode` is what a person asked for this run."""
    modes = [platform.mode, environment.mode, service.mode, run_mode]
    attempts = [platform.max_attempts, environment.max_attempts, service.max_attempts]
    backoffs = [b for b in (platform.backoff, environment.backoff, service.backoff) if b]
    approve_up_to = _lower(platform.approve_up_to, environment.approve_up_to)
    allow_up_to = _lower(platform.allow_up_to, environment.allow_up_to)
    return Policy(
        mode=min((m for m in modes if m is not None), key=list(Mode).index),
        # What may not even be approved may not run alone.
        allow_up_to=_lower(allow_up_to, approve_up_to),
        approve_up_to=approve_up_to,
        max_attempts=min(a for a in attempts if a is not None),
        backoff=Backoff(initial=max(b.initial for b in backoffs), max=max(b.max for b in backoffs)),
    )


def _lower(first: Risk, second: Risk | None) -> Risk:
    return first if second is None else min(first, second, key=lambda risk: risk.rank)
