"""One file of this machine, read with care: what names it was written by somebody else.

Used by the trees of `uici validate` (`folder_tree`) and `uici import compose`
(`import_compose`). A pipe would keep a reader for ever, a device has no end, and what lies in
a `.git` folder (credentials in `config`) is nobody's desired state.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePath

from infrastructure.errors import InvalidInputError, Problem

_REPOSITORY = ".git"
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


def in_repository_data(path: PurePath) -> bool:
    """Whether a path leads into a `.git` folder, in any spelling that a file system may take."""
    return any(part.lower().rstrip(". ") == _REPOSITORY for part in path.parts)


def read_regular(file: Path, *, shown: str, max_bytes: int) -> bytes | None:
    """A regular file's content; None if there is nothing of this name.

    Args:
        file: a path without links in it: one at its end is not followed.
        shown: its name in messages.
        max_bytes: larger files are refused.

    Raises:
        InvalidInputError: there is something that is not read, and why.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for who writes into it.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as exc:  # ValueError: no file can have such a name
        if isinstance(exc, OSError) and exc.errno in _ABSENT:
            return None
        raise _unreadable(shown, exc) from exc
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            remedy = "name a file, and no pipe or device"
            raise InvalidInputError([Problem(shown, 0, 0, "it is no regular file", remedy)])
        try:
            # Room for `max_bytes` would take longer to make than a small file to read; what
            # is longer than it says, as files of /proc are, is read on.
            content = opened.read(min(found.st_size, max_bytes) + 1)
            if len(content) > found.st_size:
                content += opened.read(max_bytes + 1 - len(content))
        except OSError as exc:
            raise _unreadable(shown, exc) from exc
    if len(content) > max_bytes:
        message = f"the file has more than the {max_bytes} bytes allowed"
        raise InvalidInputError(
            [Problem(shown, 0, 0, message, "split it, or raise git.maxFileBytes")]
        )
    return content


def _unreadable(shown: str, exc: OSError | ValueError) -> InvalidInputError:
    why = exc.strerror if isinstance(exc, OSError) else "no file can have such a name"
    return InvalidInputError([Problem(shown, 0, 0, f"it can't be read: {why}", "correct the path")])
