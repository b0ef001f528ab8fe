"""The Docker environment: its connection, and the one home of the Docker SDK.

`connect` is what the executor contract asks of an environment's module. `_SdkSession` is
the engine as the procedures see it (`executors.docker.session.DockerSession`), made of the
SDK's low-level client. The SDK is imported at first use: a run that only looks at a local
engine does without it. Longer than its neighbours because the SDK may be named here only.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import Field, StringConstraints

from executors.contract import ExecutorContext
from executors.deadline import Deadline
from executors.docker import shape
from executors.docker.errors import REMEDY, error_of_status, said_in, stable, translate
from executors.docker.executor import DockerExecutor
from executors.docker.reader import UnixReader
from executors.docker.session import Json
from executors.docker.spec import Reach
from executors.docker.stream import Stream, demultiplex, first, newest
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    UiciError,
)
from infrastructure.quantities import Memory
from infrastructure.service import Document

if TYPE_CHECKING:
    import docker  # noqa: TID251 - this is its one home
    import requests

__all__ = ["Connection", "DockerExecutor", "connect"]

_LOOPBACK = "127.0.0.1"
_CHUNK = 64 * 1024
_EVENT_BYTES = 4 * 1024 * 1024
R = TypeVar("R")


class TlsFiles(Document):
    """Files for TLS with a remote engine."""

    ca_file: str
    cert_file: str | None = None
    key_file: str | None = None


class Connection(Document):
    """`connection` of an environment whose executor is docker.

    Attributes:
        host: `unix:///path`, `tcp://host:port` or `ssh://user@host`. Proxies and DOCKER_*
            variables of the environment are not looked at.
        tls: for `tcp://`; without it the connection is in the clear.
        published_host: where published ports answer, if that is not the engine's own host
            (`127.0.0.1` for a local engine). Without it an agent that runs in a container
            of its own asks the services' containers, with which it has to share a network.
        pull: whether an image that the engine lacks is pulled. Absent: it is an error.
        max_answer: bytes of one answer over `unix://`; a longer one makes the environment
            unknown. An inspect has 10 kB, a list 1 kB a container.
    """

    host: Annotated[str, StringConstraints(pattern=r"^(unix:///|tcp://|ssh://)\S+$")]
    tls: TlsFiles | None = None
    published_host: str | None = None
    pull: bool | None = None
    max_answer: Memory = Field(default="128Mi", ge=2**20, validate_default=True)


def connect(connection: Connection, context: ExecutorContext) -> DockerExecutor:
    """Make an executor. Nothing is contacted and nothing is imported yet."""
    local = connection.host.startswith("unix://")
    host = _LOOPBACK if local else urlsplit(connection.host).hostname or connection.host
    # What listens on the loopback of a container is the agent, not what the host publishes.
    apart = local and connection.published_host is None and context.identity.in_container
    return DockerExecutor(
        SdkEngine(connection),
        context,
        reach=Reach(local=local, host=connection.published_host or host, published=not apart),
        pull=bool(connection.pull),
    )


class SdkEngine:
    """A Docker Engine over the SDK's low-level client. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.address = connection.host
        self._version: str | None = None
        self._reader = (
            UnixReader(
                connection.host.removeprefix("unix://"),
                address=connection.host,
                max_bytes=connection.max_answer,
            )
            if connection.host.startswith("unix://")
            else None
        )
        self._idle: deque[docker.APIClient] = deque()

    def get(self, path: str, *, what: str, timeout: float) -> Any:
        """As `fetch`, decoded."""
        body = self.fetch(path, what=what, timeout=timeout)
        return shape.decoded(body, what=what, engine=self.address)

    def fetch(self, path: str, *, what: str, timeout: float) -> bytes:
        """A GET below the API version: the answer as it came."""
        deadline = Deadline(timeout)
        version = self._api_version(deadline)
        if self._reader is not None:
            within = deadline.require(what)
            return self._reader.fetch(f"/v{version}{path}", what=what, timeout=within)
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._client(version, deadline, what)
        with ExitStack() as unless_kept:
            unless_kept.callback(client.close)
            found = _SdkSession(client, deadline, self.address).fetch(path, what=what)
            unless_kept.pop_all()
        self._idle.append(client)
        return found

    @contextmanager
    def open(self, deadline: Deadline, names: dict[str, str]) -> Iterator[_SdkSession]:
        """A client of its own: its time-out is that of this conversation alone.

        `names` (container id → name) is for messages, and grows with what is created.
        """
        client = self._client(self._api_version(deadline), deadline, "connect")
        try:
            yield _SdkSession(client, deadline, self.address, names)
        finally:
            client.close()

    def version(self, timeout: float) -> Json:
        """`GET /version`, which has no API version in its path."""
        what = "ask the engine for its version"
        deadline = Deadline(timeout)
        if self._reader is not None:
            found = self._reader.get("/version", what=what, timeout=deadline.require(what))
        else:
            client = self._client(None, deadline, what)
            try:
                session = _SdkSession(client, deadline, self.address)
                found = session.run(what, lambda api: api.version(api_version=False))
            finally:
                client.close()
        if not isinstance(found, dict) or not isinstance(found.get("ApiVersion"), str):
            raise PermanentError(f"{self.address} answers, but not as a Docker Engine does")
        return found

    def close(self) -> None:
        """Close the kept connections."""
        if self._reader is not None:
            self._reader.close()
        while self._idle:
            self._idle.pop().close()

    def _api_version(self, deadline: Deadline) -> str:
        if self._version is None:
            self._version = str(self.version(deadline.require("connect"))["ApiVersion"])
        return self._version

    def _client(self, version: str | None, deadline: Deadline, what: str) -> docker.APIClient:
        # Late: 0.2 CPU seconds that a run without changes need not pay.
        import docker  # noqa: PLC0415, TID251 - imported late; this is its one home
        import docker.constants  # noqa: PLC0415, TID251 - as above

        host = self._connection.host
        over_ssh = host.startswith("ssh://")
        try:
            client = docker.APIClient(
                # What is behind ssh is reached by an adapter of ours; nothing is sent here.
                base_url="tcp://localhost:2375" if over_ssh else host,
                # A version that is given is not asked for: nothing is sent here.
                version=version or docker.constants.MINIMUM_DOCKER_API_VERSION,
                tls=self._tls(),
                timeout=max(1, int(deadline.left)),
            )
        except _vendor_errors() as exc:
            raise translate(exc, what=what, engine=self.address, mutating=False) from exc
        # A variable of the environment must not send requests elsewhere (and reading
        # ~/.netrc for each request costs a tenth of it).
        client.trust_env = False
        if over_ssh:
            from executors.docker import ssh  # noqa: PLC0415 - only where it leads somewhere

            client.mount(ssh.BASE_URL, ssh.SshAdapter(host))
            client.base_url = ssh.BASE_URL
        return client

    def _tls(self) -> docker.tls.TLSConfig | bool:
        files = self._connection.tls
        if files is None:
            return False
        import docker.tls  # noqa: PLC0415, TID251 - imported late; this is its one home

        pair = (files.cert_file, files.key_file) if files.cert_file and files.key_file else None
        return docker.tls.TLSConfig(client_cert=pair, ca_cert=files.ca_file, verify=True)


