"""Names that other tools give → names of Services."""

from __future__ import annotations

import re

_LONGEST = 63  # RFC 1123 label, as `infrastructure.service.Name`


def service_name(name: str) -> str | None:
    """`My_App` → `my-app`; None if nothing that is allowed is left, or it is too long.

    A name that is allowed stays as it is.
    """
    made = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")
    return made if made and len(made) <= _LONGEST else None
