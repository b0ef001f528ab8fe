"""The one home of the OCI SDK: signing in, sending requests, repeating them.

`connect` is what the executor contract asks of an environment's module. The SDK is imported
when something is first asked (0.6 CPU seconds), and of its clients only those that are used
(`executors.oci.clients`). Answers stay JSON (`executors.oci.answers` checks them).

Retries are the SDK's own strategy and checkers with three things added: they end at the
deadline, they wait as long as a `retry-after` header says, and what is not safe to repeat
is repeated only when the service itself says that nothing was done.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog

from executors.contract import ExecutorContext
from executors.deadline import Deadline
from executors.oci.clients import client_class
from executors.oci.errors import REMEDY, never_sent, translate
from executors.oci.executor import OCIExecutor
from executors.oci.session import BudgetSpentError, Reply, Request
from executors.oci.settings import (
    Api,
    ConfigFileAuth,
    Connection,
    InstancePrincipalAuth,
    Retries,
)
from infrastructure.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

log = structlog.get_logger("uici")
R = TypeVar("R")

# Service → package, module and client class of the SDK.
_CLIENTS: Mapping[Api, tuple[str, str, str]] = {
    Api.COMPUTE: ("oci.core", "compute_client", "ComputeClient"),
    Api.POOLS: ("oci.core", "compute_management_client", "ComputeManagementClient"),
    Api.NETWORK: ("oci.core", "virtual_network_client", "VirtualNetworkClient"),
    Api.CONTAINERS: (
        "oci.container_instances",
        "container_instance_client",
        "ContainerInstanceClient",
    ),
    Api.WORK: ("oci.work_requests", "work_request_client", "WorkRequestClient"),
    Api.COMMANDS: (
        "oci.compute_instance_agent",
        "compute_instance_agent_client",
        "ComputeInstanceAgentClient",
    ),
    Api.METRICS: ("oci.monitoring", "monitoring_client", "MonitoringClient"),
    Api.LOGS: ("oci.loggingsearch", "log_search_client", "LogSearchClient"),
}
# Answers that say: not done. 503 comes from the service's front door, before any work.
_REFUSED: Mapping[int, list[str]] = {409: ["IncorrectState", "LockConflict"], 429: [], 503: []}
# A thread that waits for an answer may need this much longer than the request's own time.
_SLACK = 0.5
_CHUNK = 64 * 1024
_TEXT_BYTES = 1024 * 1024


def connect(connection: Connection, context: ExecutorContext) -> OCIExecutor:
    """Make an executor. Nothing is contacted and nothing is imported yet."""
    return OCIExecutor(SdkCloud(connection), connection, context)


class Budget:
    """Requests of one run, counted. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.spent = 0

    def reset(self) -> None:
        """A new run begins."""
        with self._lock:
            self.spent = 0

    def spend(self) -> None:
        """Count one request, or refuse it before it is sent.

        Raises:
            BudgetSpentError: the run has sent as many as it may.
        """
        with self._lock:
            if self.spent >= self._limit:
                raise BudgetSpentError(
                    f"this run has spent its {self._limit} requests to Oracle Cloud: raise"
                    " `requestBudget` in the environment's connection, or wait for the next run"
                )
            self.spent += 1


