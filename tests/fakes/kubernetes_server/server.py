"""The HTTP side of the cluster in memory: paths, verbs, content types, faults."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.kubernetes_server import fields
from tests.fakes.kubernetes_server.admission import InvalidError
from tests.fakes.kubernetes_server.controllers import Controllers
from tests.fakes.kubernetes_server.store import KINDS, MissingError, StaleError, Store, now

Json = dict[str, Any]
_TICK = 0.02  # seconds between two passes of the controllers
_GROUP = re.compile(r"/apis/[a-z.]+/v\d+")
_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


@dataclass
class Fault:
    """An answer instead of the right one, `times` times, for paths that contain `path`."""

    status: int
    path: str = ""
    method: str = ""
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False  # the change is made, then this is answered
    raw: bytes | None = None
    stream: Callable[[BufferedIOBase], None] | None = None  # writes the answer itself; then the end
    skip: int = 0  # of the requests that it is for, so many are answered rightly before


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    content_type: str

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


class _AnswerError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": status,
            **more,
        }


class FakeKubernetes:
    """Serves until its `with` block ends.

    Attributes:
        store: the objects.
        controllers: what moves them.
        faults: taken in order; see `Fault`.
        denied: rights (`delete pods`) that access reviews, and requests, are refused.
        denied_across: those that reviews refuse for all namespaces at once only.
        unserved: plurals that this version of the API does not have.
        metrics: whether there is a metrics API.
        files: what commands that were run in pods left behind, by pod uid.
        requests: everything that was asked, in order.
    """

    def __init__(self, *, controllers: bool = True) -> None:
        self.store = Store()
        self.controllers = Controllers(self.store)
        self.faults: list[Fault] = []
        self.denied: set[str] = set()
        self.denied_across: set[str] = set()
        self.unserved: set[str] = set()
        self.metrics = True
        self.expire_after: int | None = None  # pages after which a list's token is too old
        self.files: dict[str, set[str]] = {}
        self.requests: list[Asked] = []
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cluster = self
        self._threads = [threading.Thread(target=self._server.serve_forever, args=(0.05,))]
        if controllers:
            self._threads.append(threading.Thread(target=self._control))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        for thread in self._threads:
            thread.join(timeout=10)

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for it; contexts `admin` and `other` lead here."""
        path = folder / "kubeconfig"
        contexts = [
            {"name": name, "context": {"cluster": "fake", "user": name}}
            for name in ("admin", "other")
        ]
        users = [{"name": name, "user": {"token": f"token-{name}"}} for name in ("admin", "other")]
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                    "users": users,
                    "contexts": contexts,
                    "current-context": "admin",
                }
            )
        )
        return path

    def _control(self) -> None:
        while not self._stopping.wait(_TICK):
            self.controllers.run()

    # ── requests ────────────────────────────────────────────────────────────────

    def answer(self, asked: Asked) -> Any:
        """The body of a good answer.

        Raises:
            _AnswerError: it is none.
        """
        for prefix, respond in (
            ("/version", self._version),
            ("/apis/authorization.k8s.io/", self._review),
            ("/apis/metrics.k8s.io/", self._metrics),
        ):
            if asked.path.startswith(prefix):
                return respond(asked)
        if _GROUP.fullmatch(asked.path):
            return self._discover(asked.path.removeprefix("/apis/"))
        where = _Where.parse(asked.path)
        if where.plural in self.unserved:
            raise _no_such_kind()
        self._allow(asked, where)
        try:
            return self._do(asked, where)
        except MissingError as exc:
            details = {"name": where.name, "kind": where.plural}
            raise _AnswerError(404, "NotFound", str(exc), details=details) from None
        except StaleError as exc:
            raise _AnswerError(409, "Conflict", str(exc)) from None
        except InvalidError as exc:
            raise _AnswerError(422, "Invalid", f"{where.plural} is invalid: {exc}") from None
        except fields.ApplyConflictError as exc:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{manager}"',
                    "field": name,
                }
                for name, manager in exc.fields
            ]
            message = f"Apply failed with {len(causes)} conflict"
            raise _AnswerError(409, "Conflict", message, details={"causes": causes}) from None

    def _do(self, asked: Asked, where: _Where) -> Any:
        if where.sub == "log":
            return self._log(asked, where)
        if not where.name:
            return self._list(asked, where) if asked.method == "GET" else self._create(asked, where)
        match asked.method:
            case "GET":
                return self.store.get(where.plural, where.namespace, where.name)
            case "PATCH":
                return self._patch(asked, where)
            case "DELETE":
                return self._delete(asked, where)
            case _:
                raise _AnswerError(405, "MethodNotAllowed", "no such verb here")

    def _allow(self, asked: Asked, where: _Where) -> None:
        verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
        verb = verbs.get(asked.method, "get" if where.name else "list")
        resource = where.plural + (f"/{where.sub}" if where.sub else "")
        if f"{verb} {resource}" in self.denied:
            message = f'{where.plural} is forbidden: User "agent" cannot {verb} resource'
            raise _AnswerError(403, "Forbidden", message)

    def _list(self, asked: Asked, where: _Where) -> Json:
        version, kind = KINDS[where.plural]
        found = [
            item
            for item in self.store.all(where.plural, where.namespace or None)
            if _selected(item, asked.one("labelSelector"))
        ]
        limit = int(asked.one("limit", "0")) or len(found) or 1
        start = int(asked.one("continue", "0").rpartition("@")[2] or 0)
        if start and self.expire_after is not None:
            self.expire_after -= 1
            if self.expire_after < 0:
                self.expire_after = None
                raise _AnswerError(410, "Expired", "The provided continue parameter is too old")
        page = found[start : start + limit]
        more = f"v1@{start + limit}" if start + limit < len(found) else ""
        return {
            "kind": f"{kind}List",
            "apiVersion": version,
            "metadata": {"resourceVersion": str(self.store.version), "continue": more},
            # As the real one: items of a list say neither kind nor version.
            "items": [{k: v for k, v in i.items() if k not in ("kind", "apiVersion")} for i in page]
            or None,
        }

    def _create(self, asked: Asked, where: _Where) -> Json:
        item = copy.deepcopy(asked.body)
        item["metadata"].setdefault("namespace", where.namespace)
        return self.store.create(where.plural, item, manager=asked.one("fieldManager", "someone"))

    def _patch(self, asked: Asked, where: _Where) -> Json:
        manager = asked.one("fieldManager", "someone")
        if asked.content_type == "application/apply-patch+yaml":
            force = asked.one("force") == "true"
            applied, _ = self.store.apply(
                where.plural,
                where.namespace,
                where.name,
                asked.body,
                manager=manager,
                force=force,
                dry=asked.one("dryRun") == "All",
            )
            return applied
        strategic = asked.content_type == "application/strategic-merge-patch+json"

        def edit(item: Json) -> None:
            patched = fields.merged(item, asked.body) if strategic else _merge(item, asked.body)
            item.clear()
            item.update(patched)

        return self.store.change(
            where.plural, where.namespace, where.name, edit, manager=manager, subresource=where.sub
        )

    def _delete(self, asked: Asked, where: _Where) -> Json:
        item = self.store.get(where.plural, where.namespace, where.name)
        options = asked.body or {}
        uid = (options.get("preconditions") or {}).get("uid")
        if uid is not None and uid != item["metadata"]["uid"]:
            raise StaleError("Precondition failed: UID in precondition does not match")
        if where.plural == "pods" and options.get("gracePeriodSeconds") != 0:

            def edit(found: Json) -> None:
                found["metadata"]["deletionTimestamp"] = now()

            return self.store.change("pods", where.namespace, where.name, edit, manager="apiserver")
        self.store.delete(where.plural, where.namespace, where.name)
        return {"kind": "Status", "status": "Success"}

    # ── what is no object ───────────────────────────────────────────────────────

    def _version(self, _: Asked) -> Json:
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake"}

    def _discover(self, group: str) -> Json:
        plurals = [p for p, (known, _) in KINDS.items() if known == group]
        if not plurals:
            raise _no_such_kind()
        names = [{"name": plural} for plural in plurals if plural not in self.unserved]
        return {"kind": "APIResourceList", "groupVersion": group, "resources": names}

    def _review(self, asked: Asked) -> Json:
        wanted = asked.body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
        refused = self.denied if wanted.get("namespace") else self.denied | self.denied_across
        allowed = f"{wanted['verb']} {resource}" not in refused
        return {**asked.body, "status": {"allowed": allowed}}

    def _metrics(self, asked: Asked) -> Json:
        if not self.metrics:
            raise _AnswerError(404, "NotFound", "the server could not find the requested resource")
        namespace = asked.path.split("/")[5]
        pods = self.store.all("pods", namespace)
        return {
            "kind": "PodMetricsList",
            "items": [
                {
                    "metadata": {"name": pod["metadata"]["name"], "namespace": namespace},
                    "containers": [
                        {"name": c["name"], "usage": {"cpu": "12500000n", "memory": "10240Ki"}}
                        for c in pod["spec"]["containers"]
                    ],
                }
                for pod in pods
                if _selected(pod, asked.one("labelSelector"))
            ],
        }

    def _log(self, asked: Asked, where: _Where) -> bytes:
        pod = self.store.get("pods", where.namespace, where.name)
        status = (pod["status"].get("containerStatuses") or [{}])[0]
        if asked.one("previous") == "true":
            if not status.get("restartCount"):
                message = 'previous terminated container "main" not found'
                raise _AnswerError(400, "BadRequest", message)
            return f"{_nano(pod)} ERROR before the crash\n".encode()
        waits = "waiting" in (status.get("state") or {}) and not status.get("restartCount")
        if not status or waits:
            raise _AnswerError(400, "BadRequest", 'container "main" is waiting to start')
        return f"{_nano(pod)} ready\n".encode()

    def run_command(self, path: str, argv: list[str]) -> tuple[int, str, str]:
        """What a command in a pod does: exit code, stdout, stderr."""
        where = _Where.parse(path)
        pod = self.store.get("pods", where.namespace, where.name)
        match argv:
            case ["echo", *words]:
                return 0, " ".join(words) + "\n", ""
            case ["touch", file]:
                self.files.setdefault(pod["metadata"]["uid"], set()).add(file)
                return 0, "", ""
            case ["false"]:
                return 1, "", "went wrong\n"
            case _:
                return 127, "", f"{argv[0]}: not found\n"


