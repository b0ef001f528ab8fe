"""The loop on a real Docker Engine and a real Git remote: broken by hand, healed from Git."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from executors.contract import Executor, ExecutorContext, load_executor_module
from flows.local_stack import docker
from flows.report import IncidentResult, RunResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import ProtectedObjectError
from infrastructure.identity import AgentIdentity
from infrastructure.operations import PrimitiveCall
from tests.builders import service
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

pytestmark = pytest.mark.real
NAME = "uici-loop-service"


@dataclass
class RealWorld:
    """The loop of `tests.fakes.loop`, with the real engine under it."""

    host: str
    loop: LoopWorld

    def inspect(self) -> dict[str, object]:
        """The container as the engine has it."""
        (found,) = json.loads(docker(self.host, "inspect", NAME))
        return dict(found)

    def docker(self, *words: str) -> None:
        """Do something to the engine as a person would."""
        docker(self.host, *words)


@pytest.fixture
def world(tmp_path: Path, docker_host: str, demo_image: str) -> Iterator[RealWorld]:
    """One service, created by the loop itself."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(loop_world(tmp_path))
        module = load_executor_module("docker")
        executor: Executor = module.connect(
            module.Connection.model_validate({"host": docker_host}),
            ExecutorContext(ENVIRONMENT, 4, made.runtime.identity, made.runtime.secrets.resolve),
        )
        stack.callback(executor.close)
        made.runtime = replace(made.runtime, executors={ENVIRONMENT: executor})
        made.commit(
            **{
                NAME: service_yaml(
                    NAME,
                    image=demo_image,
                    env={"PORT": "8000", "LOG_LEVEL": "info"},
                    resources={"memory": "64Mi"},
                    health={"http": {"port": 8000, "path": "/health", "timeout": "2s"}},
                )
            }
        )
        stack.callback(docker, docker_host, "rm", "--force", NAME)
        assert made.run().result is RunResult.CONVERGED
        yield RealWorld(docker_host, made)


def _change_by_hand(world: RealWorld) -> None:
    config = world.inspect()["Config"]
    assert isinstance(config, dict)
    world.docker("rm", "--force", NAME)
    label = f"uici.target={ENVIRONMENT}/{NAME}"
    run = ("run", "--detach", "--name", NAME, "--label", label, "--memory", "32m")
    world.docker(*run, "--env", "LOG_LEVEL=debug", "--env", "PORT=8000", str(config["Image"]))


FAULTS: dict[str, tuple[Callable[[RealWorld], None], DriftKind, str]] = {
    "killed": (lambda w: w.docker("kill", NAME), DriftKind.STOPPED, "start"),
    "paused": (lambda w: w.docker("pause", NAME), DriftKind.STOPPED, "start"),
    "removed": (lambda w: w.docker("rm", "--force", NAME), DriftKind.MISSING, "create"),
    "changed by hand": (_change_by_hand, DriftKind.CONFIG_DRIFT, "recreate"),
    "limit only": (
        lambda w: w.docker("update", "--memory", "32m", "--memory-swap", "64m", NAME),
        DriftKind.CONFIG_DRIFT,
        "set_resources",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_made_by_hand_is_healed_on_the_real_engine(world: RealWorld, fault: str) -> None:
    damage, kind, operation = FAULTS[fault]
    damage(world)
    report = world.loop.run()
    assert report.result is RunResult.CONVERGED, report.incidents
    (told,) = report.incidents
    assert told.result is IncidentResult.RECOVERED
    assert kind in {drift.kind for drift in told.incident.drifts}
    assert told.execution is not None
    assert [o.call.operation for o in told.execution.outcomes] == [operation]
    seen = world.inspect()
    state, config, limits = seen["State"], seen["Config"], seen["HostConfig"]
    assert isinstance(state, dict)
    assert isinstance(config, dict)
    assert isinstance(limits, dict)
    assert (state["Running"], state["Paused"]) == (True, False)
    assert "LOG_LEVEL=info" in config["Env"]
    assert limits["Memory"] == 64 * 2**20
    assert world.loop.run().result is RunResult.CONVERGED


def test_a_container_that_became_the_agent_is_not_touched(world: RealWorld) -> None:
    container = str(world.inspect()["Id"])
    identity = world.loop.runtime.identity
    own = replace(identity, native_ids=frozenset({container}))
    executor = world.loop.runtime.executors[ENVIRONMENT]
    module = load_executor_module("docker")
    guarded = module.connect(
        module.Connection.model_validate({"host": world.host}),
        ExecutorContext(ENVIRONMENT, 4, own, world.loop.runtime.secrets.resolve),
    )
    world.docker("kill", NAME)
    # Layer 4 is switched off (the guard does not know the id): the executor must hold alone.
    world.loop.runtime = replace(world.loop.runtime, executors={ENVIRONMENT: guarded})
    report = world.loop.run()
    guarded.close()
    executor.close()
    assert report.incidents[0].result is IncidentResult.FAILED
    state = world.inspect()["State"]
    assert isinstance(state, dict)
    assert state["Running"] is False


def test_no_container_joins_the_namespaces_of_the_agent(docker_host: str, demo_image: str) -> None:
    other = "uici-renamed-agent"
    container = docker(docker_host, "run", "--detach", "--name", other, demo_image).strip()
    identity = AgentIdentity("agent", frozenset({"agent"}), native_ids=frozenset({container}))
    module = load_executor_module("docker")
    executor = module.connect(
        module.Connection.model_validate({"host": docker_host}),
        ExecutorContext(ENVIRONMENT, 1, identity, lambda reference: reference),
    )
    try:
        for native in ({"PidMode": f"container:{other}"}, {"VolumesFrom": [f"{other}:ro"]}):
            wanted = service("uici-joiner", image=demo_image, native={"HostConfig": native})
            with pytest.raises(ProtectedObjectError):
                executor.call(wanted, PrimitiveCall("create"), timeout=20)
        assert "uici-joiner" not in docker(docker_host, "ps", "--all", "--format", "{{.Names}}")
    finally:
        executor.close()
        docker(docker_host, "rm", "--force", other)
