"""Signing in as an instance or a resource, and knowing by that what the agent itself is."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from executors.contract import SelfAware
from flows.command_line.doctor import own_ids_finding
from flows.command_line.finding import Level
from infrastructure.errors import DeadlineExceededError, PermanentError, ProtectedObjectError
from infrastructure.identity import AgentIdentity
from infrastructure.operations import PrimitiveCall
from tests.contract.oci_world import OciWorld
from tests.fakes.http_server import Exchange, FakeServer, silent
from tests.fakes.oci_service import OciService
from tests.fakes.oci_service.resources import TENANCY
from tests.fakes.oci_service.service import private_key, private_pem
from tests.integration.test_oci_executor import TIMEOUT, boxed, declare


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OciWorld]:
    with OciService() as service:
        made = OciWorld(service, tmp_path)
        yield made
        made.close()
        assert service.refused_signatures == []


def token(**claims: object) -> str:
    def part(data: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'exp': int(time.time()) + 3600, **claims})}.c2ln"


# ── resource principal ───────────────────────────────────────────────────────────


def be_resource(monkeypatch: pytest.MonkeyPatch, world: OciWorld, **claims: object) -> None:
    made = token(res_tenant=TENANCY, **claims)
    world.service.keys[f"ST${made}"] = private_key().public_key()
    for name, value in {
        "VERSION": "2.2",
        "RPST": made,
        "PRIVATE_PEM": private_pem(),
        "REGION": "us-phoenix-1",
    }.items():
        monkeypatch.setenv(f"OCI_RESOURCE_PRINCIPAL_{name}", value)


def test_as_a_resource_the_agent_knows_its_own_container_instance(
    world: OciWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = world.foreign("mine"), world.foreign("web")
    be_resource(monkeypatch, world, res_id=own)
    executor = world.executor(auth={"method": "resourcePrincipal"})
    with pytest.raises(ProtectedObjectError):
        executor.call(boxed("mine", world.image), PrimitiveCall("restart"), timeout=TIMEOUT)
    result = executor.call(boxed("web", world.image), PrimitiveCall("restart"), timeout=TIMEOUT)
    assert result.native_ids == (other,)


def test_with_a_token_that_names_nothing_nothing_is_changed(
    world: OciWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody says in agents.yml what the agent is. Looking needs no such thing."""
    own, other = world.foreign("mine"), world.foreign("web")
    be_resource(monkeypatch, world)
    principal = {"method": "resourcePrincipal"}
    executor = world.executor(auth=principal)
    assert executor.look(boxed("web", world.image), timeout=TIMEOUT).instances
    assert executor.call(boxed("web", world.image), PrimitiveCall("logs"), timeout=TIMEOUT).output
    for _ in range(2):  # and it is not remembered as "nothing to protect"
        with pytest.raises(PermanentError, match=r"nativeIds.*agents\.yml"):
            executor.call(boxed("web", world.image), PrimitiveCall("restart"), timeout=TIMEOUT)
    assert world.service.count("^POST .*actions/restart") == 0
    told = AgentIdentity("a", frozenset(), native_ids=frozenset({own}))
    executor = world.executor(told, auth=principal)
    with pytest.raises(ProtectedObjectError):
        executor.call(boxed("mine", world.image), PrimitiveCall("restart"), timeout=TIMEOUT)
    result = executor.call(boxed("web", world.image), PrimitiveCall("restart"), timeout=TIMEOUT)
    assert result.native_ids == (other,)


def test_outside_of_a_resource_it_says_so(world: OciWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCI_RESOURCE_PRINCIPAL_VERSION", raising=False)
    executor = world.executor(auth={"method": "resourcePrincipal"})
    with pytest.raises(PermanentError, match="OCI_RESOURCE_PRINCIPAL_VERSION"):
        executor.check(timeout=TIMEOUT)


# ── instance principal ───────────────────────────────────────────────────────────


class Metadata:
    """The metadata service of an instance, and the service that makes tokens of certificates."""

    def __init__(self, instance: str | None, world: OciWorld) -> None:
        self._world = world
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        units = [f"opc-tenant:{TENANCY}"]
        if instance is not None:
            units.append(f"opc-instance:{instance}")
        name = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
        )
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def answer(self, exchange: Exchange) -> None:
        path = exchange.asked.path
        if path == "/v1/x509":
            exchange.answer(
                json.dumps({"token": self._token(exchange.asked.body)}).encode(),
                headers="Content-Type: application/json\r\n",
            )
        elif path.endswith("region"):
            exchange.answer(b"phx")
        elif path.endswith("key.pem"):
            exchange.answer(
                self._key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
            )
        else:
            exchange.answer(self._certificate)

    def _token(self, body: bytes) -> str:
        """A token; requests that are signed with the session's key are then authentic."""
        public = serialization.load_der_public_key(base64.b64decode(json.loads(body)["publicKey"]))
        assert isinstance(public, rsa.RSAPublicKey)
        made = token()
        self._world.service.keys[f"ST${made}"] = public
        return made


