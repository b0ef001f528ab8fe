"""Links lead to configured places only, whatever alerts, metrics and names say."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flows.listener import NullListener, RunRequest
from flows.prefect_edge.links import Places, alerts, graph, links, places_of
from flows.reporting.values import RunReport
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.config_models import GitSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.redaction import Redactor
from tests.builders import service
from tests.fakes import run_reports as fake

REQUEST = RunRequest(environments=None, targets=None, mode=None, run_id="r1")
PLACES = Places(
    {"local-docker": "https://prometheus.example.com"},
    {"local-docker": "https://alerts.example.com/am"},
    "https://git.example.com/o/n/commit/{sha}",
)
QUERY = 'rate(errors_total{job="web"}[5m]) > 0.1 and up'
AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)


def same(text: str) -> str:
    return text


def run_with(kind: DriftKind, field: str, query: str = QUERY) -> RunReport:
    """A run in which a metric is breached, or an alert fires."""
    finished = fake.healing_run(REQUEST, NullListener())
    (incident,) = finished.incidents
    drift = replace(incident.incident.drifts[0], kind=kind, field=field)
    check = {"name": "errors", "query": query, "expect": "== 0"}
    declared = service(
        "market-predictor",
        health={"metrics": [check]},
        alerts=[{"matchers": {"service": "market-predictor"}}],
    )
    changed = replace(incident, incident=replace(incident.incident, drifts=(drift,)))
    desired = replace(finished.desired, services={fake.TARGET: declared})
    return replace(
        finished, incidents=(changed,), desired=desired, intent_commit="b" * 40, report_commit=None
    )


def addresses(lines: list[str]) -> list[str]:
    return re.findall(r'href="([^"]*)"', MarkdownIt().render("\n".join(lines)))


def test_commits_lead_to_the_forge() -> None:
    lines = list(links(run_with(DriftKind.STOPPED, ""), PLACES, same))
    assert addresses(lines) == [
        f"https://git.example.com/o/n/commit/{'a' * 40}",
        f"https://git.example.com/o/n/commit/{'b' * 40}",
    ]


def test_without_a_forge_a_commit_is_told_and_no_link() -> None:
    lines = list(links(run_with(DriftKind.STOPPED, ""), Places(), same))
    assert lines == [f"- Desired state: `{'a' * 12}`", f"- Intent: `{'b' * 12}`"]


def test_a_breached_metric_leads_to_its_graph() -> None:
    lines = list(links(run_with(DriftKind.METRIC_BREACH, "errors"), PLACES, same))
    shown = addresses(lines)[-1].replace("&amp;", "&")
    assert shown.startswith("https://prometheus.example.com/graph?")
    assert parse_qs(urlsplit(shown).query)["g0.expr"] == [QUERY]


def test_an_alert_leads_to_alertmanager_with_its_matchers() -> None:
    lines = list(links(run_with(DriftKind.ALERT_FIRING, "MarketPredictorDown"), PLACES, same))
    shown = addresses(lines)[-1].replace("&amp;", "&")
    assert shown.startswith("https://alerts.example.com/am/#/alerts?")
    wanted = '{service="market-predictor",alertname="MarketPredictorDown"}'
    assert unquote(parse_qs(shown.partition("?")[2])["filter"][0]) == wanted


def test_a_query_with_a_secret_in_it_gets_no_link() -> None:
    redactor = Redactor([r"sk-[a-z]{16,}"])
    broken = run_with(DriftKind.METRIC_BREACH, "errors", query=f'up{{key="{fake.SECRET}"}}')
    text = "\n".join(links(broken, PLACES, redactor.text))
    assert fake.SECRET not in unquote(text)
    assert "Metric" not in text


@given(st.text(), st.text())
def test_whatever_a_name_or_a_query_is_a_link_leads_to_a_configured_place(
    name: str, query: str
) -> None:
    found = run_with(DriftKind.ALERT_FIRING, name)
    lines = list(links(found, PLACES, same))
    html = MarkdownIt("commonmark").enable("table").render("\n".join(lines))
    for href in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert href.startswith(("https://git.example.com/o/n/", "https://alerts.example.com/am/#/"))
    assert len(re.findall("<li>", html)) == len(lines)
    shown = urlsplit(graph("https://p", query, AT))
    assert (shown.netloc, shown.fragment) == ("p", "")
    assert "\n" not in alerts("https://a", {"alertname": name})


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://github.com/o/n.git", "https://github.com/o/n/commit/{sha}"),
        ("git@github.com:o/n.git", "https://github.com/o/n/commit/{sha}"),
        ("ssh://git@gitlab.com/g/s/n.git", "https://gitlab.com/g/s/n/-/commit/{sha}"),
        ("https://u:p4ssw0rd@codeberg.org/o/n", "https://codeberg.org/o/n/commit/{sha}"),
        ("git@bitbucket.org:o/n.git", "https://bitbucket.org/o/n/commits/{sha}"),
        ("https://git.example.com/o/n.git", None),
        ("/srv/state.git", None),
        ("https://github.com/o/n?x=](javascript:1)", None),
        (None, None),
    ],
)
def test_a_public_forge_is_known_from_the_remote(remote: str | None, page: str | None) -> None:
    config = UniversalConfigLoader().load()
    git = GitSettings.model_validate({**config.platform.git.model_dump(), "remote": remote})
    assert places_of({}, git).commit == page


def test_bases_are_the_external_addresses_without_credentials() -> None:
    config = UniversalConfigLoader().load()
    (shipped,) = config.environments.environments.values()
    url = "https://user:pw@prometheus.example.com/base/?x=1"
    source = shipped.prometheus[0].model_copy(update={"external_url": url})
    changed = shipped.model_copy(update={"prometheus": (source,)})
    places = places_of({"local-docker": changed}, config.platform.git)
    assert places.prometheus == {"local-docker": "https://prometheus.example.com/base"}
    assert places.alertmanager == {"local-docker": "http://127.0.0.1:9093"}
