"""The variables under which Git runs: ours alone, so that platform.yml alone decides.

Used by `flows.repository.process` for every command.
"""

from __future__ import annotations

import os
from pathlib import Path

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


def git_environment(directory: Path, remote: str | None) -> dict[str, str]:
    """Variables that close every door through which foreign configuration comes in."""
    config = {**_CONFIG, **({"remote.origin.url": remote} if remote else {})}
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
    # Nobody sits there to answer a question; what the user set for it counts.
    defaults = {"GIT_ASKPASS": ""}
    if "GIT_SSH" not in os.environ:
        defaults["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
    return variables | {key: os.environ.get(key, value) for key, value in defaults.items()}
