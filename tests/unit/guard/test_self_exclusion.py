"""Self-exclusion: each layer alone, against every disguise.

The table of docs/how-to/guard.md is what this module finds: layers × disguises, each layer
asked with the others switched off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from executors.docker.membership import SERVICE_LABEL, TARGET_LABEL
from executors.kubernetes.protection import refuse_blind
from flows.compare import compare
from flows.guard import Decision, GuardInput, judge
from flows.guarding.reach import blind_in, engine_access
from infrastructure.desired_state import parse_desired_state
from infrastructure.errors import ProtectedObjectError
from infrastructure.identity import UNKNOWN_CONTAINER, UNKNOWN_POD, AgentIdentity, place_id
from infrastructure.observed import NativeObject, ObservedService
from infrastructure.operations import PrimitiveCall
from tests.builders import (
    ENVIRONMENT,
    NOW,
    alert,
    as_declared,
    comparing,
    instance_of,
    observation,
    service,
    services,
)
from tests.fakes.engine import FakeContainer, FakeEngine
from tests.unit.guard.policies import CONFIG, incident, plan, rules, step

ROOT = Path(__file__).parents[3]
OWN, POD = "a" * 64, "0f8e7d6c-1111-2222-3333-444455556666"
OCID = "ocid1.instance.oc1.eu-frankfurt-1.aaaaaaaabbbbbbbbccccccccdddddddd"
IDENTITY = AgentIdentity(
    agent="devops-ai-agent",
    names=frozenset({"devops-ai-agent", "uici-agent"}),
    lives_on=frozenset({"prefect-server", "prefect-database", "prefect-redis", "uici-state"}),
    native_ids=frozenset(
        {OWN, POD, OCID, place_id("namespace", "uici"), place_id("node", "node-1")}
    ),
    labels={"uici.role": "agent"},
)


def native(name: str, id_: str = "f" * 64, kind: str = "container", **labels: str) -> NativeObject:
    return NativeObject(kind, id_, name, {k.replace("__", "."): v for k, v in labels.items()})


@dataclass(frozen=True)
class Disguise:
    """How the agent, or what it lives on, could be met under a target's name."""

    name: str = "shop"
    image: str = "shop:1"
    natives: tuple[NativeObject, ...] = ()
    alert: Mapping[str, str] | None = None
    operation: str = "restart"
    parameters: Mapping[str, Any] | None = None
    host_access: tuple[str, ...] = ()
    environment: str = ENVIRONMENT
    identity: AgentIdentity = IDENTITY
    executor: str = "docker"


def _lives_on(name: str) -> Disguise:
    return Disguise(name=name, natives=(native(name),), alert={"service": name})


def _command(*argv: str, **more: Any) -> Disguise:
    return Disguise(operation="execute_command", parameters={"argv": list(argv)}, **more)


