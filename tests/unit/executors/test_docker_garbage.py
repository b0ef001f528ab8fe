"""Answers that no Docker Engine gives: a failed read, never a crash and never a drift."""

from __future__ import annotations

import copy
import json
import socketserver
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.contract import ExecutorContext
from executors.deadline import Deadline
from executors.docker.executor import DockerExecutor
from executors.docker.reader import UnixReader
from executors.docker.session import DockerSession
from executors.docker.spec import Reach
from infrastructure.errors import TemporaryError, UiciError
from infrastructure.observed import EngineSnapshot, ObservedInstance
from infrastructure.operations import PrimitiveCall
from tests.builders import ENVIRONMENT, service
from tests.fakes.engine import NOBODY
from tests.unit.executors.test_docker_spec import inspect

WEB = service("web", native={"HostConfig": {"Init": True}})
TARGET = {"uici.target": WEB.target}
ENTRY: Mapping[str, Any] = {"Id": "c" * 64, "Names": ["/web"], "Labels": TARGET}
FULL: Mapping[str, Any] = {
    **inspect(
        State__Health={"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no"}]},
        HostConfig__CpuQuota=50_000,
        HostConfig__NanoCpus=0,
        HostConfig__Mounts=[{"Type": "volume", "Target": "/data"}],
        HostConfig__Binds=["named:/named"],
        Config__Labels=TARGET,
    ),
    "Mounts": [{"Type": "volume", "Name": "named", "Destination": "/named"}],
}
GONE = object()

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("Id", "Name", "Names", "State", "Config", "HostConfig", "Labels"))
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a document, the document itself included."""
    yield path
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, below in inner:
        yield from places(below, (*path, key))


def spoiled(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with something else, or nothing (GONE), at `path`."""
    if not path:
        return None if value is GONE else value
    result = copy.deepcopy(document)
    place = result
    for key in path[:-1]:
        place = place[key]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return result


def spoilt_copies(document: Any) -> st.SearchStrategy[Any]:
    replacement = st.just(GONE) | anything
    return st.builds(
        spoiled, st.just(document), st.sampled_from(list(places(document))), replacement
    )


