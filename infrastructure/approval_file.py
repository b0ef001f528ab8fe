"""Names of files in a state repository that approve by being merged. No desired state.

They stand beside the Service files and say nothing about services: the parser passes them
over, whatever is in them. What they mean is `flows.approvals`' business.
"""

from __future__ import annotations

import re

APPROVAL_KIND = "Approval"

_PATH = re.compile(r"(^|/)approvals/[0-9a-f]{12}\.ya?ml$")


def is_approval_file(path: str) -> bool:
    """Whether a path of a state repository is that of an approval."""
    return _PATH.search(path) is not None
