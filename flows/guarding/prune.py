"""May what UICI made and Git no longer names be removed? Pure; the answer is no by default.

A mistake in Git (a folder moved, a branch emptied) looks like a wish to remove everything,
so the size of the change is looked at first. Nothing removes orphans by itself: `uici plan`
tells which may go, and a person removes them.
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
    doubt: str | None = None,
) -> str | None:
    """Why orphans of an environment must stay; None: a person may remove them.

    Args:
        environment: whose.
        prune: its policy.prune.
        declared: targets that desired state has now, of any environment.
        known_before: targets that the statuses of the last run tell of.
        doubt: why desired state is not to be believed now: refused, or stale.
    """
    if prune is None:
        return "policy.prune is not set"
    if doubt is not None:
        return doubt
    start = target_id(environment, "")
    here = {target for target in declared if target.startswith(start)}
    before = {target for target in known_before if target.startswith(start)}
    if not here:
        return f"desired state has no service in {environment}"
    gone = len(before - here)
    if before and gone / len(before) > prune.max_shrink:
        return (
            f"{gone} of {len(before)} services have left desired state since the last run,"
            f" more than {prune.max_shrink:.0%}"
        )
    return None
