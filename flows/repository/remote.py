"""Names of remotes: one spelling for the same repository, and none that tells a secret.

Pure. Used by `flows.repository.clone` for the clone's place and for messages.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from infrastructure.errors import PermanentError

_SCP_LIKE = re.compile(
    r"^(?:[\w.+-]+@)?(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):(?!//)(?P<path>.+)$"
)
_HELPER = re.compile(r"^[A-Za-z0-9]+::")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DEFAULT_PORTS = {"ssh": 22, "git": 9418, "http": 80, "https": 443}
_SCHEMES = frozenset({*_DEFAULT_PORTS, "file"})
_REASON_LIMIT = 300

# Lines with which Git surrounds the one that tells something.
_BOILERPLATE = (
    "hint:",
    "please make sure you have the correct access rights",
    "and the repository exists",
    "error: failed to push some refs",
    "warning: ",
    "to ",
)


def resolve_remote(remote: str) -> str:
    """A remote as Git takes it: local paths made absolute, dangerous forms refused.

    Raises:
        PermanentError: an option, a remote helper (`ext::…`) or an unknown scheme.
    """
    scheme = remote.partition("://")[0] if "://" in remote else None
    if (
        not remote.strip()
        or remote.startswith("-")
        or _HELPER.match(remote)
        or any(ord(char) < 32 for char in remote)
        or (scheme is not None and scheme not in _SCHEMES)
    ):
        raise PermanentError(
            f"git.remote {redact_url(remote)!r} is not a repository's address:"
            " write a path, or an ssh://, https://, git:// or file:// address"
        )
    if scheme is not None or (_SCP_LIKE.match(remote) and not Path(remote).exists()):
        return remote
    return str(Path(remote).expanduser().resolve())


def normalise_remote(remote: str) -> str:
    """The same text for all spellings of a repository: no user, scheme, `.git`, default port."""
    if "://" in remote:
        parts = urlsplit(remote)
        if parts.scheme == "file":
            return _plain_path(parts.path)
        host = (parts.hostname or "").lower()
        port = parts.port
        if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
            host = f"{host}:{port}"
        return f"{host}/{_plain_path(parts.path).lstrip('/')}"
    match = _SCP_LIKE.match(remote)
    if match:
        return f"{match['host'].lower()}/{_plain_path(match['path']).lstrip('/')}"
    return _plain_path(remote)


def _plain_path(path: str) -> str:
    return re.sub(r"/{2,}", "/", path).rstrip("/").removesuffix(".git").rstrip("/")


def remote_slug(remote: str) -> str:
    """A folder name: readable, and different for different repositories."""
    normal = normalise_remote(remote)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", normal.rpartition("/")[2]).strip("-.") or "repository"
    return f"{name[:40]}-{hashlib.sha256(normal.encode()).hexdigest()[:12]}"


def redact_url(remote: str) -> str:
    """The address without user, password, query and fragment."""
    if "://" not in remote:
        return remote
    text = _CREDENTIALS.sub("", remote)
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def reason_line(stderr: str) -> str:
    """What Git's error output says, as one line without credentials and control codes."""
    lines: list[str] = []
    for raw in stderr.splitlines():
        line = " ".join(_CONTROL.sub(" ", raw).split())
        line = line.removeprefix("remote: ").removeprefix("fatal: ").removeprefix("error: ")
        if line and not line.lower().startswith(_BOILERPLATE) and line not in lines:
            lines.append(line)
    text = _CREDENTIALS.sub("", "; ".join(lines[:3])).rstrip(".")
    return text[:_REASON_LIMIT] or "git gave no reason"
