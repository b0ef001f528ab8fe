"""The agent's endpoint, over real sockets."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from flows import endpoint as under_test
from flows.endpoint import Page, endpoint, text_page
from flows.local_stack.child import answers
from infrastructure.config_models import HttpEndpoint
from infrastructure.errors import PermanentError


def _broken() -> Page:
    raise ValueError("a mistake in a page")


PAGES = {
    "/healthz": lambda: text_page("alive"),
    "/readyz": lambda: text_page("starting", HTTPStatus.SERVICE_UNAVAILABLE),
    "/broken": _broken,
}


def settings(port: int = 0, host: str = "127.0.0.1") -> HttpEndpoint:
    return HttpEndpoint.model_construct(host=host, port=port, tls=None)  # port 0: a free one


@pytest.fixture
def port() -> Iterator[int]:
    with endpoint(settings(), PAGES) as found:
        yield found


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_each_page_answers_with_its_own_status(port: int) -> None:
    assert get(port, "/healthz") == (200, "alive\n")
    assert get(port, "/healthz?verbose=1") == (200, "alive\n")
    assert get(port, "/readyz") == (503, "starting\n")


def test_head_has_no_body(port: int) -> None:
    assert get(port, "/healthz", "HEAD") == (200, "")


def test_another_path_says_which_there_are(port: int) -> None:
    status, text = get(port, "/alerts")
    assert status == 404
    assert "/healthz" in text


def test_what_would_change_something_is_refused(port: int) -> None:
    assert get(port, "/healthz", "POST")[0] == 404
    assert get(port, "/healthz", "PUT")[0] == 501


def test_the_answer_tells_no_versions(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
        assert response.headers["Server"] == "uici"


def test_a_page_that_breaks_ends_its_own_request_only(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="closed connection without response"):
        get(port, "/broken")
    assert get(port, "/healthz")[0] == 200
    told = capsys.readouterr()
    assert "endpoint_page_failed" in told.out + told.err


@pytest.mark.parametrize(
    "nonsense", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET //[ HTTP/1.1\r\n\r\n"]
)
def test_nonsense_is_answered_or_dropped_and_harms_nobody(port: int, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(nonsense)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    assert get(port, "/healthz")[0] == 200


def test_clients_that_dawdle_are_hung_up_on_and_never_hold_others_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "_REQUEST_SECONDS", 0.3)
    with endpoint(settings(), PAGES) as port:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(40)]
        try:
            for client in slow:
                client.sendall(b"GET /healthz HT")
            assert all(_ended(client) for client in slow)
            assert get(port, "/healthz") == (200, "alive\n")
        finally:
            for client in slow:
                client.close()


def _ended(client: socket.socket) -> bool:
    try:
        while client.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


def test_nothing_listens_and_no_thread_is_left_afterwards() -> None:
    with endpoint(settings(), PAGES) as port:
        assert get(port, "/healthz")[0] == 200
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert "endpoint" not in {thread.name for thread in threading.enumerate()}


def test_a_taken_port_is_told_with_the_next_step(port: int) -> None:
    with (
        pytest.raises(PermanentError, match=rf"port {port}: .*in use.*serve\.http"),
        endpoint(settings(port), PAGES),
    ):
        pass


def test_a_host_that_is_not_this_machines_is_told(port: int) -> None:
    with (
        pytest.raises(PermanentError, match=r"192\.0\.2\.1"),
        endpoint(settings(port, "192.0.2.1"), PAGES),
    ):
        pass


def test_ipv6_loopback() -> None:
    with endpoint(settings(host="::1"), PAGES) as port:
        url = f"http://[::1]:{port}/healthz"
        assert answers(url)
