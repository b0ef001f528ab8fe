"""What is true, asked of the world and of Git and never of the agent.

Each function returns complaints, one line each; none means proved.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.demo.faults import inspect
from flows.demo.place import AGENT, GATEWAY, PREDICTOR, Place
from flows.escalation import ESCALATE
from flows.local_stack import STACK_LABEL, docker
from flows.local_stack.remote import git
from infrastructure.errors import PermanentError

REPORTS_BRANCH = "uici/reports"
# What desired-state/*.yml says, in the engine's words.
_MEMORY = 64 * 1024 * 1024
_ENV = "LOG_LEVEL=info"
# A container's death is recorded this much after the command that killed it.
_EVENT_SLACK = 1.0
# What changes a container, as the engine's events call it. `die` follows `kill` and `stop`.
_CHANGES = frozenset(
    {"create", "start", "restart", "stop", "kill", "pause", "unpause", "update"}
    | {"rename", "destroy"}
)


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that was done to a container. `at`: seconds since the epoch."""

    at: float
    action: str
    container: str


@dataclass(frozen=True, slots=True)
class Span:
    """When a command of the demo's began and ended, in seconds since the epoch."""

    begin: float
    end: float

    def covers(self, moment: float) -> bool:
        """Whether the engine may have recorded the command at this moment."""
        return self.begin <= moment <= self.end + _EVENT_SLACK


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that Alertmanager has, and who gets it."""

    name: str
    service: str
    receivers: tuple[str, ...]


def services_work(place: Place) -> list[str]:
    """Both services answer 200, run, and have the declared limit and variable."""
    complaints = []
    for name in (PREDICTOR, GATEWAY):
        status = _status(place.url(name))
        if status != 200:
            complaints.append(f"{name}: /health answers {status or 'nothing'}")
        try:
            document = inspect(place, name)
        except PermanentError:
            complaints.append(f"{name}: there is no such container")
            continue
        if not document["State"]["Running"]:
            complaints.append(f"{name}: its container is {document['State']['Status']}")
        if document["HostConfig"]["Memory"] != _MEMORY:
            complaints.append(f"{name}: memory limit is {document['HostConfig']['Memory']}")
        if _ENV not in document["Config"]["Env"]:
            complaints.append(f"{name}: {_ENV} is not set")
    return complaints


def committed_first(place: Place, *, intent: str, report: str, since: float) -> list[str]:
    """Intent and report are pushed, in this order, and nothing was done before the intent.

    Args:
        place: of the demo.
        intent: commit that announced the operations.
        report: commit that tells the outcome.
        since: end of the fault; later changes are the agent's.
    """
    if not intent or not report:
        return [f"no {'report' if intent else 'intent'} commit"]
    try:
        git("merge-base", "--is-ancestor", report, REPORTS_BRANCH, repository=place.remote)
        git("merge-base", "--is-ancestor", intent, report, repository=place.remote)
        committed = int(git("show", "--no-patch", "--format=%ct", intent, repository=place.remote))
    except PermanentError:
        return [f"{intent[:7]} and {report[:7]} are not on {REPORTS_BRANCH} in this order"]
    changes = [event for event in engine_events(place, since=since) if event.container != AGENT]
    if not changes:
        return ["the engine saw no change by the agent"]
    # Git keeps whole seconds.
    early = [event for event in changes if int(event.at) < committed]
    return [f"{event.action} {event.container} came before its commit" for event in early]


def agent_untouched(place: Place, *own: Span) -> list[str]:
    """Nobody but the demo touched the agent's container, and no report says so.

    Args:
        place: of the demo.
        own: the demo's own commands on it: the first made it, the last stopped it.
    """
    complaints = [
        f"{event.action} on {AGENT} was not the demo's doing"
        for event in engine_events(place, since=own[0].begin)
        if event.container == AGENT and not any(span.covers(event.at) for span in own)
    ]
    # With the agent down, nothing else was wrong: nothing may have been "repaired".
    complaints += [
        f"{event.action} on {event.container} while only the agent was down"
        for event in engine_events(place, since=own[-1].begin)
        if event.container != AGENT
    ]
    if inspect(place, AGENT)["State"]["Running"]:
        complaints.append(f"{AGENT} runs again")
    complaints += [
        f"the report says {operation} on {target}"
        for operation, target in reported_operations(place)
        if AGENT in target and operation != ESCALATE
    ]
    return complaints


def engine_events(place: Place, *, since: float) -> list[EngineEvent]:
    """What was done to the demo's containers, oldest first, from the engine's own record."""
    lines = docker(
        place.docker_host,
        *("events", "--since", f"{since:.6f}", "--until", f"{time.time():.6f}"),
        *("--filter", "type=container", "--filter", f"label={STACK_LABEL}={place.stack}"),
        *("--format", "{{json .}}"),
    )
    events = (json.loads(line) for line in lines.splitlines())
    return [
        EngineEvent(e["timeNano"] / 1e9, e["Action"], e["Actor"]["Attributes"]["name"])
        for e in events
        if e["Action"] in _CHANGES
    ]


def firing_alerts(place: Place, service: str) -> list[FiringAlert]:
    """Alerts with this `service` label that are active now; none if nobody answers."""
    query = urllib.parse.urlencode({"active": "true", "filter": f'service="{service}"'})
    try:
        with urllib.request.urlopen(  # noqa: S310 - our own http address
            f"{place.alertmanager_url}/api/v2/alerts?{query}", timeout=2
        ) as response:
            found: list[dict[str, Any]] = json.load(response)
    except (OSError, ValueError):
        return []
    return [
        FiringAlert(
            alert["labels"]["alertname"],
            service,
            tuple(receiver["name"] for receiver in alert["receivers"]),
        )
        for alert in found
    ]


def agent_is_scraped(place: Place) -> list[str]:
    """Prometheus has read the agent's own endpoint all the time, and its runs there."""
    own = f'job="{AGENT}",instance="127.0.0.1:{place.agent_port}"'
    complaints = []
    if _sample(place, f"min_over_time(up{{{own}}}[30m])") != 1:
        complaints.append("Prometheus could not always read the agent's /metrics")
    if not _sample(place, f"sum(uici_runs_total{{{own}}})"):
        complaints.append("the agent's /metrics tells of no run")
    return complaints


