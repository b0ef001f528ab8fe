"""Which limits hold for a target: platform, then environment, then the Service itself.

Each narrower layer can only forbid more: the result is the strictest of the three. Windows
of the layers must be open together, and any layer's freeze holds.
"""

from __future__ import annotations

from infrastructure.config_models import EnvironmentPolicy, Policy
from infrastructure.operations import Risk
from infrastructure.service import Backoff, Mode, Overrun, Remediation, Windows


class EffectivePolicy(Policy):
    """The platform's policy as it is left by the narrower layers.

    `window` stays the platform's own; `narrower` are the other layers', where they have any.
    """

    narrower: tuple[Windows, ...] = ()

    @property
    def windows(self) -> tuple[Windows, ...]:
        """See `Policy`."""
        return (*super().windows, *self.narrower)


def effective_policy(
    platform: Policy,
    environment: EnvironmentPolicy,
    service: Remediation,
    run_mode: Mode | None = None,
) -> Policy:
    """The strictest of the layers; `run_mode` is what a person asked for this run."""
    layers = (platform, environment, service)
    modes = [*(layer.mode for layer in layers), run_mode]
    attempts = [layer.max_attempts for layer in layers]
    backoffs = [layer.backoff for layer in layers if layer.backoff]
    rests = [layer.cool_down for layer in layers]
    shares = [layer.replica_share for layer in layers]
    overruns = [layer.overrun for layer in layers]
    approve_up_to = _lower(platform.approve_up_to, environment.approve_up_to)
    allow_up_to = _lower(platform.allow_up_to, environment.allow_up_to)
    return EffectivePolicy(
        mode=min((m for m in modes if m is not None), key=list(Mode).index),
        # What may not even be approved may not run alone.
        allow_up_to=_lower(allow_up_to, approve_up_to),
        approve_up_to=approve_up_to,
        max_attempts=min(a for a in attempts if a is not None),
        backoff=Backoff(initial=max(b.initial for b in backoffs), max=max(b.max for b in backoffs)),
        cool_down=max(r for r in rests if r is not None),
        replica_share=min(s for s in shares if s is not None),
        window=platform.window,
        narrower=tuple(layer.window for layer in (environment, service) if layer.window),
        freezes=tuple(freeze for layer in layers for freeze in layer.freezes),
        overrun=min((o for o in overruns if o is not None), key=list(Overrun).index),
    )


def _lower(first: Risk, second: Risk | None) -> Risk:
    return first if second is None else min(first, second, key=lambda risk: risk.rank)
