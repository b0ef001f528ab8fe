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
    """A remote over SSH. Without this block the user's own SSH settings count.

    Attributes:
        key_file: the private key, without a passphrase.
        known_hosts_file: the server's public keys; an unknown server is refused.
    """

    key_file: FilePath
    known_hosts_file: FilePath


class HttpsAccess(Document):
    """A remote over HTTPS.

    Attributes:
        username: as the forge wants it; many take any word beside a token.
        token: a token or password; empty: none is sent.
        ca_file: PEM file of an authority of your own; null: the system's.
    """

    username: str = Field(min_length=1, pattern=r"^[^\s\x00-\x1f]+$")
    token: str = Field(repr=False, pattern=r"^[^\x00-\x1f]*$")
    ca_file: FilePath | None = None


class GpgKeys(Document):
    """OpenPGP keys that count.

    Attributes:
        keyring: a file that `gpg --export` wrote (binary, not armored).
        fingerprints: only these primary keys of it count, as `gpg --fingerprint` shows them,
            without blanks; none: every key of the file.
    """

    keyring: FilePath
    fingerprints: tuple[Fingerprint, ...] = ()


class SshKeys(Document):
    """SSH keys that count, in the formats of ssh-keygen(1).

    Attributes:
        allowed_signers: a file as in its section "ALLOWED SIGNERS".
        revoked_keys: keys that count no more: a list, or a key revocation list (KRL).
    """

    allowed_signers: FilePath
    revoked_keys: FilePath | None = None


class CommitSignatures(Document):
    """Whose signed commits are desired state. At least one kind of keys is named.

    Attributes:
        ssh: SSH keys that count.
        gpg: OpenPGP keys that count.
    """

    ssh: SshKeys | None = None
    gpg: GpgKeys | None = None

    @model_validator(mode="after")
    def _some_keys(self) -> CommitSignatures:
        if self.ssh is None and self.gpg is None:
            raise ValueError("name ssh or gpg keys, or write signatures: null")
        return self


class CommitSigning(Document):
    """The key that signs the agent's own commits.

    Attributes:
        format: kind of the key.
        key: `ssh`: the private key's file, without a passphrase; `gpg`: a fingerprint.
        gpg_home: GnuPG's folder that has the key; null: the user's.
    """

    format: Literal["ssh", "gpg"]
    key: str = Field(min_length=1)
    gpg_home: FilePath | None = None
