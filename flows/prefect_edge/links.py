"""Where people look further: a commit, a metric's graph, an alert; as links of Markdown.

An address is made of two things only: a base that the configuration names, and parts that
are quoted so that they stay data. What alerts and metrics themselves say of addresses
(`generatorURL`, annotations) is not followed: it comes from outside. Pure. Neighbour:
`flows.prefect_edge.run_page`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlencode, urlsplit

from flows.comparison.drift import Drift
from flows.reporting.text import Redact, cell, short_name
from flows.reporting.values import RunReport
from infrastructure.config_models import Environment, GitSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import empty
from infrastructure.service import Service

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = 12
_RANGE = "1h"  # what a graph shows up to the end of the run
_MOST = 20
# Forges that are the same for everybody, and where their commits' pages are.
_FORGES = {
    "github.com": "commit",
    "codeberg.org": "commit",
    "gitlab.com": "-/commit",
    "bitbucket.org": "commits",
}
_REMOTE = re.compile(
    r"(?:https?://(?:[^@/\s]*@)?|(?:ssh://)?git@)(?P<host>[a-z.]+)[:/](?P<path>[\w./~-]+?)(?:\.git)?/?"
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where people reach what the agent reads. What is not there gets no link.

    Attributes:
        prometheus: environment → base address.
        alertmanager: environment → base address.
        commit: a commit's page, with `{sha}` in it.
    """

    prometheus: Mapping[str, str] = field(default_factory=empty)
    alertmanager: Mapping[str, str] = field(default_factory=empty)
    commit: str | None = None


def places_of(environments: Mapping[str, Environment], git: GitSettings) -> Places:
    """As configured; of several sources the first."""
    prometheus = {
        name: _base(each.prometheus[0].external_url or each.prometheus[0].url)
        for name, each in environments.items()
        if each.prometheus
    }
    alertmanager = {
        name: _base(each.alertmanager[0].external_url or each.alertmanager[0].url)
        for name, each in environments.items()
        if each.alertmanager
    }
    return Places(prometheus, alertmanager, git.commit_url or _known_forge(git.remote))


def links(report: RunReport, places: Places, redact: Redact) -> Iterator[str]:
    """The links of a run, one a line of Markdown, each once."""
    yield from _commits(report, places)
    services = report.desired.services
    found: list[str] = []
    for incident in report.incidents:
        for drift in incident.incident.drifts:
            found += _of_drift(
                drift, services.get(drift.target), report.finished_at, places, redact
            )
    yield from list(dict.fromkeys(found))[:_MOST]


def _commits(report: RunReport, places: Places) -> Iterator[str]:
    desired = report.desired.revision.rpartition("sha1:")[2]
    named = (
        ("Desired state", desired),
        ("Intent", report.intent_commit or ""),
        ("Report", report.report_commit or ""),
    )
    for words, sha in named:
        if not _SHA.fullmatch(sha):
            continue
        shown = f"`{sha[:_SHORT]}`"
        if places.commit is not None:
            shown = f"[{shown}]({_marked(places.commit.replace('{sha}', sha))})"
        yield f"- {words}: {shown}"


def _of_drift(
    drift: Drift, service: Service | None, at: datetime, places: Places, redact: Redact
) -> Iterator[str]:
    environment, _, _ = drift.target.partition("/")
    name = cell(redact(f"{short_name(drift.target)} {drift.field}"))
    match drift.kind:
        case DriftKind.METRIC_BREACH:
            base = places.prometheus.get(environment)
            query = _query(drift, service)
            if base and query and redact(query) == query:
                yield f"- Metric: [{name}]({_marked(graph(base, query, at))})"
        case DriftKind.ALERT_FIRING:
            base = places.alertmanager.get(environment)
            labels = {**_matchers(service), "alertname": drift.field}
            if base and drift.field and redact(json.dumps(labels)) == json.dumps(labels):
                yield f"- Alert: [{name}]({_marked(alerts(base, labels))})"
        case _:
            return


def graph(base: str, query: str, at: datetime) -> str:
    """The address of a query's graph in Prometheus (2.x; 3.x sends it on)."""
    asked = {
        "g0.expr": query,
        "g0.tab": "0",
        "g0.range_input": _RANGE,
        "g0.end_input": at.strftime("%Y-%m-%d %H:%M:%S"),
    }
    return f"{base}/graph?{urlencode(asked, quote_via=quote, safe='')}"


def alerts(base: str, labels: Mapping[str, str]) -> str:
    """The address of these alerts in Alertmanager, the silenced ones included."""
    wanted = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
    silenced = "silenced=true&inhibited=true&active=true"
    return f"{base}/#/alerts?{silenced}&filter={quote('{' + wanted + '}', safe='')}"


def _query(drift: Drift, service: Service | None) -> str:
    health = service.spec.health if service is not None else None
    checks = health.metrics if health is not None else ()
    return next((check.query for check in checks if check.name == drift.field), "")


def _matchers(service: Service | None) -> Mapping[str, str]:
    """Those of the only selector; of several, nobody says which one it was."""
    selectors: Sequence[Mapping[str, str]] = (
        [each.matchers for each in service.spec.alerts] if service is not None else []
    )
    return selectors[0] if len(selectors) == 1 else {}


def _known_forge(remote: str | None) -> str | None:
    """The page of a commit where the remote's host tells it."""
    found = _REMOTE.fullmatch(remote or "")
    if found is None or (folder := _FORGES.get(found["host"])) is None:
        return None
    return f"https://{found['host']}/{found['path'].strip('/')}/{folder}/{{sha}}"


def _base(url: str) -> str:
    """Without a name, a password, a query: an address that may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _marked(url: str) -> str:
    """An address that ends where its Markdown says so."""
    return quote(url, safe="/:?#[]@!$&*+,;=%-._~{}")
