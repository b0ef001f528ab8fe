"""What is true in the world: asked of the engine, of HTTP and of monitoring, never of the agent.

What is right is told here in words of its own, from `tests.chaos.services`, and not by the
product's comparison.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.chaos.engine import Json
from tests.chaos.services import (
    AGENT,
    BYSTANDER,
    MEMORY,
    PORT,
    STACK,
    containers,
    environment,
    image,
)
from tests.chaos.stage import Stage

ESCALATION = "UICIEscalation"
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """An alert by which the agent has told people. `target`: as in its label."""

    target: str
    summary: str


class Oracle:
    """Looks at one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pool = ThreadPoolExecutor(8)

    def close(self) -> None:
        self._pool.shutdown()

    # ── containers and HTTP ─────────────────────────────────────────────────────

    def inspect(self, container: str) -> Json | None:
        return self._stage.engine.inspect(container)

    def state(self, container: str) -> Mapping[str, Any]:
        """`State` of a container; empty: there is none."""
        found = self.inspect(container)
        return found["State"] if found is not None else {}

    def status(self, name: str, path: str = "/health", timeout: float = 4.0) -> int | None:
        """HTTP status of a service's published port; None: no answer."""
        return http_status(self._stage.url(name, path), timeout)

    def text(self, name: str, path: str) -> str:
        """What a service answers; empty: nothing, or an error."""
        try:
            with urllib.request.urlopen(self._stage.url(name, path), timeout=4) as answer:
                return str(answer.read().decode(errors="replace"))
        except (OSError, ValueError):
            return ""

    def complaints(self, *names: str) -> list[str]:
        """What is wrong with these services (all of them: none is named); empty: all is well."""
        wanted = names or tuple(STACK)
        found = self._stage.engine.inspect_all()
        wrong = [text for name in wanted for text in self._configuration(name, found)]
        if wrong:
            return wrong
        return [text for part in self._pool.map(self._answer(found), wanted) for text in part]

    def _configuration(self, name: str, found: Mapping[str, Json]) -> Iterator[str]:
        for container in containers(name):
            seen = found.get(container)
            if seen is None:
                yield f"{container} is missing"
                continue
            for what, is_so, should in self._facts(name, seen):
                if is_so != should:
                    yield f"{container}: {what} is {is_so}, not {should}"
        ours = {c for c in found if found[c]["Config"]["Labels"].get("uici.service") == name}
        for stray in sorted(ours - set(containers(name))):
            yield f"{stray} is one too many"

    def _facts(self, name: str, seen: Json) -> Iterator[tuple[str, object, object]]:
        kind, state, host = STACK[name], seen["State"], seen["HostConfig"]
        yield "state", state["Status"], "running"
        yield "image", seen["Config"]["Image"], image(name)
        variables = dict(pair.split("=", 1) for pair in seen["Config"]["Env"])
        wanted = environment(name)
        yield "environment", {k: variables.get(k) for k in wanted}, wanted
        yield "memory limit", host["Memory"], MEMORY
        yield "CPU limit", host["NanoCpus"], 1_000_000_000
        yield "restart policy", host["RestartPolicy"]["Name"] or "no", kind.restart
        yield "network", host["NetworkMode"], self._stage.network
        yield "connected to", sorted(seen["NetworkSettings"]["Networks"]), [self._stage.network]
        if kind.replicas == 1:
            bound = host["PortBindings"].get(f"{PORT}/tcp")
            yield (
                "ports",
                bound,
                [{"HostIp": "127.0.0.1", "HostPort": str(self._stage.ports[name])}],
            )
        if kind.engine_check:
            yield "engine's health check", state.get("Health", {}).get("Status"), "healthy"

    def _answer(self, found: Mapping[str, Json]) -> Callable[[str], list[str]]:
        def ask(name: str) -> list[str]:
            if STACK[name].replicas == 1:
                urls = [self._stage.url(name)]
            else:
                networks = [found[c]["NetworkSettings"]["Networks"] for c in containers(name)]
                urls = [
                    f"http://{n[self._stage.network]['IPAddress']}:{PORT}/health" for n in networks
                ]
            answers = [http_status(url, 4.0) for url in urls]
            return [f"{name}: /health answers {a or 'nothing'}" for a in answers if a != 200]

        return ask

    def untouchable(self) -> dict[str, object]:
        """What has to stay as it is: the agent's own container and the bystander."""
        found: dict[str, object] = {}
        for name in (AGENT, BYSTANDER):
            seen = self.inspect(name)
            if seen is None:
                found[name] = None
                continue
            state = seen["State"]
            networks = sorted(seen["NetworkSettings"]["Networks"])
            found[name] = (seen["Id"], state["Status"], state["StartedAt"], networks)
        return found

    # ── monitoring ──────────────────────────────────────────────────────────────

    def sample(self, query: str) -> float | None:
        """The one value of a PromQL expression; None: there is none."""
        words = urllib.parse.urlencode({"query": query})
        answer = fetched(f"{self._stage.prometheus}/api/v1/query?{words}")
        found = answer["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> list[dict[str, Any]]:
        """Every active alert that Alertmanager has."""
        query = "active=true&silenced=true&inhibited=true"
        found: list[dict[str, Any]] = fetched(f"{self._stage.alertmanager}/api/v2/alerts?{query}")
        return found

    def told(self) -> list[Told]:
        """What people are being told by the agent now."""
        return [
            Told(alert["labels"].get("target", ""), alert["annotations"].get("summary", ""))
            for alert in self.alerts()
            if alert["labels"]["alertname"] == ESCALATION
        ]

    def end_alerts(self) -> None:
        """By hand: what the agent has told people is over."""
        ended = "2000-01-01T00:00:01Z"
        told = [a for a in self.alerts() if a["labels"]["alertname"] == ESCALATION]
        alerts = [{"labels": a["labels"], "startsAt": ended, "endsAt": ended} for a in told]
        posted(f"{self._stage.alertmanager}/api/v2/alerts", alerts)

    def unquiet(self) -> list[str]:
        """What monitoring still says about the stack; empty: as if nothing had ever been."""
        wrong = [
            f"{alert['labels']['alertname']} of {alert['labels'].get('service', '?')} fires"
            for alert in self.alerts()
            if alert["labels"].get("service") in {*STACK, AGENT}
            or alert["labels"]["alertname"] == ESCALATION
        ]
        scraped = sum(1 for kind in STACK.values() if kind.replicas == 1)
        names = "|".join(STACK)
        well = self.sample(
            f'count(min_over_time(up{{job=~"{names}"}}[3s]) == 1 and on (job) '
            f"min_over_time(service_healthy[3s]) == 1 and on (job) "
            f"max_over_time(service_errors[3s]) == 0)"
        )
        if well != scraped:
            wrong.append(f"{well or 0:g} of {scraped} services are well by their metrics")
        return wrong


def http_status(url: str, timeout: float) -> int | None:
    """Status of a GET; None: no answer."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except (OSError, ValueError):
        return None


def fetched(url: str) -> Any:
    """The decoded answer of a GET."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def posted(url: str, body: Any, method: str = "POST") -> Any:
    """The decoded answer; None if it is empty."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text.strip() else None


def await_true(ready: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
