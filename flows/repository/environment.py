"""The variables under which Git runs: ours alone, so that platform.yml alone decides.

Used by `flows.repository.process` for every command.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from infrastructure.config_models import GitSettings
from infrastructure.errors import PermanentError

_CONFIG = {
    "core.hooksPath": os.devnull,
    # A commit of the agent survives a power cut: objects and refs are flushed to disk.
    "core.fsync": "committed,reference",
    "core.fsyncMethod": "fsync",
    "fastimport.unpackLimit": "1",  # one pack a commit: one flush instead of one an object
    "maintenance.auto": "false",  # `maintain` decides when, not every fetch
    "protocol.ext.allow": "never",
    "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
}


# The shell that Git starts for it reads the token from the environment: on a command line, or in
# the remote's address, everybody on the machine could see it.
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n"'
    ' "$UICI_GIT_USERNAME" "$UICI_GIT_TOKEN"; }; f'
)


def git_environment(
    directory: Path, remote: str | None, access: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Variables that close every door through which foreign configuration comes in.

    Args:
        directory: of the repository.
        remote: its origin; None: it has none.
        access: what `access_variables` gives.
    """
    given = dict(access or {})
    config = {**_CONFIG, **({"remote.origin.url": remote} if remote else {})}
    if "UICI_GIT_TOKEN" in given and remote:
        config |= _credentials(remote)
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_OBJECT_DIRECTORY": str(directory / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_NAMESPACE": "",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    # Nobody sits there to answer a question; what the user set for it counts, if platform.yml
    # says nothing.
    defaults = {"GIT_ASKPASS": ""}
    if "GIT_SSH" not in os.environ:
        defaults["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
    chosen = {key: os.environ.get(key, value) for key, value in defaults.items()}
    return variables | chosen | given


def access_variables(
    settings: GitSettings, remote: str | None, place: Callable[[str], Path]
) -> dict[str, str]:
    """How the remote is reached, for `git_environment`.

    Args:
        settings: `git` of platform.yml.
        remote: the address that is in use.
        place: where a path of the settings is.

    Raises:
        PermanentError: the token would go over the network unencrypted, or a file is missing.
    """
    found: dict[str, str] = {}
    if settings.ssh is not None:
        key, hosts = place(settings.ssh.key_file), place(settings.ssh.known_hosts_file)
        for setting, path in (("keyFile", key), ("knownHostsFile", hosts)):
            if not path.is_file():
                raise PermanentError(f"git.ssh.{setting} {path} is not there")
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",  # a host that the file does not name is not believed
            "UserKnownHostsFile": str(hosts),
            "GlobalKnownHostsFile": os.devnull,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": str(key),
        }
        words = [word for name, value in options.items() for word in ("-o", f'{name}="{value}"')]
        found["GIT_SSH_COMMAND"] = shlex.join(["ssh", "-F", os.devnull, *words])
    if settings.https is not None:
        if settings.https.token:
            _refuse_in_the_open(remote)
            found["UICI_GIT_USERNAME"] = settings.https.username
            found["UICI_GIT_TOKEN"] = settings.https.token
        if settings.https.ca_file is not None:
            found["GIT_SSL_CAINFO"] = str(place(settings.https.ca_file))
    return found


def _refuse_in_the_open(remote: str | None) -> None:
    parts = urlsplit(remote or "")
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme == "http" and not here:
        raise PermanentError("git.https.token is not sent over http://: set git.remote to https://")


def _credentials(remote: str) -> dict[str, str]:
    """The helper for the remote's own host, and for no other that it may lead to."""
    parts = urlsplit(remote)
    if parts.scheme not in ("http", "https"):
        return {}
    host = parts.netloc.rpartition("@")[2]
    return {
        f"credential.{parts.scheme}://{host}.helper": _HELPER,
        "http.followRedirects": "false",
    }
