"""Which commits of the desired branch are trusted, and the newest one that was.

Only asked for with `git.signatures`. What was verified is remembered in a file beside the
clone, where no push reaches, so that a run without news starts no process. Neighbours:
`flows.repository.signatures` asks Git, `flows.repository.revisions` puts nothing in force
that is not trusted.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from flows.repository.plumbing import Plumbing
from flows.repository.runner import Runner
from flows.repository.signatures import Signatures
from infrastructure.errors import PermanentError

_log = structlog.get_logger("uici")

_KEPT = 4  # verified commits that are remembered: the tip, the one in force, two to spare
_REFUSED = 100  # reasons that are remembered while the process lives


@dataclass(frozen=True, slots=True)
class _Memory:
    """`newest` is the newest trusted tip of `branch`; `verified` are those that `keys` signed."""

    branch: str
    keys: str = ""
    newest: str = ""
    verified: tuple[str, ...] = ()


class Trust:
    """Of one clone's desired branch. Used by one run at a time."""

    def __init__(self, signatures: Signatures, file: Path, *, branch: str) -> None:
        self._signatures = signatures
        self._file = file
        self._branch = branch
        self._refused: dict[tuple[str, str], str] = {}

    def why_not(self, sha: str, plumbing: Plumbing, runner: Runner, *, tip: bool) -> str:
        """Why a commit is not trusted, in one line; empty: it is.

        Args:
            sha: the commit.
            plumbing: of the clone that has it.
            runner: of the same.
            tip: it is where the branch stands now. A branch that no longer contains the newest
                commit that was trusted was set back, which no signature tells.

        Raises:
            CloneDamagedError: the clone lacks it.
            DeadlineExceededError: gpg or ssh-keygen hung.
            PermanentError: git or ssh-keygen can't be started.
        """
        try:
            keys = self._signatures.keys()
        except PermanentError as exc:
            return str(exc)
        memory = self._read()
        known = memory.verified if memory.keys == keys else ()
        if sha in known and (not tip or sha == memory.newest):
            return ""
        if (sha, keys) in self._refused:
            return self._refused[sha, keys]
        reason = ""
        if sha not in known:
            reason = self._signatures.why_not(sha, plumbing.read([sha])[sha], runner)
        if not reason and tip and memory.newest not in ("", sha):
            reason = self._set_back(sha, memory.newest, plumbing)
        if reason:
            if len(self._refused) >= _REFUSED:
                self._refused.clear()
            self._refused[sha, keys] = reason
            return reason
        kept = tuple(dict.fromkeys((sha, *known)))[:_KEPT]
        self._write(_Memory(self._branch, keys, sha if tip else memory.newest, kept))
        return ""

    @staticmethod
    def _set_back(sha: str, newest: str, plumbing: Plumbing) -> str:
        if plumbing.contains(sha, newest):
            return ""
        return (
            f"the branch was set back: it no longer contains {newest[:12]}, the newest commit"
            " that was trusted"
        )

    def _read(self) -> _Memory:
        try:
            kept = json.loads(self._file.read_bytes())
            found = _Memory(
                str(kept["branch"]),
                str(kept["keys"]),
                str(kept["newest"]),
                tuple(str(sha) for sha in kept["verified"]),
            )
        except FileNotFoundError:
            return _Memory(self._branch)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
            _log.warning("trusted_commits_not_read", file=str(self._file), error=str(exc))
            return _Memory(self._branch)
        return found if found.branch == self._branch else _Memory(self._branch)

    def _write(self, memory: _Memory) -> None:
        data = {
            "branch": memory.branch,
            "keys": memory.keys,
            "newest": memory.newest,
            "verified": list(memory.verified),
        }
        try:
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=f".{self._file.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(json.dumps(data) + "\n")
                Path(name).replace(self._file)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as exc:  # verified again by the next run
            _log.warning("trusted_commits_not_kept", file=str(self._file), error=str(exc))