DISGUISES: Mapping[str, Disguise] = {
    "its name": Disguise(
        "devops-ai-agent",
        natives=(native("devops-ai-agent"),),
        alert={"service": "devops-ai-agent"},
    ),
    "another of its names": Disguise(
        "uici-agent", natives=(native("uici-agent"),), alert={"job": "uici-agent"}
    ),
    "a name in capitals": Disguise(
        natives=(native("DevOps-AI-Agent"),), alert={"service": "DevOps-AI-Agent"}
    ),
    "a replica's number": Disguise(
        "devops-ai-agent-2",
        natives=(native("devops-ai-agent-2"),),
        alert={"container": "devops-ai-agent-2"},
    ),
    "a Compose project's prefix": Disguise(
        "stack-devops-ai-agent",
        natives=(native("stack_devops-ai-agent_1"),),
        alert={"container_name": "stack_devops-ai-agent_1"},
    ),
    "a Compose service's label": Disguise(
        natives=(native("shop", com__docker__compose__service="devops-ai-agent"),)
    ),
    "an app label": Disguise(
        natives=(native("shop", app="uici-agent"),), alert={"app": "uici-agent"}
    ),
    "identity labels": Disguise(natives=(native("shop", uici__role="agent"),)),
    "renamed": Disguise(natives=(native("shop", OWN),)),
    "the beginning of its id": Disguise(natives=(native("shop", OWN[:12]),)),
    "its image": Disguise(image="registry.example.com/devops-ai-agent:2"),
    "its pod": Disguise(natives=(native("shop", POD, "pod"),)),
    "one replica of a group is it": Disguise(
        natives=(native("shop-1"), native("shop-2", OWN)),
        operation="scale",
        parameters={"replicas": 1},
    ),
    "the workload that keeps it": Disguise(
        natives=(native("uici-agent", "9" * 36, "Deployment"),), operation="recreate"
    ),
    "another environment, same engine": Disguise(
        environment="second-docker", natives=(native("shop", OWN),)
    ),
    "its Prefect server": _lives_on("prefect-server"),
    "its database": _lives_on("prefect-database"),
    "its Redis": _lives_on("prefect-redis"),
    "its Git remote": _lives_on("uici-state"),
    "its Kubernetes namespace": Disguise(
        natives=(native("", place_id("namespace", "uici"), "namespace"),)
    ),
    "its Kubernetes node": Disguise(
        natives=(native("node-1", place_id("node", "node-1"), "node"),)
    ),
    "its OCI instance": Disguise(natives=(native("shop", OCID, "instance"),)),
    "a command with the engine's socket": _command("true", host_access=("/var/run/docker.sock",)),
    "a command in a privileged neighbour": _command("true", host_access=("privileged",)),
    "a command with the host's processes": _command("true", host_access=("host processes",)),
    "a command with the host's root": _command("true", host_access=("/",)),
    "a command with DOCKER_HOST": _command("true", host_access=("tcp://10.0.0.5:2375",)),
    "a command that names it": _command("kubectl", "delete", "pod/uici-agent"),
    "a command that names what it lives on": _command("redis-cli", "-h", "prefect-redis"),
    "a command with its id": _command("docker", "stop", OWN[:12]),
    "it can't tell its container": Disguise(
        natives=(native("shop"),),
        identity=replace(IDENTITY, native_ids=frozenset({UNKNOWN_CONTAINER})),
    ),
    "it can't tell its pod": Disguise(
        identity=replace(IDENTITY, native_ids=frozenset({UNKNOWN_POD})), executor="kubernetes"
    ),
}


# ── the layers, each alone ──────────────────────────────────────────────────────


@cache
def _agents_route() -> re.Pattern[str]:
    text = (ROOT / "monitoring/alertmanager/alertmanager.yml").read_text()
    route = yaml.safe_load(text)["route"]["routes"][0]
    assert route["receiver"] != "uici"
    assert route["continue"] is False
    found = re.fullmatch(r'service =~ "(.+)"', route["matchers"][0])
    assert found is not None
    return re.compile(found[1])


def routing(one: Disguise) -> bool:
    """Alertmanager sends an alert about it to people only (the shipped configuration)."""
    return one.alert is not None and bool(_agents_route().fullmatch(one.alert.get("service", "")))


def validation(one: Disguise) -> bool:
    """A desired state that names it is refused."""
    text = yaml.safe_dump(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": one.name, "environment": one.environment},
            "spec": {"image": one.image},
        }
    )
    _, problems = parse_desired_state(
        {"shop.yml": text.encode()},
        environments=[ENVIRONMENT, "second-docker"],
        key_patterns=(),
        is_protected=IDENTITY.protects_name,
        max_bytes=10_000,
    )
    return bool(problems)


def observe(one: Disguise) -> bool:
    """An alert about it makes no drift, also where a Service claims it."""
    if one.alert is None:
        return False
    claims = service("shop", alerts=[{"matchers": dict(one.alert)}])
    given = replace(comparing(services(claims)), identity=one.identity)
    about = replace(alert(), labels={"alertname": "MarketPredictorDown", **one.alert})
    seen = observation([as_declared(claims)], alerts=[about])
    found = compare(given, seen, now=NOW)
    assert bool(found.own_alerts) is not bool(found.drifts)
    return bool(found.own_alerts)


