"""Signs the agent's own commits, by Git with ssh-keygen or gpg.

Neighbour: `flows.repository.plumbing`, which makes a commit unsigned first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from flows.repository.runner import Done, Runner
from infrastructure.config_models import CommitSigning

_PERSON = re.compile(rb"(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<seconds>\d+) (?P<zone>[+-]\d{4})")


class Signer:
    """Makes signed copies of commits. The private key is read by ssh-keygen or gpg, never here."""

    def __init__(self, settings: CommitSigning, place: Callable[[str], Path]) -> None:
        """Read nothing yet.

        Args:
            settings: with which key.
            place: where a path of the settings is.
        """
        ssh = settings.format == "ssh"
        key = str(place(settings.key)) if ssh else settings.key
        self._options = (
            *("-c", f"gpg.format={'ssh' if ssh else 'openpgp'}"),
            *("-c", f"user.signingKey={key}"),
            *("-c", "gpg.ssh.program=ssh-keygen", "-c", "gpg.openpgp.program=gpg"),
        )
        # An agent's keys would sign, too; without a display nobody is asked for a passphrase.
        self._environment = {"SSH_AUTH_SOCK": "", "SSH_ASKPASS_REQUIRE": "never", "GPG_TTY": ""}
        if settings.gpg_home is not None:
            self._environment["GNUPGHOME"] = str(place(settings.gpg_home))

    def sign(self, runner: Runner, raw: bytes, parent: str | None) -> Done:
        """A commit like this one, signed; its id on standard output.

        Args:
            runner: of the clone.
            raw: the unsigned commit's object.
            parent: what it is to stand on.

        Raises:
            DeadlineExceededError: the key's program hung.
            PermanentError: git can't be started.
        """
        head, _, message = raw.partition(b"\n\n")
        lines = dict(line.split(b" ", 1) for line in head.split(b"\n") if b" " in line)
        environment = dict(self._environment)
        for who in ("author", "committer"):
            found = _PERSON.fullmatch(lines[who.encode()])
            assert found is not None  # noqa: S101  # Git has written it
            name, email, seconds, zone = (part.decode(errors="replace") for part in found.groups())
            environment[f"GIT_{who.upper()}_NAME"] = name
            environment[f"GIT_{who.upper()}_EMAIL"] = email
            environment[f"GIT_{who.upper()}_DATE"] = f"@{seconds} {zone}"
        above = ("-p", parent) if parent else ()
        command = [*self._options, "commit-tree", "-S", *above, lines[b"tree"].decode()]
        return runner.run(command, stdin=message, environment=environment)
