"""May what UICI made and Git no longer names be removed? Pure; the answer is no by default.

A mistake in Git (a folder moved, a branch emptied) looks like a wish to remove everything,
so the size of the change is looked at first. Nothing removes orphans by itself: `uici plan`
tells which may go, and a person asks for it (`flows.pruning`).
"""

from __future__ import annotations

from collections.abc import Collection

from infrastructure.config_models import Prune
from infrastructure.service import target_id


def prune_gate(
    environment: str,
    *,
    prune: Prune | None,
    declared: Collection[str],
    known_before: Collection[str],
    orphans: Collection[str] = (),
    doubt: str | None = None,
) -> str | None:
    """Why orphans of an environment must stay; None: a person may remove them.

    Args:
        environment: whose.
        prune: its policy.prune.
        declared: targets that desired state has now, of any environment.
        known_before: targets that the statuses of the last run tell of.
        orphans: targets that the engine has and desired state has not. What left at once is
            forgotten by the statuses with the next report, and by the engine when it is gone.
        doubt: why desired state is not to be believed now: refused, or stale.
    """
    if prune is None:
        return "policy.prune is not set"
    if doubt is not None:
        return doubt
    start = target_id(environment, "")
    here = {target for target in declared if target.startswith(start)}
    before = {t for t in (*known_before, *orphans) if t.startswith(start)}
    if not here:
        return f"desired state has no service in {environment}"
    gone = len(before - here)
    if before and gone / len(before) > prune.max_shrink:
        return (
            f"{gone} of {len(before)} services have left desired state and are not removed yet,"
            f" more than {prune.max_shrink:.0%}"
        )
    return None
