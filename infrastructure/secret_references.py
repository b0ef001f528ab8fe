"""Secret references of desired state (`env:X`, `file:/x`, `prefect:block`) → values.

A value is resolved when it is needed, kept for the run, and never printed; that there is none
is kept, too. Every value that was ever resolved is told to `infrastructure.redaction`. Between
two runs of one process `forget` makes the next one see rotated secrets.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from infrastructure.errors import PermanentError

# Larger than any key or token; a device or pipe in its place must not hold up a run.
_MAX_FILE_BYTES = 1024 * 1024


def _no_block(name: str) -> str:
    raise PermanentError(
        f"the secret prefect:{name} can't be read here: only a run of UICI reads Prefect blocks"
    )


class SecretResolver:
    """Resolves references, each once. Safe to use from several threads."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        read_block: Callable[[str], str] = _no_block,
        on_resolved: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """Nothing is looked up yet.

        Args:
            environ: environment variables for `env:`.
            read_block: reads `prefect:`, which this layer does not know:
                `flows.prefect_edge.secret_block`. Not given: such a reference is an error.
            on_resolved: told every new value before anybody gets it: `Redactor.learn`.
        """
        self._environ = environ
        self._read_block = read_block
        self._on_resolved = on_resolved
        self._known: dict[str, str] = {}
        self._lacking: dict[str, str] = {}  # reference → why it has no value
        self._ever: set[str] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SecretResolver({len(self._known)} resolved)"

    @property
    def values(self) -> frozenset[str]:
        """Every value that was ever resolved, for redaction."""
        with self._lock:
            return frozenset(self._ever)

    def forget(self) -> None:
        """Look every reference up again from now on; `values` still has the old ones."""
        with self._lock:
            self._known.clear()
            self._lacking.clear()

    def resolve(self, reference: str) -> str:
        """The value behind a reference.

        Raises:
            PermanentError: names the reference and what to do; never a value.
        """
        with self._lock:
            if reference in self._lacking:
                raise PermanentError(self._lacking[reference])
            if reference not in self._known:
                value = self._looked_up(reference)
                self._on_resolved([value])
                self._ever.add(value)
                self._known[reference] = value
            return self._known[reference]

    __call__ = resolve

    def _looked_up(self, reference: str) -> str:
        try:
            return self._look_up(reference)
        except PermanentError as exc:  # asked for at every step of a plan: looked up once
            self._lacking[reference] = str(exc)
            raise

    def _look_up(self, reference: str) -> str:
        scheme, _, name = reference.partition(":")
        match scheme:
            case "env" if name:
                return self._variable(name)
            case "file" if name:
                return read_secret_file(Path(name))
            case "prefect" if name:
                return self._read_block(name)
            case _:
                raise PermanentError(
                    "a secret reference has to be env:NAME, file:/path or prefect:block-name"
                )

    def _variable(self, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise PermanentError(
                f"the secret env:{name} is not there: set the environment variable {name}"
                " where UICI runs"
            )
        return value


def read_secret_file(path: Path) -> str:
    """A file's text without its last line break.

    Raises:
        PermanentError: it can't be read, with the reason.
    """
    try:
        mode = path.stat()
        if not stat.S_ISREG(mode.st_mode) or mode.st_size > _MAX_FILE_BYTES:
            raise PermanentError(
                f"the secret file:{path} is no regular file of at most {_MAX_FILE_BYTES} bytes"
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise PermanentError(f"the secret file:{path} can't be read: {reason}") from exc
    return text.removesuffix("\n").removesuffix("\r")
