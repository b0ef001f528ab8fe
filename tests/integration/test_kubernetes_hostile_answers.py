"""A cluster that answers wrongly on purpose, most of all while something is changed.

Whatever it answers: a change is never taken for done because of it, nobody waits longer than
the deadline, and what is kept of an answer is bounded.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor, ExecutorContext
from executors.kubernetes import Connection, connect
from infrastructure.errors import (
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from tests.builders import service
from tests.fakes.engine import NOBODY
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes, Fault

NAMESPACE = "shop"
Stream = Callable[[BufferedIOBase], None]
WEB = service("web")
MOST = 2**20
SLACK = 1.5  # seconds: this machine may be busy


@pytest.fixture
def server() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def executor(server: FakeKubernetes, tmp_path: Path) -> Iterator[Executor]:
    given = {
        **LIMITS,
        "kubeconfig": str(server.kubeconfig(tmp_path)),
        "namespaces": [NAMESPACE],
        "firstPause": "10ms",
        "maxAnswer": "1Mi",
    }
    context = ExecutorContext("local-docker", 4, NOBODY, lambda name: f"value of {name}")
    made = connect(Connection.model_validate(given), context)
    made.call(WEB, PrimitiveCall("create", {}, None), timeout=20)
    limit = time.monotonic() + 15
    while not _up(made):
        assert time.monotonic() < limit
        time.sleep(0.02)
    yield made
    made.close()


def _up(executor: Executor) -> bool:
    seen = executor.look(WEB, timeout=10)
    settled = seen.workload is not None and seen.workload.settled
    return settled and [i.state for i in seen.instances] == [InstanceState.RUNNING]


def do(executor: Executor, primitive: str, *, timeout: float = 10, **given: Any) -> PrimitiveResult:
    return executor.call(WEB, PrimitiveCall(primitive, given, None), timeout=timeout)


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK


class Flood:
    """A good status, then blanks for as long as somebody reads them."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, out: BufferedIOBase) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            out.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            self.sent += 0x10000


def cut(out: BufferedIOBase) -> None:
    out.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": "Deployment"')


# ── reads ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("whole", [True, False])
def test_a_list_without_end_makes_the_environment_unknown_and_takes_no_memory(
    server: FakeKubernetes, executor: Executor, whole: bool
) -> None:
    flood = Flood()
    server.faults.append(Fault(200, path="/pods", method="GET", stream=flood))
    with in_time(5), pytest.raises(TemporaryError, match=f"more than {MOST} bytes.*maxAnswer"):
        executor.observe((WEB,), all_services=whole, timeout=30)
    # What the sockets' buffers hold comes on top.
    assert flood.sent < 20 * MOST
    assert executor.observe((WEB,), all_services=whole, timeout=10).services[WEB.target].workload


def test_a_log_without_end_is_bounded_by_time_and_keeps_its_end_only(
    server: FakeKubernetes, executor: Executor
) -> None:
    server.faults.append(Fault(200, path="/log", method="GET", stream=Flood()))
    with in_time(1), pytest.raises(UiciError):
        do(executor, "logs", lines=5, timeout=1)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}',
        b'{"kind": "Status", "status": "Failure"}',
    ],
)
def test_a_failure_under_a_good_status_is_not_nothing_there(
    server: FakeKubernetes, executor: Executor, raw: bytes
) -> None:
    server.faults.append(Fault(200, path="/pods", method="GET", raw=raw))
    with pytest.raises(TemporaryError, match="not as a Kubernetes API server"):
        executor.look(WEB, timeout=5)


@pytest.mark.parametrize("raw", [b'{"status": []}', b'{"status": "x", "kind": "Y"}', b"[]"])
def test_a_review_of_rights_of_another_shape(
    server: FakeKubernetes, executor: Any, raw: bytes
) -> None:
    server.faults.append(Fault(200, path="accessreviews", times=99, raw=raw))
    with pytest.raises((TemporaryError, OutcomeUnknownError)):
        executor.missing_rights(["scale"], timeout=5)


# ── changes ─────────────────────────────────────────────────────────────────────

STRANGE = [
    b"<html>",
    b"",
    b"[]",
    b"null",
    b"{}",
    b'{"kind": 5}',
    b'{"kind": "Deployment"}',
    b'{"kind": "Deployment", "metadata": []}',
    b'{"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}',
    b'{"kind": "Deployment", "metadata": {"name": "other", "namespace": "shop", "uid": "1"}}',
    b'{"kind": "Status", "status": "Failure", "code": 409, "message": "no"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
@pytest.mark.parametrize("raw", STRANGE, ids=[str(raw[:40]) for raw in STRANGE])
def test_a_change_with_a_strange_answer_has_an_unknown_outcome(
    server: FakeKubernetes, executor: Executor, raw: bytes, after: bool
) -> None:
    server.faults.append(Fault(200, path="deployments/web", method="PATCH", raw=raw, after=after))
    with in_time(5), pytest.raises(OutcomeUnknownError):
        do(executor, "scale", replicas=3)
    # Nothing else is harmed: the next call tells what came of it, and does the rest.
    assert do(executor, "scale", replicas=3).changed is not after


@pytest.mark.parametrize("answer", [cut, Flood(), lambda _: None], ids=["cut", "flood", "none"])
@pytest.mark.parametrize(
    ("call", "path", "method"),
    [
        (("scale", {"replicas": 3}), "deployments/web", "PATCH"),
        (("restart", {"strategy": "force"}), "/pods/", "DELETE"),
    ],
)
def test_a_change_whose_answer_breaks_off_or_never_ends(
    server: FakeKubernetes,
    executor: Executor,
    *,
    answer: Stream,
    call: tuple[str, dict[str, Any]],
    path: str,
    method: str,
) -> None:
    server.faults.append(Fault(200, path=path, method=method, stream=answer, after=True))
    with in_time(5), pytest.raises(OutcomeUnknownError):
        do(executor, call[0], **call[1])


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"kind": "Status", "status": "Failure"}'])
def test_a_pod_is_not_taken_to_be_deleted_by_a_strange_answer(
    server: FakeKubernetes, executor: Executor, raw: bytes
) -> None:
    server.faults.append(Fault(200, path="/pods/", method="DELETE", raw=raw))
    with pytest.raises(OutcomeUnknownError):
        do(executor, "restart", strategy="force")


