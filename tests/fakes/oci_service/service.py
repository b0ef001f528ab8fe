"""Answers requests as the services of Oracle Cloud do, over HTTP on loopback."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.http_server import Exchange, FakeServer
from tests.fakes.oci_service.bodies import problems
from tests.fakes.oci_service.resources import (
    TENANCY,
    Json,
    Refused,
    Region,
    Thing,
    now,
    ocid,
)
from tests.fakes.oci_service.signature import problem

USER = "ocid1.user.oc1..aaaauser"
FINGERPRINT = "20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
KEY_ID = f"{TENANCY}/{USER}/{FINGERPRINT}"
_CORE, _CI = "/20160918", "/20210415"
METADATA = "/opc/v2"
_LIMIT = 100  # entries of a page where nobody asks for a number


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """One key for all tests: making one takes a while, and reading a longer one, too."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - loopback


def private_pem() -> str:
    return (
        private_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )


@dataclass
class Fault:
    """What the next `times` requests that match get instead of an answer.

    `after`: the request is carried out all the same, and only the answer is this.
    """

    method: str
    path: str  # a regular expression over path and query
    status: int
    code: str = "InternalServerError"
    message: str = "it broke"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    after: bool = False
    hang_up: bool = False


@dataclass
class Call:
    """One request as a handler sees it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    ident: str = ""  # of the path
    action: str = ""


@dataclass
class Answer:
    """What a handler answers."""

    data: Any
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


Handler = Callable[..., Answer]
_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def _route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """`{name}` in the pattern becomes an argument."""
    regex = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern) + "$")

    def add(handler: Handler) -> Handler:
        _ROUTES.append((method, regex, handler))
        return handler

    return add


class OciService:
    """A region of Oracle Cloud until its `with` block ends."""

    def __init__(self, *, transition: float = 0.06) -> None:
        self.region = Region(transition)
        self.keys: dict[str, rsa.RSAPublicKey] = {KEY_ID: private_key().public_key()}
        self.faults: list[Fault] = []
        # Done once, before the first request whose "METHOD path" matches: somebody else's change.
        self.meddling: list[tuple[str, Callable[[], None]]] = []
        self.own_instance: str | None = None  # what the metadata service tells
        self.silent = False
        self.slow: list[tuple[str, float]] = []  # requests whose path matches wait, in seconds
        self.seen: list[str] = []  # "METHOD path", signed or not
        self.refused_signatures: list[str] = []
        self._tokens: dict[str, tuple[Any, Answer]] = {}
        self._lock = threading.Lock()
        self._server = FakeServer(self._serve)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.__exit__(*exc)

    def count(self, pattern: str) -> int:
        """Requests whose "METHOD path?query" matches."""
        return sum(1 for line in self.seen if re.search(pattern, line))

    # ── one request ─────────────────────────────────────────────────────────────

    def _serve(self, exchange: Exchange) -> None:
        if self.silent:
            exchange.sleep(60)
        asked = exchange.asked
        for path, seconds in self.slow:
            if re.search(path, asked.path):
                exchange.sleep(seconds)
        parts = urlsplit(asked.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path.startswith(METADATA):
            self._send(exchange, self._metadata(parts.path, asked.headers))
            return
        text = asked.body.decode()
        with self._lock:
            self.seen.append(f"{asked.method} {asked.path}")
            wrong = problem(asked, self.keys)
            if wrong is not None:
                self.refused_signatures.append(wrong)
                self._send(exchange, _error(401, "NotAuthenticated", wrong))
                return
            call = Call(
                asked.method,
                parts.path.rstrip("/"),
                query,
                json.loads(text) if text else None,
                asked.headers,
            )
            fault = self._fault(call, asked.path)
            if fault is not None and not fault.after:
                answer = _error(fault.status, fault.code, fault.message, fault.headers)
            else:
                self.region.settle()
                self._meddle(f"{asked.method} {asked.path}")
                answer = self._answer(call)
                if fault is not None:
                    answer = _error(fault.status, fault.code, fault.message, fault.headers)
        if fault is not None and fault.hang_up:
            exchange.hang_up()
        self._send(exchange, answer)

    def _metadata(self, path: str, headers: dict[str, str]) -> Answer:
        """The metadata service of an instance: unsigned, and not part of `seen`."""
        told = path == f"{METADATA}/instance/id" and headers.get("authorization") == "Bearer Oracle"
        if not told or self.own_instance is None:
            return _error(404, "NotFound", "no such thing")
        return Answer(self.own_instance)

    def _meddle(self, line: str) -> None:
        for entry in list(self.meddling):
            if re.search(entry[0], line):
                self.meddling.remove(entry)
                entry[1]()

    def _fault(self, call: Call, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == call.method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _answer(self, call: Call) -> Answer:
        token = call.headers.get("opc-retry-token")
        if token is not None and token in self._tokens:
            body, answer = self._tokens[token]
            if body != (call.path, call.body):
                return _error(409, "InvalidatedRetryToken", "the token is of another request")
            return answer
        try:
            answer = self._routed(call)
        except Refused as exc:
            return _error(exc.status, exc.code, exc.message)
        if token is not None:
            self._tokens[token] = ((call.path, call.body), answer)
        return answer

    def _routed(self, call: Call) -> Answer:
        for method, pattern, handler in _ROUTES:
            match = pattern.match(call.path)
            if match and method == call.method:
                call.ident = match.groupdict().get("ident", "")
                call.action = match.groupdict().get("action", "")
                return handler(self, call)
        raise Refused(404, "NotAuthorizedOrNotFound", f"no such operation: {call.path}")

    @staticmethod
    def _send(exchange: Exchange, answer: Answer) -> None:
        if isinstance(answer.data, str):
            kind, body = "text/plain", answer.data.encode()
        else:
            kind, body = "application/json", b""
            if answer.data is not None:
                body = json.dumps(answer.data).encode()
        request_id = exchange.asked.headers.get("opc-request-id", "") or uuid.uuid4().hex.upper()
        headers = {"Content-Type": kind, "opc-request-id": request_id, **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        exchange.answer(body, status=answer.status, headers=lines)

    # ── parts of handlers ───────────────────────────────────────────────────────

    @staticmethod
    def find(store: dict[str, Thing], ident: str) -> Thing:
        if ident not in store:
            raise Refused(
                404,
                "NotAuthorizedOrNotFound",
                "Authorization failed or requested resource not found.",
            )
        return store[ident]

    @staticmethod
    def check(module: str, model: str, body: Any) -> None:
        found = list(problems(module, model, body))
        if found:
            raise Refused(400, "InvalidParameter", "; ".join(found))

    @staticmethod
    def if_match(call: Call, thing: Thing) -> None:
        wanted = call.headers.get("if-match")
        if wanted is not None and wanted != str(thing.etag):
            raise Refused(412, "NoEtagMatch", "the resource was changed")

    @staticmethod
    def page(call: Call, items: list[Any], *, wrapped: bool = False) -> Answer:
        start = int(call.query.get("page", "0"))
        limit = int(call.query.get("limit", str(_LIMIT)))
        part = items[start : start + limit]
        more = {"opc-next-page": str(start + limit)} if start + limit < len(items) else {}
        return Answer({"items": part} if wrapped else part, more)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer({"code": code, "message": message}, headers or {}, status)


def _inside(store: dict[str, Thing], call: Call) -> list[Json]:
    """What is in the compartment that was asked for; that has to be said."""
    compartment = call.query.get("compartmentId")
    if compartment is None:
        raise Refused(400, "MissingParameter", "compartmentId must be given")
    return [t.data for t in store.values() if t.data["compartmentId"] == compartment]


def _one(thing: Thing) -> Answer:
    return Answer(thing.data, {"etag": str(thing.etag)})


def _public(data: Json, left_out: str) -> Json:
    hidden = left_out.split()
    return {key: value for key, value in data.items() if key not in hidden}


# ── compute ──────────────────────────────────────────────────────────────────────


@_route("GET", f"{_CORE}/instances")
def _list_instances(service: OciService, call: Call) -> Answer:
    return service.page(call, _inside(service.region.instances, call))


@_route("GET", _CORE + "/instances/{ident}")
def _get_instance(service: OciService, call: Call) -> Answer:
    return _one(service.find(service.region.instances, call.ident))


@_route("POST", _CORE + "/instances/{ident}")
def _instance_action(service: OciService, call: Call) -> Answer:
    thing = service.find(service.region.instances, call.ident)
    service.region.power(thing, call.query.get("action", ""))
    return _one(thing)


@_route("PUT", _CORE + "/instances/{ident}")
def _update_instance(service: OciService, call: Call) -> Answer:
    thing = service.find(service.region.instances, call.ident)
    service.check("oci.core.models", "UpdateInstanceDetails", call.body)
    service.if_match(call, thing)
    work = service.region.update_instance(thing, call.body)
    return Answer(thing.data, {"etag": str(thing.etag), "opc-work-request-id": work})


@_route("GET", f"{_CORE}/vnicAttachments")
def _list_attachments(service: OciService, call: Call) -> Answer:
    return service.page(call, service.region.attachments)


@_route("GET", f"{_CORE}/privateIps")
def _list_ips(service: OciService, call: Call) -> Answer:
    wanted = call.query.get("subnetId")
    found = [
        {"id": ocid("privateip"), "ipAddress": v["privateIp"], "isPrimary": True, "vnicId": v["id"]}
        for v in service.region.vnics.values()
        if v["subnetId"] == wanted
    ]
    return service.page(call, found)


@_route("GET", _CORE + "/vnics/{ident}")
def _get_vnic(service: OciService, call: Call) -> Answer:
    if call.ident not in service.region.vnics:
        raise Refused(404, "NotAuthorizedOrNotFound", "no such vnic")
    return Answer(service.region.vnics[call.ident])


@_route("GET", f"{_CORE}/instancePools")
def _list_pools(service: OciService, call: Call) -> Answer:
    return service.page(call, _inside(service.region.pools, call))


@_route("GET", _CORE + "/instancePools/{ident}")
def _get_pool(service: OciService, call: Call) -> Answer:
    return _one(service.find(service.region.pools, call.ident))


@_route("PUT", _CORE + "/instancePools/{ident}")
def _update_pool(service: OciService, call: Call) -> Answer:
    pool = service.find(service.region.pools, call.ident)
    service.check("oci.core.models", "UpdateInstancePoolDetails", call.body)
    service.region.resize_pool(pool, call.body)
    return _one(pool)


@_route("POST", _CORE + "/instancePools/{ident}/actions/{action}")
def _pool_action(service: OciService, call: Call) -> Answer:
    pool = service.find(service.region.pools, call.ident)
    if call.action not in ("start", "stop", "softstop", "reset", "softreset"):
        raise Refused(404, "NotAuthorizedOrNotFound", "no such action")
    service.region.pool_action(pool, call.action)
    answer = _one(pool)
    if service.region.tells_pool_work:
        work = service.region.begin("ResetInstancePool", pool, service.region.transition)
        answer.headers["opc-work-request-id"] = work
    return answer


@_route("GET", _CORE + "/instancePools/{ident}/instances")
def _pool_instances(service: OciService, call: Call) -> Answer:
    service.find(service.region.pools, call.ident)
    found = [
        {
            "id": member,
            "displayName": service.region.instances[member].data["displayName"],
            "state": service.region.instances[member].state.capitalize(),
        }
        for member in service.region.members[call.ident]
    ]
    return service.page(call, found)


@_route("GET", _CORE + "/instanceConfigurations/{ident}")
def _get_configuration(service: OciService, call: Call) -> Answer:
    return Answer(service.region.configurations[call.ident])


# ── work requests ────────────────────────────────────────────────────────────────


def _list_work(service: OciService, call: Call) -> Answer:
    found = [_public(d, "error lifecycleState") for d in _inside(service.region.work, call)]
    return service.page(call, found, wrapped=call.path.startswith(_CI))


def _get_work(service: OciService, call: Call) -> Answer:
    thing = service.find(service.region.work, call.ident)
    return Answer(_public(thing.data, "error lifecycleState"))


def _work_errors(service: OciService, call: Call) -> Answer:
    thing = service.find(service.region.work, call.ident)
    error = thing.data["error"]
    found = [{"code": "Failed", "message": error, "timestamp": now()}] if error else []
    return service.page(call, found, wrapped=call.path.startswith(_CI))


for _base in (_CORE, _CI):
    _route("GET", f"{_base}/workRequests")(_list_work)
    _route("GET", _base + "/workRequests/{ident}")(_get_work)
    _route("GET", _base + "/workRequests/{ident}/errors")(_work_errors)


# ── container instances ──────────────────────────────────────────────────────────

_NOT_IN_SUMMARY = "vnics containers volumes dnsConfig imagePullSecrets"
_NOT_IN_CONTAINER_SUMMARY = (
    "exitCode timeTerminated command arguments workingDirectory environmentVariables"
    " volumeMounts healthChecks containerRestartAttemptCount"
)


@_route("GET", f"{_CI}/containerInstances")
def _list_machines(service: OciService, call: Call) -> Answer:
    found = [_public(d, _NOT_IN_SUMMARY) for d in _inside(service.region.machines, call)]
    return service.page(call, found, wrapped=True)


@_route("POST", f"{_CI}/containerInstances")
def _create_machine(service: OciService, call: Call) -> Answer:
    service.check("oci.container_instances.models", "CreateContainerInstanceDetails", call.body)
    machine, work = service.region.create_machine(call.body)
    return Answer(
        machine.data, {"etag": str(machine.etag), "opc-work-request-id": work}, status=201
    )


@_route("GET", _CI + "/containerInstances/{ident}")
def _get_machine(service: OciService, call: Call) -> Answer:
    return _one(service.find(service.region.machines, call.ident))


@_route("PUT", _CI + "/containerInstances/{ident}")
def _update_machine(service: OciService, call: Call) -> Answer:
    machine = service.find(service.region.machines, call.ident)
    service.check("oci.container_instances.models", "UpdateContainerInstanceDetails", call.body)
    service.if_match(call, machine)
    work = service.region.update_machine(machine, call.body)
    return Answer(None, {"opc-work-request-id": work}, status=202)


@_route("DELETE", _CI + "/containerInstances/{ident}")
def _delete_machine(service: OciService, call: Call) -> Answer:
    machine = service.find(service.region.machines, call.ident)
    work = service.region.delete_machine(machine)
    return Answer(None, {"opc-work-request-id": work}, status=202)


@_route("POST", _CI + "/containerInstances/{ident}/actions/{action}")
def _machine_action(service: OciService, call: Call) -> Answer:
    if call.action not in ("start", "stop", "restart"):
        raise Refused(404, "NotAuthorizedOrNotFound", "no such action")
    machine = service.find(service.region.machines, call.ident)
    work = service.region.machine_action(machine, call.action)
    return Answer(None, {"opc-work-request-id": work}, status=202)


@_route("GET", f"{_CI}/containers")
def _list_containers(service: OciService, call: Call) -> Answer:
    found = [
        _public(d, _NOT_IN_CONTAINER_SUMMARY) for d in _inside(service.region.containers, call)
    ]
    return service.page(call, found, wrapped=True)


@_route("GET", _CI + "/containers/{ident}")
def _get_container(service: OciService, call: Call) -> Answer:
    return _one(service.find(service.region.containers, call.ident))


@_route("POST", _CI + "/containers/{ident}/actions/retrieveLogs")
def _retrieve_logs(service: OciService, call: Call) -> Answer:
    service.find(service.region.containers, call.ident)
    return Answer(service.region.logs[call.ident])


# ── monitoring, logging, run command ─────────────────────────────────────────────

_METRIC = re.compile(r'^(\w+)\[1m\]\{resourceId =~ "([^"]+)"\}\.mean\(\)$')


@_route("POST", "/20180401/metrics/actions/summarizeMetricsData")
def _summarize(service: OciService, call: Call) -> Answer:
    service.check("oci.monitoring.models", "SummarizeMetricsDataDetails", call.body)
    match = _METRIC.match(call.body["query"])
    if match is None:
        raise Refused(400, "InvalidParameter", "the query can't be read")
    found = [
        {
            "namespace": call.body["namespace"],
            "name": match[1],
            "compartmentId": call.query["compartmentId"],
            "dimensions": {"resourceId": ident},
            "aggregatedDatapoints": [
                {"timestamp": "2020-01-01T00:00:00Z", "value": 1.0},
                {"timestamp": now(), "value": service.region.metrics[match[1], ident]},
            ],
        }
        for ident in match[2].split("|")
        if (match[1], ident) in service.region.metrics
    ]
    return Answer(found)


@_route("POST", "/20190909/search")
def _search(service: OciService, call: Call) -> Answer:
    service.check("oci.loggingsearch.models", "SearchLogsDetails", call.body)
    limit = int(call.query.get("limit", "500"))
    newest = sorted(service.region.entries, key=lambda e: str(e["data"]["datetime"]), reverse=True)
    return Answer({"results": newest[:limit], "summary": {"resultCount": len(newest)}})


@_route("POST", "/20180530/instanceAgentCommands")
def _create_command(service: OciService, call: Call) -> Answer:
    service.check(
        "oci.compute_instance_agent.models", "CreateInstanceAgentCommandDetails", call.body
    )
    ident = ocid("instanceagentcommand")
    service.region.commands[ident] = {
        "ends": time.monotonic() + service.region.transition,
        "instance": call.body["target"]["instanceId"],
        "text": call.body["content"]["source"]["text"],
        "canceled": False,
    }
    return Answer({"id": ident, **call.body})


@_route("DELETE", "/20180530/instanceAgentCommands/{ident}")
def _cancel_command(service: OciService, call: Call) -> Answer:
    service.region.commands[call.ident]["canceled"] = True
    return Answer(None, status=204)


@_route("GET", "/20180530/instanceAgentCommands/{ident}/status")
def _command_status(service: OciService, call: Call) -> Answer:
    command = service.region.commands[call.ident]
    if command["instance"] != call.query.get("instanceId"):
        raise Refused(404, "NotAuthorizedOrNotFound", "not on this instance")
    over = time.monotonic() >= command["ends"]
    state = service.region.command_end if over else "IN_PROGRESS"
    answer = {
        "instanceAgentCommandId": call.ident,
        "instanceId": command["instance"],
        "deliveryState": "ACKED" if over else "VISIBLE",
        "lifecycleState": "CANCELED" if command["canceled"] else state,
        "timeCreated": now(),
        "timeUpdated": now(),
        "sequenceNumber": 1,
    }
    if over:
        # It answers with what it was told to run: enough to see the words that arrived.
        answer["content"] = {
            "outputType": "TEXT",
            "exitCode": 0,
            "message": "",
            "text": command["text"][:1024],
        }
    return Answer(answer)
