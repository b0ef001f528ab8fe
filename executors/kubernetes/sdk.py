"""The Kubernetes environment: its connection, and the one home of the `kubernetes` package.

`connect` is what the executor contract asks of an environment's module; what it is given is
described in `settings`. `SdkCluster` is the
API server as the procedures see it (`executors.kubernetes.session.Cluster`): credentials, TLS,
proxies and the websocket are the package's; paths and bodies are ours, as plain JSON. Its
generated models are not used: they cost most of the time and memory of a large list, and they
refuse fields that a newer server has. The package is imported at first use. What comes back
is read by `answers` and `exec_stream`. Longer than its neighbours because the package may be
named here only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket as sockets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from executors.contract import ExecutorContext
from executors.deadline import Deadline
from executors.kubernetes.answers import TooLongError, body_of, decoded, said_by, too_long
from executors.kubernetes.binding import Json
from executors.kubernetes.errors import REMEDY, error_of_status, translate
from executors.kubernetes.exec_stream import conversation
from executors.kubernetes.executor import KubernetesExecutor
from executors.kubernetes.session import Executed, Policy, Query
from executors.kubernetes.settings import Connection
from infrastructure.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    PermanentError,
    UiciError,
)

if TYPE_CHECKING:
    import kubernetes.client  # noqa: TID251 - this is its one home
    import urllib3
    import websocket

__all__ = ["Connection", "KubernetesExecutor", "connect"]

_LEAST = 0.05  # seconds
_MOST_PAUSE = 2.0  # seconds between two tries of a read
R = TypeVar("R")


def connect(connection: Connection, context: ExecutorContext) -> KubernetesExecutor:
    """Make an executor. Nothing is contacted and nothing is imported yet."""
    return KubernetesExecutor(
        SdkCluster(connection),
        context,
        namespaces=connection.namespaces,
        cluster_wide=connection.cluster_wide,
        kinds=connection.kinds,
        page_size=connection.page_size,
        progress_deadline=connection.progress_deadline,
        protect_own_namespace=connection.agent_namespace == "protected",
        policy=Policy(
            manager=connection.field_manager,
            take_over=frozenset(connection.take_over),
            attempts=connection.change_attempts,
        ),
    )


class SdkCluster:
    """An API server over the package's client. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        where = connection.context or connection.kubeconfig or "the pod's own cluster"
        self.address = f"the Kubernetes API server of {where}"
        self._lock = threading.Lock()
        # Held by the thread that asks for credentials, by a plugin that hangs for ever.
        self._credentials = threading.Lock()
        self._api: kubernetes.client.ApiClient | None = None

    # ── requests ────────────────────────────────────────────────────────────────

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        deadline: Deadline,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        lean: bool = False,
    ) -> Json:
        """See `Cluster`; so are all below."""
        content = None if body is None else json.dumps(body).encode()
        raw = self._sent(
            method,
            path,
            what=what,
            deadline=deadline,
            query=query,
            content=content,
            content_type=content_type,
        )
        return decoded(
            raw,
            what=what,
            engine=self.address,
            mutating=method != "GET",
            lean=lean,
            sent=body if method == "PATCH" else None,
        )

    def text(
        self, path: str, *, what: str, deadline: Deadline, query: Query, limit: int
    ) -> tuple[str, bool]:
        raw = self._sent("GET", path, what=what, deadline=deadline, query=query, limit=limit)
        return raw[-limit:].decode(errors="replace"), len(raw) > limit

    def close(self) -> None:
        with self._lock:
            api, self._api = self._api, None
        if api is not None:
            api.rest_client.pool_manager.clear()
            api.close()  # type: ignore[no-untyped-call]  # the package is not typed here

    def _sent(
        self,
        method: str,
        path: str,
        *,
        what: str,
        deadline: Deadline,
        query: Query = (),
        content: bytes | None = None,
        content_type: str = "application/json",
        limit: int | None = None,
    ) -> bytes:
        """The body of a good answer. 429 changes nothing, so it is tried again for all."""
        pause = self._connection.first_pause.total_seconds()
        for attempt in range(1, self._connection.read_attempts + 1):
            headers = {"Accept": "application/json"}
            if content is not None:
                headers["Content-Type"] = content_type
            status, raw, after = self._run(
                what,
                lambda headers=headers: self._once(  # type: ignore[misc]  # bound now
                    method, path, query, headers, content, deadline=deadline, what=what, limit=limit
                ),
                mutating=method != "GET",
            )
            if status < 400:
                return raw
            again = status == 429 or (status >= 500 and method == "GET")
            wait = max(pause, after)
            if not again or attempt == self._connection.read_attempts or wait >= deadline.left:
                raise error_of_status(
                    status, said_by(raw), what=what, engine=self.address, mutating=method != "GET"
                )
            time.sleep(wait)
            pause = min(2 * pause, _MOST_PAUSE)
        raise AssertionError("unreachable")  # pragma: no cover

    def _once(
        self,
        method: str,
        path: str,
        query: Query,
        headers: dict[str, str],
        content: bytes | None,
        *,
        deadline: Deadline,
        what: str,
        limit: int | None,
    ) -> tuple[int, bytes, float]:
        """Status, body, and the seconds of `Retry-After`."""
        api = self._client(what, deadline)
        url, prepared = self._prepared(
            api, method, path, query=query, headers=headers, what=what, deadline=deadline
        )
        # Given as bytes, the body of a patch goes out as it is.
        answer = api.rest_client.pool_manager.request(
            method,
            url,
            body=content,
            headers=prepared,
            timeout=_timeout(deadline.require(what)),
            preload_content=False,
            redirect=False,
        )
        try:
            raw = body_of(answer, deadline, most=self._connection.max_answer, tail=limit)
        except TooLongError:
            answer.close()
            most = self._connection.max_answer
            raise too_long(what, self.address, most, mutating=method != "GET") from None
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        after = str(answer.headers.get("Retry-After", ""))
        return int(answer.status), raw, float(after) if after.isdigit() else 0.0

    def _run(self, what: str, action: Callable[[], R], *, mutating: bool) -> R:
        try:
            return action()
        except _vendor_errors() as exc:
            raise translate(exc, what=what, engine=self.address, mutating=mutating) from exc

    def _client(self, what: str, deadline: Deadline) -> kubernetes.client.ApiClient:
        def connected() -> kubernetes.client.ApiClient:
            found = self._api  # perhaps somebody else's, while this one waited
            if found is None:
                found = self._connected(what)
                with self._lock:
                    self._api = found
            return found

        return self._api or self._bounded(connected, what=what, deadline=deadline)

    def _prepared(
        self,
        api: kubernetes.client.ApiClient,
        method: str,
        path: str,
        *,
        query: Query,
        headers: dict[str, str],
        what: str,
        deadline: Deadline,
    ) -> tuple[str, dict[str, str]]:
        """Address and headers. Credentials that have expired are asked for anew."""

        def serialized() -> tuple[str, dict[str, str]]:
            _, url, prepared, _, _ = api.param_serialize(
                method, path, query_params=list(query), header_params=headers, auth_settings=_AUTH
            )
            return url, prepared

        # A service account's token is a file; only what a kubeconfig names can hang.
        renewed = self._connection.kubeconfig and api.configuration.refresh_api_key_hook
        return self._bounded(serialized, what=what, deadline=deadline) if renewed else serialized()

    def _bounded(self, action: Callable[[], R], *, what: str, deadline: Deadline) -> R:
        """What may run a credentials plugin, which has no time-out: one at a time, on a thread.

        A thread that is given up goes on; what it finds is the next caller's.

        Raises:
            DeadlineExceededError: nothing was sent.
        """
        late = DeadlineExceededError(
            f"{what}: no credentials for {self.address} in time: try the `exec` plugin of the"
            " kubeconfig by hand"
        )
        if not self._credentials.acquire(timeout=deadline.require(what)):
            raise late
        outcome: deque[R] = deque()
        failed: deque[Exception] = deque()

        def work() -> None:
            try:
                outcome.append(action())
            except UiciError as exc:
                failed.append(exc)
            except _vendor_errors() as exc:
                failed.append(exc)
            finally:
                self._credentials.release()

        thread = threading.Thread(target=work, name="uici-kubernetes-credentials", daemon=True)
        thread.start()
        thread.join(deadline.left)
        if failed:
            raise failed.pop()
        if not outcome:
            raise late
        return outcome.pop()

    def _connected(self, what: str) -> kubernetes.client.ApiClient:
        # Late: 0.35 CPU seconds that only a run with this environment pays.
        import kubernetes.client  # noqa: PLC0415, TID251 - imported late; this is its one home
        import kubernetes.config  # noqa: PLC0415, TID251 - as above

        settings = kubernetes.client.Configuration()
        try:
            if self._connection.kubeconfig is None:
                kubernetes.config.load_incluster_config(settings)  # type: ignore[no-untyped-call]  # the package is not typed here
            else:
                kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]  # the package is not typed here
                    self._connection.kubeconfig,
                    context=self._connection.context,
                    client_configuration=settings,
                    persist_config=False,
                )
        except _vendor_errors() as exc:
            raise PermanentError(
                f"{what}: the connection to {self.address} can't be made: {exc}: see `connection`"
                " in environments.yml"
            ) from exc
        # Retries of the transport would multiply every deadline; ours are in `_sent`.
        settings.retries = False
        if not settings.verify_ssl:
            # The kubeconfig says so; a warning a request would bury everything else.
            import urllib3  # noqa: PLC0415 - comes with the package

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return kubernetes.client.ApiClient(settings)

    # ── exec ────────────────────────────────────────────────────────────────────

    def execute(
        self, path: str, argv: Sequence[str], *, container: str, deadline: Deadline, limit: int
    ) -> Executed:
        what = f"exec in {path.rpartition('/')[2]}"
        outcome: deque[Executed | UiciError] = deque()
        opened: deque[websocket.WebSocket] = deque()

        def work() -> None:
            def talk() -> Executed:
                socket = self._open_exec(
                    path,
                    argv,
                    container=container,
                    what=what,
                    deadline=deadline,
                    opening=opened.append,
                )
                try:
                    return conversation(socket, deadline, limit)
                finally:
                    socket.shutdown()  # type: ignore[no-untyped-call]  # the package is not typed here

            try:
                outcome.append(self._run(what, talk, mutating=True))
            except UiciError as exc:
                outcome.append(exc)

        # On a thread: each read of the handshake has a time-out, all of them together have none.
        thread = threading.Thread(target=work, name="uici-kubernetes-exec", daemon=True)
        thread.start()
        thread.join(deadline.left + 0.2)
        if not outcome:
            for socket in opened:
                _end(socket)
            raise OutcomeUnknownError(f"{what}: did not end in time", remedy=REMEDY)
        result = outcome.pop()
        if isinstance(result, UiciError):
            raise result
        return result

    def _open_exec(
        self,
        path: str,
        argv: Sequence[str],
        *,
        container: str,
        what: str,
        deadline: Deadline,
        opening: Callable[[websocket.WebSocket], None],
    ) -> websocket.WebSocket:
        from kubernetes.stream import ws_client  # noqa: PLC0415, TID251 - as in _connected

        api = self._client(what, deadline)
        query = [
            *(("command", word) for word in argv),
            ("container", container),
            ("stdout", "true"),
            ("stderr", "true"),
            ("stdin", "false"),
            ("tty", "false"),
        ]
        url, prepared = self._prepared(
            api, "GET", f"{path}/exec", query=(), headers={}, what=what, deadline=deadline
        )
        address = ws_client.get_websocket_url(url, query)  # type: ignore[no-untyped-call]  # the package is not typed here
        return _handshake(api.configuration, address, prepared, deadline, opening)


