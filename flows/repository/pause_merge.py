"""Pauses that several people have written at the same moment, as one file. Pure.

Used where our commits are made again on what the remote has meanwhile, in
`flows.repository.reports_branch`. Nobody's pause ends another's, and nobody ends one that they
have not seen.
"""

from __future__ import annotations

from flows.reporting.as_json import json_bytes
from infrastructure.pause import PAUSE_PATH, Pause, pauses_data, read_pauses

# Far more than people write; a longer file is a pause of everything.
_MAX_BYTES = 64 * 1024


def merged_pauses(ours: bytes | None, theirs: bytes | None, before: bytes | None) -> bytes | None:
    """What our commit has begun and ended, done to what the others have.

    Args:
        ours: the file as our commit has it; None: it has none.
        theirs: as it is now.
        before: as our commit found it.

    Returns:
        The file; None: nothing is paused.
    """
    mine, stood = _pauses(ours), _pauses(before)
    left = [each for each in _pauses(theirs) if each in mine or each not in stood]
    left += [each for each in mine if each not in stood and each not in left]
    return json_bytes(pauses_data(left), lambda data: data, indent=1) if left else None


def _pauses(content: bytes | None) -> list[Pause]:
    if content is None:
        return []
    return [each.pause for each in read_pauses(PAUSE_PATH, content, max_bytes=_MAX_BYTES)]
