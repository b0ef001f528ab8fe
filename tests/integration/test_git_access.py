"""The remote over SSH with known hosts, and over HTTPS with a token: real sshd, real backend."""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.local_stack import free_port
from flows.repository.contract import Durability
from infrastructure.errors import PermanentError, TemporaryError
from tests.integration.git_world import NOW, Remote, agent, state
from tests.unit.report.made import healed

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
TOKEN = "tok-0123456789abcdef"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit({"shop.yml": b"shop:1"})
    return made


def works(address: str, data: Path, **changes: Any) -> None:
    """Desired state comes in, and a report goes out."""
    git_state = state(agent(address, data, **changes), **changes)
    assert list(git_state.desired().services) == ["local/shop"]
    done = git_state.commit_report(healed("run"), now=NOW)
    assert done is not None
    assert done.durability is Durability.PUSHED, done.error


def refusal(address: str, data: Path, **changes: Any) -> str:
    with pytest.raises(TemporaryError) as error:
        state(agent(address, data, **changes), **changes).desired()
    text = str(error.value)
    assert "\n" not in text
    assert TOKEN not in text
    return text


# ── SSH ─────────────────────────────────────────────────────────────────────────


def _key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


class Sshd:
    """A server of this user's own, on loopback."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.host_key, self.user_key = _key(root / "host"), _key(root / "user")
        public = self.host_key.with_suffix(".pub").read_text()
        self.known = root / "known_hosts"
        self.known.write_text(f"[127.0.0.1]:{self.port} {public}")
        shutil.copy(self.user_key.with_suffix(".pub"), root / "authorized")
        config = root / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.host_key}\n"
            f"AuthorizedKeysFile {root / 'authorized'}\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd asks for it
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "listening" in line, line

    def address(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def settings(self, **changes: str) -> dict[str, Any]:
        files = {"keyFile": str(self.user_key), "knownHostsFile": str(self.known)}
        return {"ssh": {**files, **changes}}

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if not Path(SSHD).exists():
        pytest.skip("sshd is not installed: install openssh-server")
    folder = tmp_path / "sshd"
    folder.mkdir()
    made = Sshd(folder)
    yield made
    made.close()


def test_over_ssh_with_a_key_and_known_hosts(
    sshd: Sshd, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")  # what platform.yml says counts
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    works(sshd.address(remote.path), tmp_path / "data", **sshd.settings())


def test_a_host_that_is_not_known_is_not_believed(
    sshd: Sshd, remote: Remote, tmp_path: Path
) -> None:
    other = _key(tmp_path / "other").with_suffix(".pub").read_text()
    address = sshd.address(remote.path)
    for name, text in (("empty", ""), ("another", f"[127.0.0.1]:{sshd.port} {other}")):
        known = tmp_path / name
        known.write_text(text)
        told = refusal(
            address, tmp_path / f"data-{name}", **sshd.settings(knownHostsFile=str(known))
        )
        assert "Host key verification failed" in told or "IDENTIFICATION HAS CHANGED" in told
        assert known.read_text() == text, "it was believed at first sight"


def test_another_key_is_refused_and_a_missing_one_is_named(
    sshd: Sshd, remote: Remote, tmp_path: Path
) -> None:
    address = sshd.address(remote.path)
    strange = str(_key(tmp_path / "strange"))
    assert "Permission denied" in refusal(address, tmp_path / "a", **sshd.settings(keyFile=strange))
    with pytest.raises(PermanentError, match=r"git\.ssh\.keyFile .*gone is not there"):
        agent(address, tmp_path / "b", **sshd.settings(keyFile=str(tmp_path / "gone")))


# ── HTTPS ───────────────────────────────────────────────────────────────────────


class _Backend(BaseHTTPRequestHandler):
    """`git http-backend` behind a password."""

    protocol_version = "HTTP/1.0"
    server: _Server

    def _serve(self) -> None:
        sent = self.headers.get("Authorization", "")
        self.server.asked.append((self.path, sent))
        if self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = "Basic " + base64.b64encode(f"uici:{TOKEN}".encode()).decode()
        if sent != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = subprocess.run(
            ["git", "-c", "http.receivepack=true", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                **os.environ,
                "GIT_PROJECT_ROOT": str(self.server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "uici",
            },
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n"))
        self.send_response(int(fields.pop(b"Status", b"200").split()[0]))
        for name, value in fields.items():
            self.send_header(name.decode(), value.decode())
        self.send_header("Content-Length", str(len(content)))  # TLS is not ended in good form
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - the library's names

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Backend)
        self.root, self.tls = root, tls
        self.asked: list[tuple[str, str]] = []
        self.elsewhere = ""
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that a client breaks off is none of ours."""

    @property
    def address(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def backend(root: Path, *, tls: ssl.SSLContext | None = None) -> Iterator[_Server]:
    server = _Server(root, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    file = tmp_path / "ca.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(file)),
        ],
        check=True,
        capture_output=True,
    )
    return file


def token(**changes: str) -> dict[str, Any]:
    return {"https": {"username": "uici", "token": TOKEN, **changes}}


def test_over_https_with_a_token_and_a_certificate_authority(
    remote: Remote, certificate: Path, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, tmp_path / "key.pem")
    with backend(remote.path.parent, tls=tls) as server:
        address = f"{server.address}/remote.git"
        told = refusal(address, tmp_path / "one", **token())
        assert "certificate" in told
        assert server.asked == [], "the token went to a server that nobody vouches for"
        works(address, tmp_path / "two", **token(caFile=str(certificate)))


def test_a_wrong_token_is_one_line_and_a_missing_one_too(remote: Remote, tmp_path: Path) -> None:
    with backend(remote.path.parent) as server:
        address = f"{server.address}/remote.git"
        assert "Authentication failed" in refusal(address, tmp_path / "a", **token(token="wrong"))
        assert "could not read Username" in refusal(address, tmp_path / "b", **token(token=""))


def test_the_token_stands_in_no_command_line_and_no_file(remote: Remote, tmp_path: Path) -> None:
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.append(process.read_bytes().decode(errors="replace"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with backend(remote.path.parent) as server:
            works(f"{server.address}/remote.git", tmp_path / "data", **token())
            time.sleep(0.01)
    finally:
        done.set()
        watcher.join()
    assert any("remote-http" in line for line in seen), "nothing was watched"
    assert not any(TOKEN in line for line in seen)
    files = [f for f in (tmp_path / "data").rglob("*") if f.is_file()]
    assert not [f for f in files if TOKEN.encode() in f.read_bytes()]


def test_the_token_follows_no_redirect(remote: Remote, tmp_path: Path) -> None:
    with backend(remote.path.parent) as thief, backend(remote.path.parent) as server:
        server.elsewhere = thief.address
        refusal(f"{server.address}/remote.git", tmp_path / "data", **token())
        assert thief.asked == []


def test_the_token_is_not_sent_in_the_open(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"not sent over http://: set git\.remote to https"):
        agent("http://git.example.test/state.git", tmp_path / "data", **token())
