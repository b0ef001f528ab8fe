"""How the agent reaches its state repository, and whose commits it believes: part of platform.yml.

Paths are absolute, begin with `~`, or are relative to the configuration folder. Keys and
tokens are named, never written here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from infrastructure.service import Document

FilePath = Annotated[str, Field(min_length=1)]
# Of a primary key, as `gpg --fingerprint` shows it, without blanks.
Fingerprint = Annotated[str, StringConstraints(pattern=r"^([0-9A-F]{40}|[0-9A-F]{64})$")]


class SshAccess(Document):
    """A remote over SSH. Without this block the user's own SSH settings count."""

    key_file: FilePath
    known_hosts_file: FilePath


class HttpsAccess(Document):
    """A remote over HTTPS. An empty token: none is sent. `ca_file`: PEM; null: the system's."""

    username: str = Field(min_length=1, pattern=r"^[^\s\x00-\x1f]+$")
    token: str = Field(repr=False, pattern=r"^[^\x00-\x1f]*$")
    ca_file: FilePath | None = None


class GpgKeys(Document):
    """Keys that count, in a file that `gpg --export` wrote (binary, not armored).

    `fingerprints`: of these primary keys only; none: every key of the file counts.
    """

    keyring: FilePath
    fingerprints: tuple[Fingerprint, ...] = ()


class SshKeys(Document):
    """Keys that count: files of ssh-keygen(1), "ALLOWED SIGNERS" and revoked keys or a KRL."""

    allowed_signers: FilePath
    revoked_keys: FilePath | None = None


class CommitSignatures(Document):
    """Whose signed commits are desired state. At least one kind of keys is named."""

    ssh: SshKeys | None = None
    gpg: GpgKeys | None = None

    @model_validator(mode="after")
    def _some_keys(self) -> CommitSignatures:
        if self.ssh is None and self.gpg is None:
            raise ValueError("name ssh or gpg keys, or write signatures: null")
        return self


class CommitSigning(Document):
    """The key that signs the agent's own commits.

    `key`: the private key's file (ssh, without a passphrase), or a fingerprint (gpg) of the
    keys in `gpg_home` (null: the user's).
    """

    format: Literal["ssh", "gpg"]
    key: str = Field(min_length=1)
    gpg_home: FilePath | None = None
