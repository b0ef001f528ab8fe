"""Which targets a person means: by environment, inventory id, or a name that is unique."""

from __future__ import annotations

from collections.abc import Collection

from infrastructure.errors import PermanentError

_NAMED = 10  # of many targets


def chosen(
    known: Collection[str], environments: list[str] | None, targets: list[str] | None
) -> list[str]:
    """The targets that were asked for, sorted.

    Args:
        known: those in desired state or with a status.
        environments: only these; None: all.
        targets: only these, by inventory id or name alone; None: all.

    Raises:
        PermanentError: one that was asked for is not known.
    """
    places = {target.partition("/")[0] for target in known}
    names = {*known, *(target.partition("/")[2] for target in known)}
    for asked, among, what, shown in (
        (environments, places, "no service is in an environment", places),
        (targets, names, "no target is", known),
    ):
        for name in asked or ():
            if name not in among:
                listed = ", ".join(sorted(shown)[:_NAMED]) or "none"
                raise PermanentError(f"{what} named {name} (known: {listed})")
    return [
        target
        for target in sorted(known)
        if (not environments or target.partition("/")[0] in environments)
        and (not targets or target in targets or target.partition("/")[2] in targets)
    ]