def guard(one: Disguise) -> bool:
    """No step on it gets a verdict but denied, for this reason and no other."""
    wanted = service(
        "shop" if one.natives or one.operation == "execute_command" else one.name,
        image=one.image,
        environment=one.environment,
    )
    if one.name != "shop" and not any(n.name == one.name for n in one.natives):
        wanted = service(one.name, image=one.image, environment=one.environment)
    seen = observation(
        [ObservedService(wanted.target, (instance_of(wanted, host_access=one.host_access),))]
    )
    patterns = yaml.safe_load((CONFIG / "platform.yml").read_text())["guard"]["engineAccess"]
    given: GuardInput = rules(
        wanted,
        identity=one.identity,
        natives={wanted.target: one.natives},
        engine_access=engine_access(seen, patterns),
        blind=blind_in(one.identity, {one.environment: one.executor}),
        always_approve=frozenset(),
    )
    verdict = judge(
        plan(step(one.operation, wanted.target, **(one.parameters or {}))),
        incident(wanted.target),
        given,
    )[0]
    ours = verdict.rule in {"self-exclusion", "reaches-agent", "unknown-identity"}
    assert ours is (ours and verdict.decision is Decision.DENIED)
    return ours


def executor(one: Disguise) -> bool:
    """The executor refuses the native object, whatever verdict came with the call."""
    if any(each.kind != "container" for each in one.natives) or not one.natives:
        try:  # as the executors of Kubernetes and Oracle Cloud ask
            if one.executor == "kubernetes":
                refuse_blind(one.identity, one.operation)
            one.identity.refuse(one.natives, action=one.operation)
        except ProtectedObjectError:
            return True
        return False
    engine = FakeEngine(one.environment, identity=one.identity)
    wanted = service("shop", environment=one.environment)
    for each in one.natives:
        labels = {**each.labels, TARGET_LABEL: wanted.target, SERVICE_LABEL: "shop"}
        labels |= {k: v for k, v in each.labels.items() if k == SERVICE_LABEL}
        engine.containers[each.id] = FakeContainer(each.id, each.name, one.image, labels)
    try:
        engine.call(wanted, PrimitiveCall("start"), timeout=1)
    except ProtectedObjectError:
        assert engine.calls == []
        return True
    return False


LAYERS = {
    "routing": routing,
    "validation": validation,
    "observe": observe,
    "guard": guard,
    "executor": executor,
}


def matrix() -> str:
    """The table, as Markdown."""
    lines = [f"| disguise | {' | '.join(LAYERS)} |", "|---|" + "---|" * len(LAYERS)]
    for name, one in DISGUISES.items():
        cells = ["stops" if layer(one) else "" for layer in LAYERS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)


@pytest.mark.parametrize("name", DISGUISES)
def test_no_disguise_gets_round_the_layers_that_act(name: str) -> None:
    """Guard and executor stand between a plan and the engine: an object is refused by both."""
    one = DISGUISES[name]
    assert guard(one) or validation(one), "nothing stops a step on it"
    has_object = bool(one.natives) or one.executor == "kubernetes"
    assert executor(one) is has_object
    if one.alert is not None:
        assert observe(one)


def test_the_document_shows_what_is_found() -> None:
    assert matrix() in (ROOT / "docs/how-to/guard.md").read_text()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_stranger_is_stopped_by_no_layer(layer: str) -> None:
    stranger = Disguise(natives=(native("shop", "c" * 64, app="shop"),), alert={"service": "shop"})
    assert not LAYERS[layer](stranger)
    assert not LAYERS[layer](_command("ls", "/", host_access=("/srv/data", "/var/lib/shop")))
