"""Five ways to break a service, each as a person or a bad day would do it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.demo.place import AGENT, GATEWAY, PREDICTOR, Place
from flows.local_stack import docker


@dataclass(frozen=True, slots=True)
class Fault:
    """One incident of the demo.

    Attributes:
        title: for the heading and the final table.
        command: what is done, as a person would type it.
        target: the service that it is done to.
        break_it: does it.
    """

    title: str
    command: str
    target: str
    break_it: Callable[[Place], None]


def _kill(place: Place) -> None:
    docker(place.docker_host, "kill", PREDICTOR)


def _remove(place: Place) -> None:
    docker(place.docker_host, "rm", "--force", GATEWAY)


def _change_by_hand(place: Place) -> None:
    """Run it again with another LOG_LEVEL, then lower its memory limit."""
    arguments = run_arguments(inspect(place, PREDICTOR), changed={"LOG_LEVEL": "debug"})
    docker(place.docker_host, "rm", "--force", PREDICTOR)
    docker(place.docker_host, "run", "--detach", "--name", PREDICTOR, *arguments)
    docker(place.docker_host, "update", "--memory", "32m", "--memory-swap", "64m", PREDICTOR)


def _make_sick(place: Place) -> None:
    url = place.url(PREDICTOR, "/fault?health=on")
    with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own http address
        pass


def _stop_agent(place: Place) -> None:
    docker(place.docker_host, "stop", "-t", "1", AGENT)


FAULTS = (
    Fault("container killed", f"docker kill {PREDICTOR}", PREDICTOR, _kill),
    Fault("container removed", f"docker rm -f {GATEWAY}", GATEWAY, _remove),
    Fault(
        "memory limit and a variable changed",
        f"docker run … --env LOG_LEVEL=debug; docker update --memory 32m {PREDICTOR}",
        PREDICTOR,
        _change_by_hand,
    ),
    Fault(
        "alive, but /health answers 503",
        f"GET {PREDICTOR}/fault?health=on",
        PREDICTOR,
        _make_sick,
    ),
)
AGENT_FAULT = Fault("the agent's own down alert", f"docker stop {AGENT}", AGENT, _stop_agent)


def inspect(place: Place, container: str) -> dict[str, Any]:
    """What the engine says about a container.

    Raises:
        PermanentError: there is none of this name.
    """
    document: dict[str, Any] = json.loads(docker(place.docker_host, "inspect", container))[0]
    return document


def run_arguments(document: dict[str, Any], *, changed: dict[str, str]) -> list[str]:
    """Arguments of `docker run` that make such a container again, with other variables."""
    config, host = document["Config"], document["HostConfig"]
    env = dict(pair.split("=", 1) for pair in config["Env"]) | changed
    arguments = ["--memory", str(host["Memory"]), "--network", host["NetworkMode"]]
    if host["NanoCpus"]:
        arguments += ["--cpus", str(host["NanoCpus"] / 1e9)]
    for key, value in env.items():
        arguments += ["--env", f"{key}={value}"]
    for port, bindings in (host["PortBindings"] or {}).items():
        for binding in bindings:
            arguments += ["--publish", f"{binding['HostIp']}:{binding['HostPort']}:{port}"]
    return [*arguments, config["Image"]]