@dataclass(frozen=True)
class _Where:
    plural: str
    namespace: str
    name: str
    sub: str

    @classmethod
    def parse(cls, path: str) -> _Where:
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if len(parts) > 2 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        plural, name, sub = [*parts, "", "", ""][:3]
        if plural not in KINDS:
            raise _no_such_kind()
        return cls(plural, namespace, name, sub)


def _no_such_kind() -> _AnswerError:
    """As the real one says it: without a name."""
    message = "the server could not find the requested resource"
    return _AnswerError(404, "NotFound", message, details={})


def _selected(item: Json, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    return all(
        labels.get(key) == value
        for key, _, value in (part.partition("=") for part in selector.split(",") if part)
    )


def _merge(base: Any, patch: Any) -> Any:
    """A JSON merge patch: RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merge(found.get(key), value)
    return found


def _nano(pod: Json) -> str:
    return str(pod["metadata"]["creationTimestamp"]).replace("Z", ".000000000Z")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = False
    cluster: FakeKubernetes

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        self._working: list[threading.Thread] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
            thread = threading.Thread(
                target=self.process_request_thread, args=(request, client_address)
            )
            self._working.append(thread)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none."""

    def hang_up(self) -> None:
        """End all conversations."""
        with self._lock:
            found, threads = list(self._open), list(self._working)
        for request in found:
            with contextlib.suppress(OSError):
                request.shutdown(2)
        for thread in threads:
            thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY: head and body are two writes

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def _handle(self) -> None:
        cluster = self.server.cluster
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        asked = Asked(
            self.command,
            split.path,
            parse_qs(split.query),
            json.loads(raw) if raw else None,
            self.headers.get("Content-Type", ""),
        )
        cluster.requests.append(asked)
        fault = self._fault(asked)
        if fault is not None and fault.stream is not None:
            self._misbehave(asked, fault, fault.stream)
            return
        if fault is not None and not fault.after:
            self._send(fault.status, fault.raw or _failure(fault.status), fault.headers)
            return
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._exec(asked)
            return
        try:
            body = cluster.answer(asked)
        except _AnswerError as exc:
            self._send(exc.status, json.dumps(exc.body).encode())
            return
        if fault is not None:
            self._send(fault.status, fault.raw or _failure(fault.status), fault.headers)
            return
        self._send(200, body if isinstance(body, bytes) else json.dumps(body).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle  # noqa: N815 - the library's names

    def _misbehave(
        self, asked: Asked, fault: Fault, stream: Callable[[BufferedIOBase], None]
    ) -> None:
        """The fault writes what it likes; with status 101 a websocket is opened for it first."""
        if fault.after:
            self.server.cluster.answer(asked)
        self.close_connection = True
        with contextlib.suppress(OSError):  # who asked has had enough
            if self.headers.get("Upgrade", "").lower() == "websocket" and fault.status == 101:
                self._accept()
            stream(self.wfile)

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.server.cluster.faults:
            fits = fault.path in asked.path and fault.method in ("", asked.method)
            if fits and fault.skip > 0:
                fault.skip -= 1
            elif fits and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # ── exec ────────────────────────────────────────────────────────────────────

    def _exec(self, asked: Asked) -> None:
        try:
            self.server.cluster._allow(asked, _Where.parse(asked.path))
            code, out, err = self.server.cluster.run_command(
                asked.path.removesuffix("/exec"), asked.query.get("command", [])
            )
        except (_AnswerError, MissingError) as exc:
            self._send(getattr(exc, "status", 404), _failure(getattr(exc, "status", 404)))
            return
        self._accept()
        status: Json = {"status": "Success"}
        if code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "details": {"causes": causes},
            }
        for frame in _frames(out, err, status):
            self.wfile.write(frame)
        self.close_connection = True

    def _accept(self) -> None:
        key = self.headers["Sec-WebSocket-Key"]
        accept = base64.b64encode(
            hashlib.sha1((key + _WEBSOCKET).encode(), usedforsecurity=False).digest()
        )
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()


def _frames(out: str, err: str, status: Json) -> Iterator[bytes]:
    for channel, text in ((1, out), (2, err), (3, json.dumps(status))):
        if text:
            yield _frame(2, bytes([channel]) + text.encode())
    yield _frame(8, struct.pack(">H", 1000))


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([0x80 | opcode])
    head += bytes([size]) if size < 126 else bytes([126]) + struct.pack(">H", size)
    return head + payload


def _failure(status: int) -> bytes:
    return json.dumps(
        {"kind": "Status", "status": "Failure", "message": f"fault {status}"}
    ).encode()
