"""A container that crashes again and again on a real Docker Engine: its whole dossier."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executors.contract import Executor, ExecutorContext, load_executor_module
from flows.cases import open_cases
from flows.dossier import dossier_text
from flows.listener import NullListener, RunRequest
from flows.local_stack import docker
from flows.plan import Evidence
from flows.reconcile import look
from flows.report import RunResult
from flows.token_estimate import estimate_tokens
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

pytestmark = pytest.mark.real
NAME = "uici-dossier-service"
TOKEN = "sk-hidden0123456789abcdef"
SCRIPT = f"""
i=0; while [ $i -lt 300 ]; do echo "INFO polled the queue, took $i ms"; i=$((i+1)); done
echo "using token {TOKEN}"
echo "ERROR dial tcp shop-db:5432: connect: connection refused" >&2
/bin/busybox sleep 0.2
exit 3
"""


@pytest.fixture
def real(tmp_path: Path, docker_host: str) -> Iterator[LoopWorld]:
    """The loop with the real engine under it, and nothing declared."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(loop_world(tmp_path))
        module = load_executor_module("docker")
        executor: Executor = module.connect(
            module.Connection.model_validate({"host": docker_host}),
            ExecutorContext(ENVIRONMENT, 4, made.runtime.identity, made.runtime.secrets.resolve),
        )
        stack.callback(executor.close)
        stack.callback(docker, docker_host, "rm", "--force", NAME)
        made.runtime = replace(made.runtime, executors={ENVIRONMENT: executor})
        yield made


@pytest.fixture
def world(real: LoopWorld, docker_host: str, demo_image: str) -> LoopWorld:
    """One service whose container fails some seconds after each start."""
    real.commit(
        "raise the limit of the dossier's service",
        **{
            NAME: service_yaml(
                NAME,
                image=demo_image,
                resources={"memory": "64Mi"},
                dependsOn=["shop-db"],
            ),
            "shop-db": service_yaml("shop-db", image=demo_image),
        },
    )
    label = f"uici.target={ENVIRONMENT}/{NAME}"
    run = ("run", "--detach", "--restart", "always", "--name", NAME, "--label", label)
    docker(
        docker_host,
        *run,
        "--memory",
        "64m",
        "--entrypoint",
        "/bin/busybox",
        demo_image,
        "sh",
        "-c",
        SCRIPT,
    )
    _until_restarted(docker_host, 3)
    return real


def _until_restarted(host: str, times: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        (found,) = json.loads(docker(host, "inspect", NAME))
        if found["RestartCount"] >= times:
            return
        time.sleep(0.2)
    raise AssertionError("the container does not restart")


def _between_restarts(world: LoopWorld) -> Evidence:
    """The dossier of a moment at which the container is down: the engine waits ever longer."""
    for _ in range(10):
        evidence = _dossier(world)
        if any("exit code" in fact for fact in evidence.facts):
            break
    return evidence


def _dossier(world: LoopWorld) -> Evidence:
    opened = world.runtime.open_world(RunRequest(None, None, None, "run"))
    sight = look(opened)
    cases, _ = open_cases(opened, sight.comparison, sight.seen, NullListener())
    (case,) = [c for c in cases if NAME in {t.partition("/")[2] for t in c.incident.targets}]
    return case.evidence


def test_the_dossier_of_a_crash_loop(world: LoopWorld) -> None:
    evidence = _between_restarts(world)
    text = dossier_text(evidence)
    print(text)  # noqa: T201 - the worked example: shown by pytest -s
    limits = world.config.platform.evidence
    assert estimate_tokens(text) <= limits.max_tokens
    assert TOKEN not in text
    (match,) = [m for m in evidence.matches if m.name == "connection-refused"]
    assert match.subject == "shop-db:5432"
    assert match.count >= 3
    target = f"{ENVIRONMENT}/{NAME}"
    assert any("exit code 3" in f and "restarted" in f for f in evidence.facts), evidence.facts
    log = evidence.logs[target].split("\n")
    assert any("ERROR dial tcp shop-db:5432" in line and line.startswith("(") for line in log)
    (polled,) = [line for line in log if "polled the queue" in line]
    assert int(polled.partition("×")[0].strip("(")) >= 900
    assert any("commit" in c and "raise the limit" in c for c in evidence.changes)
    assert any("engine: die" in c and "exitCode=3" in c for c in evidence.changes)
    assert f"{target} needs {ENVIRONMENT}/shop-db: missing" in evidence.dependencies


LAST_WORD = "FATAL cannot connect to db.example:5432: connection refused, giving up in 4 s"


def test_the_last_words_of_a_process_that_was_seen_well_after_them(
    real: LoopWorld, docker_host: str, demo_image: str
) -> None:
    script = f"echo '{LAST_WORD}'; /bin/busybox sleep 4; exit 3"
    told = service_yaml(
        NAME,
        image=demo_image,
        command=["sh", "-c", script],
        native={"Entrypoint": ["/bin/busybox"]},
    )
    real.commit(**{NAME: told})
    assert real.run().result is RunResult.CONVERGED
    docker(docker_host, "wait", NAME)
    evidence = _dossier(real)
    assert "connection-refused" in {match.name for match in evidence.matches}
    first, said = evidence.logs[f"{ENVIRONMENT}/{NAME}"].split("\n")
    assert first.startswith("nothing since ")
    assert said.endswith(LAST_WORD)