# ── exec ────────────────────────────────────────────────────────────────────────


def frame(payload: bytes, *, opcode: int = 2, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    head += bytes([size]) if size < 126 else bytes([127]) + struct.pack(">Q", size)
    return head + payload


CLOSE = frame(struct.pack(">H", 1000), opcode=8)


def ends_with(status: bytes) -> Stream:
    return says(frame(b"\x03" + status) + CLOSE)


def for_ever(part: bytes) -> Stream:
    def stream(out: BufferedIOBase) -> None:
        while True:
            out.write(part)

    return stream


def says(part: bytes) -> Stream:
    def stream(out: BufferedIOBase) -> None:
        out.write(part)

    return stream


@pytest.mark.parametrize("kind", ["silent", "trickles"])
def test_a_handshake_that_never_ends_leaves_no_thread(
    server: FakeKubernetes, executor: Executor, kind: str
) -> None:
    done = threading.Event()

    def stream(out: BufferedIOBase) -> None:
        if kind == "trickles":
            out.write(b"HTTP/1.1 101 Switching Protocols\r\n")
        while not done.wait(0.02):
            if kind == "trickles":
                out.write(b"X-More: and more\r\n")
                out.flush()

    server.faults.append(Fault(0, path="/exec", stream=stream))
    try:
        with in_time(3), pytest.raises(OutcomeUnknownError):
            do(executor, "exec", argv=["echo", "x"], timeout=1)
        limit = time.monotonic() + 3
        while any(t.name == "uici-kubernetes-exec" for t in threading.enumerate()):
            assert time.monotonic() < limit, "its thread waits for ever"
            time.sleep(0.02)
    finally:
        done.set()


def run(
    server: FakeKubernetes,
    executor: Executor,
    stream: Stream,
    **given: Any,
) -> PrimitiveResult:
    server.faults.append(Fault(101, path="/exec", stream=stream))
    return do(executor, "exec", argv=["echo", "x"], **given)


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"ok",
        b"[]",
        b'"Success"',
        b"null",
        b"{}",
        b'{"status": "success"}',
        b'{"status": ["Success"]}',
        b'{"status": "Failure", "reason": "NonZeroExitCode"}',
        b'{"status": "Failure", "reason": "NonZeroExitCode", "details": []}',
        b'{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": ["x"]}}',
        *(
            b'{"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": %s}]}}'
            % code
            for code in (b'"junk"', b'"0"', b"null", b"[]", b'"1e5"', b'"99999999999999999999"')
        ),
    ],
)
def test_the_end_of_a_command_is_told_in_the_apis_words_or_unknown(
    server: FakeKubernetes, executor: Executor, status: bytes
) -> None:
    with in_time(3), pytest.raises(OutcomeUnknownError, match="exec: "):
        run(server, executor, ends_with(status))


def test_a_command_that_could_not_be_run_has_failed(
    server: FakeKubernetes, executor: Executor
) -> None:
    status = json.dumps({"status": "Failure", "message": "no such\ncontainer", "details": None})
    with pytest.raises(PermanentError, match="no such container"):
        run(server, executor, ends_with(status.encode()))


@pytest.mark.parametrize(
    "stream",
    [
        for_ever(frame(b"\x01" + b"y" * 60_000)),
        for_ever(frame(b"", opcode=9)),
        for_ever(frame(b"")),
        for_ever(frame(b"\x03" + b" " * 10_000)),
        for_ever(frame(b"y" * 60_000, opcode=0, final=False)),
        says(bytes([0x82, 127]) + struct.pack(">Q", 2**62) + b"y" * 100_000),
        says(frame(b"\x01text")),
        says(b""),
        says(b"\xff\xff\xff\xff"),
        lambda _: time.sleep(3),
    ],
    ids=["output", "pings", "empty", "status", "parts", "frame", "cut", "gone", "noise", "silence"],
)
def test_a_command_whose_stream_is_not_the_apis_has_an_unknown_outcome(
    server: FakeKubernetes, executor: Executor, stream: Stream
) -> None:
    with in_time(1.5), pytest.raises(OutcomeUnknownError):
        run(server, executor, stream, timeout=1.5)


def test_output_is_bounded_and_read_to_its_end(server: FakeKubernetes, executor: Executor) -> None:
    def much(out: BufferedIOBase) -> None:
        out.write(frame(b"\x01begin ", final=False) + frame(b"more ", opcode=0))
        out.writelines(frame(b"\x01" + b"y" * 100_000) for _ in range(200))
        out.write(frame(b"\x02" + b"z" * 100) + frame(b"p", opcode=9))
        ends_with(b'{"status": "Success"}')(out)

    found = run(server, executor, much, timeout=20, max_output_bytes=1_000).output
    assert found["exit_code"] == 0
    assert found["stdout"] == "begin more " + "y" * 989
    assert found["stderr"] == ""
    assert found["truncated"]