class Answering:
    """An engine whose list and inspects are what a test says."""

    address = "unix:///engine.sock"

    def __init__(self, listed: Any, inspected: Any) -> None:
        self._listed = listed
        self._inspected = inspected

    def fetch(self, path: str, *, what: str, timeout: float) -> bytes:  # noqa: ARG002 - the protocol's
        answer = self._listed if path.startswith("/containers/json") else self._inspected
        return json.dumps(answer).encode()

    def open(
        self, deadline: Deadline, names: dict[str, str]
    ) -> AbstractContextManager[DockerSession]:
        raise AssertionError(f"nothing is to be changed: {deadline} {names}")

    def version(self, timeout: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        return {"ApiVersion": "1.41"}

    def close(self) -> None:
        pass


def executor(listed: Any, inspected: Any) -> DockerExecutor:
    context = ExecutorContext(ENVIRONMENT, 2, NOBODY, str)
    reach = Reach(local=True, host="127.0.0.1")
    made = DockerExecutor(Answering(listed, inspected), context, reach=reach, pull=False)
    made.declare(frozenset({"web"}))
    return made


def observe(listed: Any, inspected: Any) -> EngineSnapshot:
    return executor(listed, inspected).observe((WEB,), all_services=True, timeout=5)


def is_sound(seen: ObservedInstance) -> bool:
    """What later stages reckon with has the types that they were promised."""
    moments = [m for m in (seen.started_at, seen.finished_at) if m is not None]
    pairs = [*seen.native.labels.items(), *seen.spec.env.items()]
    words: list[object] = [seen.native.id, seen.native.name, seen.reason, *seen.spec.ports]
    words += [word for pair in pairs for word in pair]
    words += [seen.spec.image or "", seen.address or "", *(seen.spec.command or ())]
    numbers: list[object] = [seen.restart_count, seen.exit_code or 0, seen.spec.memory]
    ports = [port for _, port in seen.published.values()]
    assert seen.spec.cpu is not None
    return (
        all(type(word) is str for word in words)
        and all(type(number) is int for number in numbers)
        and all(m.tzinfo is not None for m in moments)
        and seen.spec.cpu.is_finite()
        and all(0 < port < 65536 for port in ports)
    )


def check(listed: Any, inspected: Any) -> None:
    try:
        snapshot = observe(listed, inspected)
    except UiciError as exc:
        assert isinstance(exc, TemporaryError)  # noqa: PT017 - either outcome is right
        assert "\n" not in str(exc)  # noqa: PT017 - as above
        return
    assert set(snapshot.services) == {WEB.target}
    assert all(is_sound(instance) for instance in snapshot.services[WEB.target].instances)


def test_a_sound_answer_is_observed() -> None:
    (found,) = observe([ENTRY], FULL).services[WEB.target].instances
    assert is_sound(found)
    assert found.native.id == ENTRY["Id"]


@given(listed=anything | spoilt_copies([dict(ENTRY)]))
def test_garbage_in_the_list_is_a_failed_read(listed: Any) -> None:
    check(listed, FULL)


@given(inspected=anything | spoilt_copies(dict(FULL)))
def test_garbage_in_an_inspect_is_a_failed_read(inspected: Any) -> None:
    check([ENTRY], inspected)


@pytest.mark.parametrize(
    "listed",
    [
        None, {}, "x", 5, [[]], ["x"], [None], [{}], [{"Id": "c"}], [{"Names": ["/web"]}],
        [{"Id": "", "Names": ["/web"]}], [{"Id": 5, "Names": ["/web"]}],
        [{"Id": "c", "Names": "/web"}], [{"Id": "c", "Names": [5]}],
        [{"Id": "c", "Names": ["/web"], "Labels": ["a"]}],
        [{"Id": "c", "Names": ["/web"], "Labels": {"com.docker.compose.service": ["a"]}}],
        [{"Id": "c", "Names": ["/web-" + "9" * 5000]}],
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_not_an_empty_one(listed: Any) -> None:
    with pytest.raises(TemporaryError, match=r"list containers: .* not as a Docker Engine"):
        observe(listed, FULL)


@pytest.mark.parametrize(
    "inspected",
    [
        None, [], "x", 5, {}, {"State": {}},
        *(
            spoiled(FULL, path, value)
            for path, value in [
                (("Id",), GONE), (("Name",), GONE), (("State",), GONE), (("State",), {}),
                (("State",), []), (("Config",), GONE), (("HostConfig",), GONE),
                (("HostConfig",), "x"), (("HostConfig", "Memory"), "64Mi"),
                (("HostConfig", "NanoCpus"), float("inf")), (("Config", "Env"), "A=1"),
                (("Config", "Env"), [5]), (("Config", "Labels"), ["a"]),
                (("Config", "Labels"), {"a": 5}), (("State", "Health"), "sick"),
                (("State", "Health", "Log"), {"a": 1}), (("State", "StartedAt"), "yesterday"),
                (("State", "StartedAt"), "2026-11-22T09:24:01"), (("RestartCount",), "2"),
                (("NetworkSettings", "Networks"), ["bridge"]),
                (("NetworkSettings", "Networks"), {"bridge": None}),
                (("NetworkSettings", "Ports"), {"x/tcp": [{"HostPort": "1"}]}),
                (("NetworkSettings", "Ports"), {"80/tcp": [{"HostPort": "99999"}]}),
                (("NetworkSettings", "Ports"), {"80/tcp": {"HostPort": "1"}}),
            ]
        ),
    ],
)  # fmt: skip
def test_an_inspect_that_is_none_is_a_failed_read_for_looks_and_calls(inspected: Any) -> None:
    made = executor([ENTRY], inspected)
    for action in (
        lambda: made.observe((WEB,), all_services=True, timeout=5),
        lambda: made.look(WEB, timeout=5),
    ):
        with pytest.raises(TemporaryError, match=r"inspect a container: .* not as a Docker"):
            action()


@pytest.mark.parametrize("inspected", [None, [], "x", {}, {"State": {}}])
@pytest.mark.parametrize("primitive", ["inspect", "restart", "recreate", "create"])
def test_garbage_ends_a_call_before_anything_is_changed(inspected: Any, primitive: str) -> None:
    with pytest.raises(TemporaryError):
        executor([ENTRY], inspected).call(WEB, PrimitiveCall(primitive), timeout=5)


def test_one_garbled_container_among_many_is_told_too() -> None:
    """On several threads, and with the field; what stands in it may be a secret."""
    entries = [{**ENTRY, "Id": f"{n:064x}"} for n in range(8)]
    env = spoiled(FULL, ("Config", "Env"), {"PASSWORD": "hidden"})
    with pytest.raises(TemporaryError, match=r"\(Config\.Env\)") as error:
        observe(entries, env)
    assert "hidden" not in str(error.value)
    assert "PASSWORD" not in str(error.value)


def test_ports_that_have_no_number_yet_are_left_out() -> None:
    unbound = {"80/tcp": [{"HostIp": None, "HostPort": ""}]}
    found = observe([ENTRY], spoiled(FULL, ("NetworkSettings", "Ports"), unbound))
    assert found.services[WEB.target].instances[0].published == {}


# ── below: bodies that are no answer ────────────────────────────────────────────


@contextmanager
def serving(path: Path, status: int, body: bytes | None) -> Iterator[UnixReader]:
    """A reader of a server that gives one answer to everything; None: one without end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if body is None:
                self.send_response(status)
                self.end_headers()
                with suppress(OSError):  # who asked has had enough
                    while True:
                        self.wfile.write(b" " * 2**20)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

        def address_string(self) -> str:
            return "a peer without an address"

    with socketserver.UnixStreamServer(str(path), cast("Any", Handler)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        reader = UnixReader(str(path), address="unix:///engine.sock", max_bytes=2**26)
        try:
            yield reader
        finally:
            reader.close()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "body", [b"[]", b'"x"', b"5", b"null", b'{"message": 5}', b'{"message": ["a"]}', b"<p>", b""]
)
def test_the_body_of_an_error_may_be_anything(tmp_path: Path, body: bytes) -> None:
    with (
        serving(tmp_path / "s", 500, body) as reader,
        pytest.raises(TemporaryError, match="list containers"),
    ):
        reader.get("/", what="list containers", timeout=5)


@pytest.mark.parametrize("body", [None, b"x" * 50 * 1024 * 1024], ids=["endless", "50 MB"])
def test_an_answer_that_is_far_too_much_is_given_up(tmp_path: Path, body: bytes | None) -> None:
    begun = time.monotonic()
    tracemalloc.start()
    try:
        with (
            serving(tmp_path / "s", 200, body) as reader,
            pytest.raises(TemporaryError, match="list containers"),
        ):
            reader.get("/", what="list containers", timeout=30)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 20
    assert most < 4 * 2**26


def test_json_that_is_nested_too_deep_is_garbage(tmp_path: Path) -> None:
    depth = 100_000
    with (
        serving(tmp_path / "s", 200, b"[" * depth + b"]" * depth) as reader,
        pytest.raises(TemporaryError, match="not as a Docker Engine"),
    ):
        reader.get("/", what="list containers", timeout=5)


def test_documents_of_this_test_are_json() -> None:
    assert json.loads(json.dumps([ENTRY, FULL])) == [ENTRY, FULL]
