"""What running one Git command means: `flows.repository.process` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Done:
    """A finished Git process."""

    status: int
    stdout: bytes
    stderr: str


class Runner(Protocol):
    """Runs one Git command in the clone."""

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """`environment` is added to the clone's own.

        Raises:
            DeadlineExceededError: it did not end in time.
            PermanentError: git can't be started.
        """
        ...