class SdkCloud:
    """Oracle Cloud over the SDK's clients. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.page_size = connection.page_size
        self.address = f"Oracle Cloud ({connection.region or connection.auth.method})"
        self.budget = Budget(connection.request_budget)
        self._lock = threading.RLock()
        self._signer: tuple[dict[str, Any], Any] | None = None  # configuration, signer
        self._clients: dict[Api, Any] = {}

    def ask(self, request: Request, deadline: Deadline) -> Reply:
        """Send one request.

        Raises:
            UiciError: see `executors.oci.errors`.
        """
        deadline.require(request.what)

        def send() -> Reply:
            try:
                return self._send(request, deadline)
            except _vendor_errors() as exc:
                # For Oracle's support; messages hold nothing that differs from run to run.
                request_id = getattr(exc, "request_id", None)
                log.info("oci_request_failed", what=request.what, opc_request_id=request_id)
                raise translate(
                    exc, what=request.what, where=self.address, mutating=request.mutates
                ) from exc

        # A time-out of the SDK counts from one packet to the next; this one holds.
        def broke(exc: BaseException) -> UiciError:
            return self._broke(request.what, exc, mutating=request.mutates)

        reply = _within(deadline, send, broke=broke)
        if reply is None and request.mutates:
            raise OutcomeUnknownError(
                f"{request.what}: sent to {self.address}, but its answer never came",
                remedy=REMEDY,
            )
        if reply is None:
            raise DeadlineExceededError(f"{request.what}: {self.address} did not answer in time")
        return reply

    def _broke(self, what: str, exc: BaseException, *, mutating: bool = False) -> UiciError:
        """For an exception that nobody foresaw, in the SDK or in what it is built of."""
        message = f"{what}: the SDK of {self.address} broke: {type(exc).__name__}"
        if mutating:
            return OutcomeUnknownError(message, remedy=REMEDY)
        return TemporaryError(message)

    def new_run(self) -> None:
        """Count requests from zero."""
        self.budget.reset()

    def own_ids(self, deadline: Deadline) -> frozenset[str]:
        """OCIDs of what this process runs on; empty: nothing tells.

        An instance's certificate and a resource's token tell; a user's key does not, so the
        metadata service is asked.
        """
        auth = self._connection.auth
        if isinstance(auth, ConfigFileAuth):
            return _instance_by_metadata(auth, deadline)

        def find() -> frozenset[str]:
            try:
                _, signer = self._signed_in()
                if isinstance(auth, InstancePrincipalAuth):
                    return _certified_instance(signer)
                return _token_resource(signer)
            except _vendor_errors() as exc:
                raise translate(
                    exc, what="find out who the agent is", where=self.address, mutating=False
                ) from exc

        found = _within(deadline, find, broke=lambda exc: self._broke("sign in", exc))
        if found is None:
            raise DeadlineExceededError(f"sign in: {self.address} did not answer in time")
        return found

    def close(self) -> None:
        """Close the clients' connections."""
        with self._lock:
            clients, self._clients = self._clients, {}
            signer, self._signer = self._signer, None
        for client in clients.values():
            client.base_client.session.close()
        # An instance principal speaks to the token service on a session of its own.
        federation = getattr(signer[1], "federation_client", None) if signer else None
        if federation is not None:
            federation.requests_session.close()

    def _send(self, request: Request, deadline: Deadline) -> Reply:
        client = self._client_for(request.api, deadline)
        strategy = _strategy_class()(
            self._connection.retries, deadline, self.budget, client.base_client
        )
        strategy.careful = not request.repeatable
        response = getattr(client, request.operation)(
            *request.arguments, retry_strategy=strategy, **request.options
        )
        data = response.data
        if hasattr(data, "iter_content"):
            data = _text(data)
        elif request.mutates and isinstance(data, str) and data:
            raise OutcomeUnknownError(
                f"{request.what}: {self.address} gave no readable answer", remedy=REMEDY
            )
        return Reply(
            data=data,
            next_page=response.headers.get("opc-next-page") or None,
            work_request=response.headers.get("opc-work-request-id") or None,
            etag=response.headers.get("etag") or None,
        )

    def _client_for(self, api: Api, deadline: Deadline) -> Any:
        """A client for one request: the time-out of a shared one would be everybody's."""
        with self._lock:
            shared = self._clients.get(api)
            if shared is None:
                shared = self._clients[api] = self._new_client(api)
        client = copy.copy(shared)
        client.base_client = copy.copy(shared.base_client)
        client.base_client.timeout = max(deadline.left, 0.05)
        return client

    def _new_client(self, api: Api) -> Any:
        from oci.circuit_breaker import (  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - late; its one home; no stubs
            NoCircuitBreakerStrategy,
        )

        config, signer = self._signed_in()
        options: dict[str, Any] = {
            "signer": signer,
            "skip_deserialization": True,
            # One target's failures must not hold back another's: the loop has its own limits.
            "circuit_breaker_strategy": NoCircuitBreakerStrategy(),
        }
        if api in self._connection.endpoints:
            options["service_endpoint"] = self._connection.endpoints[api]
        client = client_class(*_CLIENTS[api])(config, **options)
        session = client.base_client.session
        session.trust_env = False  # a variable must not send requests elsewhere
        if self._connection.proxy:
            session.proxies = {"http": self._connection.proxy, "https": self._connection.proxy}
        if self._connection.ca_file:
            session.verify = self._connection.ca_file
        return client

    def _signed_in(self) -> tuple[dict[str, Any], Any]:
        with self._lock:
            if self._signer is None:
                self._signer = _sign_in(self._connection)
            return self._signer


