"""What `uici doctor` says of signed commits: whose count, and whether the agent signs its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.command_line.finding import Finding, Level
from flows.repository.signatures import Signatures
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError

_OFF = "not verified: whoever may push to {branch} decides what is right (git.signatures is off)"


def signature_findings(config: UniversalConfig) -> Iterator[Finding]:
    """One finding about desired state, one about reports. Starts no process."""
    git = config.platform.git
    if git.signatures is None:
        yield Finding("commit signatures", Level.OK, _OFF.format(branch=git.branch))
    else:
        asked = Signatures(git.signatures, lambda path: _place(config, path), timeout=1.0)
        wanted = {"ssh": "ssh-keygen", "gpg": "gpg"}
        programs = [wanted[kind] for kind in ("ssh", "gpg") if getattr(git.signatures, kind)]
        yield _keys(asked, programs, git.branch)
    if git.signing is None:
        yield Finding("signed reports", Level.OK, "the agent's commits are not signed")
        return
    key = git.signing.key
    if git.signing.format == "ssh" and not _place(config, key).is_file():
        detail = f"git.signing.key {key} is not there: nothing can be committed, and nothing done"
        yield Finding("signed reports", Level.ERROR, detail)
        return
    yield Finding("signed reports", Level.OK, f"by {git.signing.format}, key {key}")


def _keys(asked: Signatures, programs: list[str], branch: str) -> Finding:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        detail = f"{', '.join(missing)} is not installed: nothing on {branch} is trusted"
        return Finding("commit signatures", Level.ERROR, detail)
    try:
        asked.keys()
    except PermanentError as exc:
        return Finding("commit signatures", Level.ERROR, f"{exc}: nothing is trusted")
    return Finding("commit signatures", Level.OK, f"{branch} has to be signed")


def _place(config: UniversalConfig, path: str) -> Path:
    return config.directory / Path(path).expanduser()
