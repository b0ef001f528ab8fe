"""What tells one agent's data directory from another's, so that their runs know each other.

A run's intent names the installation that it is of: `flows.other_runs` tells by it whether a
run that has left its intent open is dead or somebody else's, still at work. A copied data
directory makes two agents one: delete the file in the copy.
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from infrastructure.errors import PermanentError

_ID = 36  # characters of a UUID


def installation(data_directory: Path) -> str:
    """What tells this data directory from another agent's; made when it is first asked for.

    Raises:
        PermanentError: it can't be read or written.
    """
    path = data_directory / "installation"
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            known = path.read_text(errors="replace").strip()
            if len(known) == _ID:
                return known
        made = str(uuid.uuid4())
        scratch = path.with_name(f"installation.{made}")
        scratch.write_text(f"{made}\n")
        Path(scratch).replace(path)
    except OSError as exc:
        raise PermanentError(
            f"the data directory can't be used: {exc.strerror}: {exc.filename}: "
            "correct dataDirectory in platform.yml or its rights"
        ) from exc
    return made