def _sample(place: Place, expression: str) -> float | None:
    """The one value of an expression; None: there is none, or nobody answers."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(  # noqa: S310 - our own http address
            f"{place.prometheus_url}/api/v1/query?{query}", timeout=5
        ) as response:
            found = json.load(response)["data"]["result"]
        return float(found[0]["value"][1]) if found else None
    except (OSError, ValueError, KeyError):
        return None


def told_of_agent(place: Place) -> tuple[str, str]:
    """What the reports branch tells people of the agent being down, and by which commit.

    Empty: it says nothing of the kind.
    """
    path = f"status/agent/{AGENT}.json"
    try:
        text = git("show", f"{REPORTS_BRANCH}:{path}", repository=place.remote)
        commit = git(
            "log", "-1", "--format=%H", REPORTS_BRANCH, "--", path, repository=place.remote
        )
        conditions = json.loads(text)["conditions"]
    except (PermanentError, ValueError):
        return "", ""
    bad = [str(condition["message"]) for condition in conditions if condition["status"] == "False"]
    return ("; ".join(bad), commit) if bad else ("", "")


def reported_operations(place: Place) -> list[tuple[str, str]]:
    """(operation, target) of everything that any file of the reports branch says was done."""
    names = git("ls-tree", "-r", "--name-only", REPORTS_BRANCH, repository=place.remote)
    found: list[tuple[str, str]] = []
    for name in names.splitlines():
        if name.endswith(".json"):
            text = git("show", f"{REPORTS_BRANCH}:{name}", repository=place.remote)
            found.extend(_operations(json.loads(text)))
    return found


def _operations(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("operation"), str) and isinstance(value.get("target"), str):
            yield value["operation"], value["target"]
        for inner in value.values():
            yield from _operations(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _operations(inner)


def _status(url: str) -> int:
    """HTTP status of a GET; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=3) as response:  # noqa: S310 - our own http address
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except OSError:
        return 0