def _handshake(
    configuration: Any,
    address: str,
    headers: Mapping[str, str],
    deadline: Deadline,
    opening: Callable[[websocket.WebSocket], None],
) -> websocket.WebSocket:
    """As the package's `create_websocket`, which knows no time-out.

    `opening` is given the socket before anything is sent, for whoever gives it up.
    """
    import certifi  # noqa: PLC0415 - comes with the package
    import websocket  # noqa: PLC0415 - comes with the package
    from kubernetes.stream import ws_client  # noqa: PLC0415, TID251 - as in _connected

    verified = address.startswith("wss://") and configuration.verify_ssl
    tls: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if verified else ssl.CERT_NONE}
    if verified:
        tls["ca_certs"] = configuration.ssl_ca_cert or certifi.where()
        if configuration.assert_hostname is not None:
            tls["check_hostname"] = configuration.assert_hostname
    named = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    tls |= {key: value for key, value in named.items() if value}
    protocols = f"{ws_client.V5_CHANNEL_PROTOCOL},{ws_client.V4_CHANNEL_PROTOCOL}"
    sent = [f"sec-websocket-protocol: {headers.get('sec-websocket-protocol', protocols)}"]
    if "authorization" in headers:
        sent.insert(0, f"authorization: {headers['authorization']}")
    options: dict[str, Any] = {"header": sent}
    if configuration.proxy or configuration.proxy_headers:
        options = ws_client.websocket_proxycare(options, configuration, address, headers)  # type: ignore[no-untyped-call]  # the package is not typed here
    made = websocket.WebSocket(sslopt=tls, skip_utf8_validation=False)
    opening(made)
    made.connect(address, timeout=max(_LEAST, deadline.left), **options)  # type: ignore[no-untyped-call]  # as above
    return made


def _end(opened: websocket.WebSocket) -> None:
    """Let go of a connection that another thread reads from: closing alone would not wake it."""
    below = opened.sock
    if below is not None:
        with contextlib.suppress(OSError):
            below.shutdown(sockets.SHUT_RDWR)


_AUTH = ["BearerToken"]


def _vendor_errors() -> tuple[type[Exception], ...]:
    """Everything that leaks from the package and what it is built of."""
    import kubernetes.client.exceptions  # noqa: PLC0415, TID251 - imported late; its one home
    import kubernetes.config  # noqa: PLC0415, TID251 - as above
    import urllib3  # noqa: PLC0415 - comes with the package
    import websocket  # noqa: PLC0415 - comes with the package
    import yaml  # noqa: PLC0415 - comes with the package

    return (
        kubernetes.client.exceptions.OpenApiException,
        kubernetes.config.ConfigException,
        urllib3.exceptions.HTTPError,
        websocket.WebSocketException,
        http.client.HTTPException,
        yaml.YAMLError,
        OSError,
        ValueError,
        RecursionError,
    )


def _timeout(seconds: float) -> urllib3.Timeout:
    import urllib3  # noqa: PLC0415 - comes with the package

    return urllib3.Timeout(total=max(_LEAST, seconds))