def _vendor_errors() -> tuple[type[Exception], ...]:
    """Everything that leaks from the SDK and what it is built of."""
    import docker.errors  # noqa: PLC0415, TID251 - imported late; this is its one home
    import requests  # noqa: PLC0415 - comes with the SDK
    import urllib3  # noqa: PLC0415 - comes with the SDK

    return (
        docker.errors.DockerException,
        docker.errors.StreamParseError,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
        ValueError,
        RecursionError,
    )


class _SdkSession:
    """`DockerSession` over one APIClient; for one thread."""

    def __init__(
        self,
        api: docker.APIClient,
        deadline: Deadline,
        address: str,
        names: dict[str, str] | None = None,
    ) -> None:
        self._api = api
        self._deadline = deadline
        self._address = address
        self._names = {} if names is None else names

    # ── how requests are made ───────────────────────────────────────────────────

    def run(
        self,
        what: str,
        action: Callable[[docker.APIClient], R],
        *,
        mutating: bool = False,
        added: float = 0.0,
    ) -> R:
        """Call the SDK within the deadline and map what it raises.

        Args:
            what: the action and its object, for messages.
            action: gets the client.
            mutating: whether a lost answer leaves the outcome unknown.
            added: seconds that the SDK itself adds to the client's time-out.
        """
        left = self._deadline.require(what)
        # The stubs say int; requests takes fractions of a second.
        self._api.timeout = max(0.05, left - added)  # type: ignore[assignment]
        try:
            return action(self._api)
        except _vendor_errors() as exc:
            raise translate(exc, what=what, engine=self._address, mutating=mutating) from exc

    def json(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """A request for which the SDK has no method or one without a time-out, decoded.

        None: the answer is empty.
        """

        def action(_: docker.APIClient) -> Any:
            content = b"".join(self._stream(method, path, what=what, body=body, params=params))
            return json.loads(content) if content else None

        return self.run(what, action, mutating=method != "GET")

    def fetch(self, path: str, *, what: str) -> bytes:
        """A GET: the answer as it came."""
        return self.run(what, lambda _: b"".join(self._stream("GET", path, what=what)))

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        return self._api.request(
            method,
            f"{self._api.base_url}/v{self._api.api_version}{path}",
            json=body,
            params=params,
            timeout=self._api.timeout,
            stream=True,
        )

    def _check(self, response: requests.Response, *, what: str, mutating: bool) -> None:
        if response.status_code < 400:
            return
        try:
            said = said_in(response.json())
        except (ValueError, RecursionError):
            said = response.text
        raise error_of_status(
            response.status_code, said, what=what, engine=self._address, mutating=mutating
        )

    def _stream(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[bytes]:
        """Chunks of an answer, as they come. Errors are mapped by `run` around it."""
        with self._request(method, path, body=body, params=params) as response:
            self._check(response, what=what, mutating=method != "GET")
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                yield chunk
                if not self._deadline.left:
                    raise TimeoutError("the answer goes on and on")

    def _bounded(self, what: str, action: Callable[[], R], *, mutating: bool) -> R:
        """Wait for `action` on a thread, no longer than the deadline.

        A time-out of the SDK counts from one packet to the next, so that an answer that
        drips would never end. The thread is a daemon and ends with the next packet.
        """
        outcome: deque[R | UiciError] = deque()

        def work() -> None:
            try:
                outcome.append(self.run(what, lambda _: action(), mutating=mutating))
            except UiciError as exc:
                outcome.append(exc)

        thread = threading.Thread(target=work, name="uici-docker-stream", daemon=True)
        thread.start()
        thread.join(self._deadline.left + 0.2)
        if not outcome:
            if mutating:
                raise OutcomeUnknownError(f"{what}: did not end in time", remedy=REMEDY)
            raise DeadlineExceededError(f"{what}: did not end in time")
        result = outcome.pop()
        if isinstance(result, UiciError):
            raise result
        return result

    def _on(self, verb: str, container: str) -> str:
        """For messages, such as "stop web-1": an id would differ from run to run."""
        return f"{verb} {self._names.get(container) or stable(container)}"

    # ── the conversation ────────────────────────────────────────────────────────

    def inspect(self, container: str) -> Json:
        """See `DockerSession`; so are all below."""
        what = self._on("inspect", container)
        answer = self.run(what, lambda api: api.inspect_container(container))
        return shape.container(answer, what=what, engine=self._address)

    def start(self, container: str) -> None:
        what = self._on("start", container)
        self.run(what, lambda api: api.start(container), mutating=True)

    def stop(self, container: str, grace: int) -> None:
        what = self._on("stop", container)
        self.run(what, lambda api: api.stop(container, timeout=grace), mutating=True, added=grace)

    def restart(self, container: str, grace: int) -> None:
        what = self._on("restart", container)
        self.run(
            what, lambda api: api.restart(container, timeout=grace), mutating=True, added=grace
        )

    def pause(self, container: str) -> None:
        what = self._on("pause", container)
        self.run(what, lambda api: api.pause(container), mutating=True)

    def unpause(self, container: str) -> None:
        what = self._on("unpause", container)
        self.run(what, lambda api: api.unpause(container), mutating=True)

    def rename(self, container: str, name: str) -> None:
        what = self._on("rename", container)
        self.run(what, lambda api: api.rename(container, name), mutating=True)
        self._names[container] = name

    def remove(self, container: str) -> None:
        what = self._on("remove", container)
        # Gone, or going (it was made with --rm): both are what was asked for.
        with suppress(NotFoundError, ConflictError):
            self.run(what, lambda api: api.remove_container(container, force=True), mutating=True)

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        made = self.run(
            f"create {name}",
            lambda api: api.create_container_from_config(dict(body), name),  # type: ignore[no-untyped-call]  # the stubs leave it untyped
            mutating=True,
        )
        self._names[made["Id"]] = name
        return str(made["Id"])

    def update(self, container: str, body: Mapping[str, Any]) -> None:
        # The SDK's own method knows no NanoCpus.
        path = f"/containers/{container}/update"
        self.json("POST", path, what=self._on("update", container), body=body)

    def connect(self, network: str, container: str, endpoint: Mapping[str, Any]) -> None:
        body = {"Container": container, "EndpointConfig": dict(endpoint)}
        what = self._on(f"connect to network {network}:", container)
        self.json("POST", f"/networks/{quote(network, safe='')}/connect", what=what, body=body)

    def disconnect(self, network: str, container: str) -> None:
        what = self._on(f"disconnect from network {network}:", container)
        self.run(
            what,
            lambda api: api.disconnect_container_from_network(container, network),
            mutating=True,
        )

    def image(self, reference: str) -> Json | None:
        try:
            found: Json = self.run(
                f"look for image {stable(reference)}",
                lambda api: api.inspect_image(reference),  # type: ignore[no-untyped-call]  # as above
            )
        except NotFoundError:
            return None
        return found

    def pull(self, reference: str) -> None:
        what = f"pull {reference}"
        told = str(self._bounded(what, lambda: self._api.pull(reference), mutating=False))
        # The engine answers 200 first, and says later in its stream what went wrong.
        failed = next((line for line in told.splitlines() if '"errorDetail"' in line), None)
        if failed is not None:
            raise PermanentError(f"{what}: {stable(str(json.loads(failed).get('error')))}")

    def logs(self, container: str, query: Mapping[str, Any], *, tty: bool, limit: int) -> Stream:
        what = self._on("read the logs of", container)
        path = f"/containers/{container}/logs"
        return self._bounded(
            what,
            lambda: newest(
                demultiplex(self._stream("GET", path, what=what, params=query), tty=tty), limit
            ),
            mutating=False,
        )

    def stats(self, container: str) -> Json:
        found: Json = self.run(
            self._on("read the figures of", container),
            lambda api: api.stats(container, stream=False),
        )
        return found

    def events(self, since: float, until: float, filters: Mapping[str, Any]) -> list[Json]:
        what = "read the engine's events"
        params = {
            "since": f"{since:.9f}",
            "until": f"{until:.9f}",
            "filters": json.dumps(dict(filters)),
        }

        def read() -> list[Json]:
            chunks = ((1, c) for c in self._stream("GET", "/events", what=what, params=params))
            stream = newest(chunks, _EVENT_BYTES)
            lines = b"".join(data for _, data in stream.frames).splitlines()
            return [json.loads(line) for line in lines[int(stream.truncated) :] if line.strip()]

        return self._bounded(what, read, mutating=False)

    def execute(
        self, container: str, options: Mapping[str, Any], *, limit: int
    ) -> tuple[int, Stream]:
        what = self._on("run a command in", container)
        made = self.run(what, lambda api: api.exec_create(container, **options), mutating=True)
        path = f"/exec/{made['Id']}/start"
        body = {"Detach": False, "Tty": False}
        stream = self._bounded(
            what,
            lambda: first(
                demultiplex(self._stream("POST", path, what=what, body=body), tty=False), limit
            ),
            mutating=True,
        )
        ended = self.run(what, lambda api: api.exec_inspect(made["Id"]), mutating=True)
        if ended.get("ExitCode") is None:
            raise OutcomeUnknownError(f"{what}: its output ended before it did", remedy=REMEDY)
        return int(ended["ExitCode"]), stream
