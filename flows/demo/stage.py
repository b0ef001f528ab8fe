"""Everything that runs during the demo, started in order and ended in the reverse order."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.demo.place import AGENT, GATEWAY, PREDICTOR, Place, make_place
from flows.demo.proof import Span
from flows.local_stack import (
    STACK_LABEL,
    Child,
    alertmanager,
    answers,
    bare_remote,
    build_demo_image,
    child,
    container_network,
    docker,
    docker_engine,
    prometheus,
    remove_stack,
)
from infrastructure.errors import PermanentError

_IMAGES = ("market-predictor:1.4.2", "market-gateway:1.0.0")
# `uici serve` ends its own children (the Prefect server) first.
_AGENT_GRACE = 15.0
_AGENT_SECONDS = 60.0

_COMMAND_LINE = "from flows.cli import main; main()"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """The running demo. `agent` is `uici serve`, `stand_in` when its container was made."""

    place: Place
    agent: Child
    stand_in: Span


@contextlib.contextmanager
def stage(scratch: Path, say: Say) -> Iterator[Stage]:
    """Start the engine (unless one runs), the services' image, monitoring and the agent.

    Args:
        scratch: an empty directory for all of it.
        say: told of each step, in a few words.

    Raises:
        PermanentError: something is missing or did not start; with the next step.
    """
    with contextlib.ExitStack() as running:
        engine = running.enter_context(docker_engine(scratch))
        say("Docker Engine: " + ("a child of the demo" if engine.owned else "the machine's own"))
        place = make_place(scratch, stack=f"demo-{os.getpid()}", docker_host=engine.host)
        _refuse_taken_names(place)
        running.callback(_clear, place)
        build_demo_image(engine.host, *_IMAGES, stack=place.stack)
        label = f"{STACK_LABEL}={place.stack}"
        running.enter_context(container_network(engine, place.network, label=label))
        stand_in = _start_stand_in(place)
        say(f"image {_IMAGES[0]} built, no registry asked")
        bare_remote(place.remote, place.desired_state)
        say("Git remote: seeded from desired-state/")
        # The agent first: its Prefect server takes longest, the others start meanwhile.
        agent = running.enter_context(_agent(place))
        # Its endpoint is there at once; Prometheus must not find it missing.
        agent.wait_until(lambda: answers(f"{place.agent_url}/healthz"), timeout=_AGENT_SECONDS)
        configs = place.monitoring
        running.enter_context(
            alertmanager(
                scratch,
                configs / "alertmanager" / "alertmanager.yml",
                port=place.alertmanager_port,
            )
        )
        running.enter_context(
            prometheus(
                scratch, configs / "prometheus" / "prometheus.yml", port=place.prometheus_port
            )
        )
        say("Prometheus and Alertmanager: as in monitoring/, each second")
        yield Stage(place, agent, stand_in)


def _agent(place: Place) -> contextlib.AbstractContextManager[Child]:
    """`uici serve` as users run it: a process that knows nothing but `--config`."""
    argv = [sys.executable, "-c", _COMMAND_LINE, "serve", "--config", str(place.config)]
    return child("uici serve", argv, log=place.scratch / "agent.log", grace=_AGENT_GRACE)


def _start_stand_in(place: Place) -> Span:
    """A container in the place of a second agent, with a `/metrics` of its own.

    The demo's agent runs as a process of this machine and is scraped, too; in production it
    is a container of this name. That one can be stopped while somebody is left to ignore it.
    """
    begin = time.time()
    docker(
        place.docker_host,
        *("run", "--detach", "--name", AGENT, "--memory", "32m", "--network", place.network),
        *("--env", "PORT=8001", "--publish", f"127.0.0.1:{place.ports[AGENT]}:8001", _IMAGES[0]),
    )
    return Span(begin, time.time())


def _refuse_taken_names(place: Place) -> None:
    names = docker(place.docker_host, "ps", "--all", "--format", "{{.Names}}").split()
    taken = sorted({PREDICTOR, GATEWAY, AGENT} & set(names))
    if taken:
        raise PermanentError(
            f"the engine at {place.docker_host} already has a container {taken[0]}; if a demo "
            "that was killed left it, remove what demos made: "
            f"docker rm -f $(docker ps -aq --filter label={STACK_LABEL})"
        )


def _clear(place: Place) -> None:
    # The engine may be what broke; ending the demo must go on.
    with contextlib.suppress(PermanentError):
        remove_stack(place.docker_host, place.stack)