def _sign_in(connection: Connection) -> tuple[dict[str, Any], Any]:
    """Configuration and signer. Principals contact the metadata and the auth service."""
    import oci.auth.signers  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - late; its one home; no stubs
    import oci.config  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - as above
    import oci.retry  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - as above
    import oci.signer  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - as above

    auth = connection.auth
    region = {"region": connection.region} if connection.region else {}
    if isinstance(auth, ConfigFileAuth):
        path = Path(auth.file).expanduser()
        if not path.is_file():  # the SDK would look for another one
            raise PermanentError(f"there is no configuration file of Oracle Cloud at {auth.file}")
        config = {**oci.config.from_file(str(path), auth.profile), **region}
        oci.config.validate_config(config)
        signer = oci.signer.Signer(
            tenancy=config["tenancy"],
            user=config["user"],
            fingerprint=config["fingerprint"],
            private_key_file_location=config["key_file"],
            pass_phrase=config.get("pass_phrase"),
        )
        return config, signer
    if isinstance(auth, InstancePrincipalAuth):
        once = oci.retry.NoneRetryStrategy()  # the run's own retries are enough
        options = {"federation_endpoint": auth.federation_endpoint}
        signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner(
            retry_strategy=once, **{k: v for k, v in options.items() if v}
        )
    else:
        signer = oci.auth.signers.get_resource_principals_signer()
    return {"region": signer.region, **region}, signer


