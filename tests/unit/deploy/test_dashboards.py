"""The shipped dashboards: their shape, and every query judged by Prometheus' own parser."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.local_stack.child import find_program
from tests.conftest import real_part

ROOT = Path(__file__).parents[3]
METRICS = ROOT / "docs" / "METRICS.md"
GRAFANA = ROOT / "monitoring" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
# What every Prometheus has by itself, and what clients tell of their process.
_PROMETHEUS = {"up", "ALERTS", "scrape_duration_seconds"}
_PROCESS = re.compile(r"process_[a-z_]+")
_FUNCTIONS = {
    *("sum", "min", "max", "count", "rate", "increase", "vector", "histogram_quantile"),
    *("by", "or", "le", "job", "bool"),
}
board = pytest.mark.parametrize("name", sorted(BOARDS))


def panels(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for panel in BOARDS[name]["panels"]:
        found += [panel, *panel.get("panels", ())]
    return found


def queries(kind: str) -> Iterator[tuple[str, str]]:
    """(dashboard: panel, expression) of one kind of data source."""
    for name in BOARDS:
        for panel in panels(name):
            for target in panel.get("targets", ()):
                if target["datasource"]["type"] == kind:
                    yield f"{name}: {panel['title']}", target["expr"]


def test_there_is_one_for_the_fleet_one_for_an_incident_and_one_for_the_agent() -> None:
    assert set(BOARDS) == {"fleet", "incident", "agent"}
    uids = [one["uid"] for one in BOARDS.values()]
    assert uids == [f"uici-{name}" for name in BOARDS]


@board
def test_a_dashboard_has_what_grafana_asks_for(name: str) -> None:
    one = BOARDS[name]
    assert one["schemaVersion"] >= 36
    assert one["title"].startswith("UICI: ")
    assert one["description"]
    assert "id" not in one  # Grafana gives it; a file that brings one fights with others
    ids = [panel["id"] for panel in panels(name)]
    assert len(ids) == len(set(ids))
    for panel in panels(name):
        assert panel["title"], panel
        assert panel["type"] in {"row", "stat", "timeseries", "table", "state-timeline", "logs"}
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            references = [target["refId"] for target in panel["targets"]]
            assert references, panel["title"]
            assert len(references) == len(set(references))


@board
def test_panels_lie_on_the_grid_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@board
def test_data_sources_are_variables_and_every_variable_is_declared(name: str) -> None:
    variables = {one["name"]: one for one in BOARDS[name]["templating"]["list"]}
    for panel in panels(name):
        for source in (
            *(target["datasource"] for target in panel.get("targets", ())),
            *([panel["datasource"]] if "datasource" in panel else []),
        ):
            kind = source["uid"].removeprefix("${").removesuffix("}")
            assert source["uid"] == f"${{{kind}}}"
            assert variables[kind]["type"] == "datasource"
            assert variables[kind]["query"] == source["type"] == kind
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(BOARDS[name]["panels"])))
    assert used <= set(variables)


def _plain(expression: str) -> str:
    """With values in place of Grafana's variables."""
    text = expression.replace("$__rate_interval", "5m").replace("$__interval", "1m")
    return re.sub(r"\$\{?[a-z]+\}?", "x", text)


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    with real_part():
        promtool = find_program("promtool")
    rules = [
        {"record": f"panel:{number}", "expr": _plain(expression)}
        for number, (_, expression) in enumerate(queries("prometheus"))
    ]
    assert len(rules) > 40
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_parser_would_refuse_a_wrong_query(tmp_path: Path) -> None:
    with real_part():
        promtool = find_program("promtool")
    path = tmp_path / "queries.yml"
    rules = [{"record": "panel:0", "expr": "sum(up"}]
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, check=False)
    assert done.returncode != 0


def _known_metrics() -> set[str]:
    """What rules record, the agent tells by its documentation, and the demo service tells."""
    recorded = {
        rule["record"]
        for path in (ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    documented = set(
        re.findall(
            r"^\| `(uici_[a-z_]+)`", (ROOT / "docs" / "METRICS.md").read_text(), re.MULTILINE
        )
    )
    demo = (ROOT / "deploy" / "demo" / "service" / "answer").read_text()
    return (
        recorded
        | documented
        | set(re.findall(r"^# TYPE ([a-z_]+)", demo, re.MULTILINE))
        | _PROMETHEUS
    )


def test_every_metric_of_a_query_exists() -> None:
    known = _known_metrics()
    assert "uici_runs_total" in known
    assert "service_healthy" in known
    for where, expression in queries("prometheus"):
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)', "", expression)
        for word in re.findall(r"[A-Za-z_][A-Za-z0-9_:]*", bare):
            plain = re.sub(r"_(bucket|sum|count)$", "", word)
            exists = word in known or plain in known or _PROCESS.fullmatch(word)
            assert exists or word in _FUNCTIONS, (where, word)


def test_labels_of_agents_metrics_are_those_that_are_documented() -> None:
    rows = re.findall(
        r"^\| `(uici_[a-z_]+)` \| ([^|]*)\|",
        (ROOT / "docs" / "METRICS.md").read_text(),
        re.MULTILINE,
    )
    labels = {name: set(re.findall(r"`([a-z]+)`", cell)) for name, cell in rows}
    for where, expression in queries("prometheus"):
        for name, matchers in re.findall(r"\b(uici_[a-z_]+)\{([^}]*)\}", expression):
            asked = set(re.findall(r"([a-z_]+)=", matchers))
            assert asked <= labels[name], (where, name)


def test_the_log_panel_asks_for_the_label_that_shipping_gives() -> None:
    found = dict(queries("loki"))
    assert found == {"incident: Log of $service": '{service="$service"}'}
    shipping = (ROOT / "monitoring" / "loki" / "shipping.alloy").read_text()
    assert re.findall(r'target_label\s+= "([a-z]+)"', shipping) == [
        "service",
        "container",
        "stream",
    ]


def test_grafana_finds_what_it_is_provisioned_with() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())
    kinds = {one["type"]: one for one in sources["datasources"]}
    assert set(kinds) == {"prometheus", "alertmanager", "loki"}
    compose = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    for one in kinds.values():
        assert one["url"].startswith("$")
        assert one["url"].removeprefix("$") in grafana["environment"]
    dashboards = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yml").read_text())
    (provider,) = dashboards["providers"]
    folder = provider["options"]["path"]
    assert f"../monitoring/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == folder
    assert home.stem in BOARDS
