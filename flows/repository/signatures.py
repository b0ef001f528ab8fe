"""Whether one of the configured keys has signed a commit. Git decides, by ssh-keygen and gpg.

What could weaken the answer is closed: keys and programs are given on Git's command line,
which outweighs every configuration; gpg runs in a home of its own with the named keys and
nothing else. Neighbour: `flows.repository.trust`, which remembers the answers.
"""

from __future__ import annotations

import hashlib
import re
import subprocess  # ssh-keygen, asked whether a key is valid now
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.repository.remote import reason_line
from flows.repository.runner import Done, Runner
from infrastructure.config_models import CommitSignatures, GpgKeys, SshKeys
from infrastructure.errors import DeadlineExceededError, PermanentError

_SSH = b"-----BEGIN SSH SIGNATURE-----"
_GPG = (b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----")
_NO_PROGRAM = "uici-does-not-use-it"  # Git fails to start it: such a signature does not count
_SSH_KEY = re.compile(r"\b(SHA256:[A-Za-z0-9+/]{43})")
_VALID = re.compile(r"^\[GNUPG:\] VALIDSIG (?:\S+ ){9}([0-9A-F]{40,64})\s*$", re.MULTILINE)
_STATUS = re.compile(
    r"^\[GNUPG:\] (EXPSIG|EXPKEYSIG|REVKEYSIG|BADSIG|NO_PUBKEY) ([0-9A-F]{8,64})\b", re.MULTILINE
)
_TOLD = {
    "EXPSIG": "its GPG signature by {key} has expired",
    "EXPKEYSIG": "its GPG key {key} has expired",
    "REVKEYSIG": "its GPG key {key} is revoked",
    "BADSIG": "its GPG signature by {key} is not of this commit",
    "NO_PUBKEY": "its GPG key {key} is not in git.signatures.gpg.keyring",
}
_GPG_CONF = """no-default-keyring
keyring {keyring}
trust-model always
no-auto-key-retrieve
no-auto-key-locate
no-autostart
lock-never
batch
"""


@dataclass(frozen=True, slots=True)
class _Signature:
    armor: bytes
    many: bool = False


class Signatures:
    """Asks about commits of one repository."""

    def __init__(
        self, settings: CommitSignatures, place: Callable[[str], Path], *, timeout: float
    ) -> None:
        """Read nothing yet.

        Args:
            settings: whose keys count.
            place: where a path of the settings is.
            timeout: seconds for ssh-keygen; Git has its own.
        """
        self._ssh, self._gpg = settings.ssh, settings.gpg
        self._place = place
        self._timeout = timeout

    def keys(self) -> str:
        """Identity of the keys that count: another one when any of their files has changed.

        Raises:
            PermanentError: a file can't be read; nothing can be trusted then.
        """
        digest = hashlib.sha256()
        for setting, path in self._files():
            try:
                content = self._place(path).read_bytes()
            except OSError as exc:
                raise PermanentError(
                    f"git.signatures.{setting} {path} can't be read: {exc.strerror or exc}"
                ) from exc
            digest.update(f"{setting} {len(content)}\n".encode() + content)
        for fingerprint in self._gpg.fingerprints if self._gpg else ():
            digest.update(f"{fingerprint}\n".encode())
        return digest.hexdigest()

    def _files(self) -> Iterator[tuple[str, str]]:
        if self._ssh is not None:
            yield "ssh.allowedSigners", self._ssh.allowed_signers
            if self._ssh.revoked_keys is not None:
                yield "ssh.revokedKeys", self._ssh.revoked_keys
        if self._gpg is not None:
            yield "gpg.keyring", self._gpg.keyring

    def why_not(self, sha: str, raw: bytes, runner: Runner) -> str:
        """Why a commit does not count as signed, in one line; empty: it does.

        A signature counts while its key is valid: now, and at the time of the commit.

        Args:
            sha: the commit.
            raw: its object.
            runner: runs Git in the clone that has it.

        Raises:
            DeadlineExceededError: the answer did not come in time.
            PermanentError: git or ssh-keygen can't be started.
        """
        if not raw.startswith(b"tree "):
            return "it is no commit"
        signature = _signature(raw)
        if signature is None:
            return "it is not signed"
        if signature.many:
            return "it has several signatures"
        if signature.armor.startswith(_SSH):
            return self._by_ssh(sha, signature.armor, runner)
        if signature.armor.startswith(_GPG):
            return self._by_gpg(sha, runner)
        return "its signature is neither by SSH nor by GPG"

    def _by_ssh(self, sha: str, armor: bytes, runner: Runner) -> str:
        if self._ssh is None:
            return "it is signed by SSH, and git.signatures names no SSH keys"
        config = {
            "gpg.ssh.program": "ssh-keygen",
            "gpg.ssh.allowedSignersFile": str(self._place(self._ssh.allowed_signers)),
            "gpg.ssh.revocationFile": (
                str(self._place(self._ssh.revoked_keys)) if self._ssh.revoked_keys else ""
            ),
        }
        done = _verify(sha, config, runner)
        told = f"{done.stdout.decode(errors='replace')}\n{done.stderr}"
        if done.status != 0:
            return _ssh_reason(told)
        # Git asks whether the key was valid at the commit's own date, which its writer chose.
        return self._valid_now(self._ssh, armor, told)

    def _valid_now(self, keys: SshKeys, armor: bytes, told: str) -> str:
        command = ["ssh-keygen", "-Y", "find-principals", "-s", "/dev/stdin"]
        command += ["-f", str(self._place(keys.allowed_signers))]
        try:
            done = subprocess.run(  # noqa: S603  # a list of words, no shell; the input is data
                command, input=armor, capture_output=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise DeadlineExceededError(
                f"ssh-keygen did not finish in {self._timeout:g} s"
            ) from exc
        except OSError as exc:
            raise PermanentError("ssh-keygen can't be started: install openssh-client") from exc
        if done.returncode == 0:
            return ""
        return _ssh_reason(f"{told}\n{done.stderr.decode(errors='replace')}")

    def _by_gpg(self, sha: str, runner: Runner) -> str:
        if self._gpg is None:
            return "it is signed by GPG, and git.signatures names no GPG keys"
        with tempfile.TemporaryDirectory(prefix="uici-gpg-") as home:
            keyring = self._place(self._gpg.keyring)
            Path(home, "gpg.conf").write_text(_GPG_CONF.format(keyring=keyring))
            done = _verify(sha, {"gpg.openpgp.program": "gpg"}, runner, gpg_home=home)
        return _gpg_reason(done, self._gpg)


def _verify(sha: str, config: dict[str, str], runner: Runner, *, gpg_home: str = "") -> Done:
    closed = {f"gpg.{kind}.program": _NO_PROGRAM for kind in ("ssh", "openpgp", "x509")}
    options = [
        word
        for key, value in {**closed, **config}.items()
        if value
        for word in ("-c", f"{key}={value}")
    ]
    # Always set: the user's own keys must not count.
    environment = {"GNUPGHOME": gpg_home or "/nonexistent", "LC_ALL": "C"}
    return runner.run([*options, "verify-commit", "--raw", sha], environment=environment)


def _signature(raw: bytes) -> _Signature | None:
    """The signature in a commit's header, as Git reads it."""
    found: list[bytes] = []
    count = 0
    inside = False
    for line in raw.partition(b"\n\n")[0].split(b"\n"):
        if line.startswith((b"gpgsig ", b"gpgsig-sha256 ")):
            count, inside = count + 1, True
            found.append(line.partition(b" ")[2])
        elif inside and line.startswith(b" "):
            found.append(line[1:])
        else:
            inside = False
    return _Signature(b"\n".join(found) + b"\n", many=count > 1) if count else None


def _ssh_reason(told: str) -> str:
    """What ssh-keygen's words mean."""
    key = _SSH_KEY.search(told)
    name = f"its SSH key {key[1]}" if key else "its SSH key"
    if "key has expired" in told:
        return f"{name} has expired"
    if "key is not yet valid" in told:
        return f"{name} is not valid yet"
    if "revoked" in told.lower():
        return f"{name} is revoked"
    if "No principal matched" in told or "no principal" in told.lower():
        return f"{name} is not in git.signatures.ssh.allowedSigners"
    if "Could not verify signature" in told or "incorrect signature" in told.lower():
        return f"{name} is revoked, or its signature is not of this commit"
    return f"its SSH signature does not count: {reason_line(told)}"


def _gpg_reason(done: Done, keys: GpgKeys) -> str:
    told = f"{done.stdout.decode(errors='replace')}\n{done.stderr}"
    status = _STATUS.search(told)
    if status is not None:
        return _TOLD[status[1]].format(key=status[2])
    valid = _VALID.findall(told)
    if done.status != 0 or len(valid) != 1:
        return f"its GPG signature does not count: {reason_line(done.stderr)}"
    if keys.fingerprints and valid[0] not in keys.fingerprints:
        return f"its GPG key {valid[0]} is not in git.signatures.gpg.fingerprints"
    return ""