def _instance_by_metadata(auth: ConfigFileAuth, deadline: Deadline) -> frozenset[str]:
    """The instance that this process runs on, if it runs on one: asked once, and shortly."""
    import urllib3  # noqa: PLC0415 - comes with the SDK

    bounded = deadline.within(auth.metadata_timeout.total_seconds())

    def look() -> str:
        with urllib3.PoolManager() as manager:
            try:
                answer = manager.request(
                    "GET",
                    f"{auth.metadata_endpoint.rstrip('/')}/instance/id",
                    headers={"Authorization": "Bearer Oracle"},
                    timeout=max(bounded.left, 0.05),
                    retries=False,
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError:
                return ""  # nobody is there: not in Oracle Cloud
            return answer.data.decode(errors="replace").strip() if answer.status == 200 else ""

    found = _within(bounded, look, broke=lambda exc: TemporaryError(f"ask for metadata: {exc}"))
    return frozenset({found}) if found and found.startswith("ocid1.instance.") else frozenset()


def _certified_instance(signer: Any) -> frozenset[str]:
    """The instance that an instance principal's certificate was made out to."""
    certificate = signer.leaf_certificate_retriever.get_certificate_as_certificate()
    mark = "opc-instance:"
    names = [str(attribute.value) for attribute in certificate.subject]
    return frozenset(n.removeprefix(mark) for n in names if n.startswith(mark))


def _token_resource(signer: Any) -> frozenset[str]:
    """The resource that a resource principal's session token was made out to."""
    parts = str(signer.get_security_token()).split(".")
    if len(parts) != 3:
        return frozenset()
    with suppress(ValueError):
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        found = claims.get("res_id") if isinstance(claims, dict) else None
        return frozenset({found}) if isinstance(found, str) and found else frozenset()
    return frozenset()


@functools.cache
def _strategy_class() -> Any:
    """The SDK's back-off with our bounds. Made once, when the SDK is there."""
    from oci.retry import (  # noqa: PLC0415, TID251 - late; this is its one home
        retry,
        retry_checkers,
        retry_sleep_utils,
    )

    backoff = retry_sleep_utils.get_exponential_backoff_with_equal_jitter_sleep_time
    refused = retry_checkers.TimeoutConnectionAndServiceErrorRetryChecker(
        service_error_retry_config=dict(_REFUSED), retry_any_5xx=False
    )

    class Bounded(retry.ExponentialBackoffRetryStrategyBase):  # type: ignore[misc]  # no stubs
        """Ends at the deadline; counts each attempt; each has only the time that is left."""

        careful = False

        def __init__(self, retries: Retries, deadline: Deadline, budget: Budget, base: Any) -> None:
            checkers = [
                retry_checkers.LimitBasedRetryChecker(max_attempts=retries.attempts),
                retry_checkers.TimeoutConnectionAndServiceErrorRetryChecker(),
                self,  # asked last: whether the pause fits
            ]
            super().__init__(
                retries.initial.total_seconds(),
                2,
                retries.max.total_seconds(),
                retry_checkers.RetryCheckerContainer(checkers=checkers),
            )
            self._deadline = deadline
            self._budget = budget
            self._base = base
            self._pause = 0.0

        def make_retrying_call(self, func_ref: Callable[..., R], *args: Any, **kwargs: Any) -> R:
            @functools.wraps(func_ref)
            def attempt(*args: Any, **kwargs: Any) -> R:
                self._budget.spend()
                self._base.timeout = max(self._deadline.left, 0.05)
                return func_ref(*args, **kwargs)

            result: R = super().make_retrying_call(attempt, *args, **kwargs)
            return result

        def should_retry(
            self, exception: Exception, response: object = None, **kwargs: Any
        ) -> bool:
            if self.careful and not never_sent(exception):
                answered = getattr(exception, "status", None) is not None
                if not answered or not refused.should_retry(exception, response):
                    return False
            told = _retry_after(getattr(exception, "headers", None))
            self._pause = told or backoff(
                self.base_sleep_time_seconds,
                self.exponent_growth_factor,
                self.max_wait_between_calls_seconds,
                kwargs["current_attempt"] - 1,
            )
            return self._pause < self._deadline.left

        def do_sleep(self, *_: object) -> None:
            time.sleep(self._pause)

    return Bounded


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that the service asks to wait, if it says so in seconds."""
    with suppress(ValueError):
        seconds = float((headers or {}).get("retry-after") or "")
        return seconds if seconds >= 0 else None
    return None


@functools.cache
def _vendor_errors() -> tuple[type[Exception], ...]:
    """Everything that leaks from the SDK and what it is built of."""
    import oci.auth.certificate_retriever  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - late; its one home; no stubs
    import oci.exceptions  # type: ignore[import-untyped]  # noqa: PLC0415, TID251 - late; its one home; no stubs
    import urllib3  # noqa: PLC0415 - comes with the SDK
    from circuitbreaker import (  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with the SDK; no stubs
        CircuitBreakerError,
    )

    found = vars(oci.exceptions).values()
    named = tuple(
        cls
        for cls in found
        if isinstance(cls, type)
        and issubclass(cls, Exception)
        and cls.__module__ == "oci.exceptions"
    )
    # What is built in: an argument, a configuration or a principal that the SDK refuses.
    built_in = (OSError, ValueError, KeyError, RuntimeError)
    others = (urllib3.exceptions.HTTPError, CircuitBreakerError, *built_in)
    certificate = oci.auth.certificate_retriever.InvalidCertificateFromInstanceMetadataError
    return (*named, *others, certificate)


def _text(response: Any) -> str:
    """The end of a streamed answer: logs grow at their end."""
    kept = b""
    try:
        for chunk in response.iter_content(_CHUNK):
            kept = (kept + chunk)[-_TEXT_BYTES:]
    finally:
        response.close()
    return kept.decode(errors="replace")


def _within(
    deadline: Deadline, work: Callable[[], R], *, broke: Callable[[BaseException], UiciError]
) -> R | None:
    """The result, or None when time is over; the thread is left to end by itself.

    `broke` makes the error for an exception that is not UICI's own.
    """
    results: queue.SimpleQueue[R | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException as exc:  # noqa: BLE001 - raised again in whoever waits for it
            results.put(exc)

    thread = threading.Thread(target=run, name="uici-oci-request", daemon=True)
    thread.start()
    with suppress(queue.Empty):
        result = results.get(timeout=deadline.left + _SLACK)
        thread.join()
        if isinstance(result, UiciError):
            raise result
        if isinstance(result, BaseException):
            raise broke(result) from result
        return result
    return None