def test_as_an_instance_the_agent_knows_its_own_instance(
    world: OciWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = world.region.add_instance("mine"), world.region.add_instance("web")
    with FakeServer(Metadata(own.id, world).answer) as metadata:
        monkeypatch.setenv("OCI_METADATA_BASE_URL", metadata.url)
        executor = world.executor(
            auth={
                "method": "instancePrincipal",
                "federationEndpoint": f"{metadata.url}/v1/x509",
            }
        )
        with pytest.raises(ProtectedObjectError):
            executor.call(declare("mine"), PrimitiveCall("stop"), timeout=TIMEOUT)
        result = executor.call(declare("web"), PrimitiveCall("stop"), timeout=TIMEOUT)
        assert result.native_ids == (other.id,)
        assert own.state == "RUNNING"
        executor.close()


def test_with_a_certificate_that_names_no_instance_nothing_is_changed(
    world: OciWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = world.region.add_instance("web")
    with FakeServer(Metadata(None, world).answer) as metadata:
        monkeypatch.setenv("OCI_METADATA_BASE_URL", metadata.url)
        executor = world.executor(
            auth={
                "method": "instancePrincipal",
                "federationEndpoint": f"{metadata.url}/v1/x509",
            }
        )
        with pytest.raises(PermanentError, match=r"nativeIds.*agents\.yml"):
            executor.call(declare("web"), PrimitiveCall("stop"), timeout=TIMEOUT)
        assert thing.state == "RUNNING"
        executor.close()


def test_a_metadata_service_that_is_silent_costs_no_more_than_the_deadline(
    world: OciWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(silent) as metadata:
        monkeypatch.setenv("OCI_METADATA_BASE_URL", metadata.url)
        executor = world.executor(auth={"method": "instancePrincipal"})
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            executor.check(timeout=0.5)
        assert time.monotonic() - started < 1.5


# ── configuration file ───────────────────────────────────────────────────────────


def test_with_a_users_key_the_metadata_service_tells_the_agents_own_instance(
    world: OciWorld,
) -> None:
    own, other = world.region.add_instance("mine"), world.region.add_instance("web")
    world.service.own_instance = own.id
    executor = world.executor()
    with pytest.raises(ProtectedObjectError):
        executor.call(declare("mine"), PrimitiveCall("stop"), timeout=TIMEOUT)
    assert own.state == "RUNNING"
    result = executor.call(declare("web"), PrimitiveCall("stop"), timeout=TIMEOUT)
    assert result.native_ids == (other.id,)
    assert isinstance(executor, SelfAware)
    assert executor.known_self(timeout=TIMEOUT) == {own.id}


def test_anywhere_else_than_in_oracle_cloud_nobody_tells_and_it_costs_little(
    world: OciWorld, tmp_path: Path
) -> None:
    thing = world.region.add_instance("web")
    with FakeServer(silent) as metadata:
        auth = {
            "method": "configFile",
            "file": str(tmp_path / "config"),
            "profile": "UICI",
            "metadataEndpoint": metadata.url,
            "metadataTimeout": "100ms",
        }
        executor = world.executor(auth=auth)
        assert isinstance(executor, SelfAware)
        started = time.monotonic()
        assert executor.known_self(timeout=TIMEOUT) == frozenset()
        assert time.monotonic() - started < 2
    assert executor.call(declare("web"), PrimitiveCall("stop"), timeout=TIMEOUT).changed
    assert thing.state == "STOPPED"


def test_the_doctor_warns_where_no_id_of_the_agent_is_known(world: OciWorld) -> None:
    executor = world.executor()
    assert isinstance(executor, SelfAware)
    assert own_ids_finding("cloud", executor, TIMEOUT).level is Level.WARNING
    world.service.own_instance = "ocid1.instance.oc1.phx.aaaa"
    executor = world.executor()
    assert isinstance(executor, SelfAware)
    found = own_ids_finding("cloud", executor, TIMEOUT)
    assert (found.level, found.detail) == (Level.OK, "ocid1.instance.oc1.phx.aaaa")
