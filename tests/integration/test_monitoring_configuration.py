"""The shipped monitoring configuration, judged by the programs that will read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from flows.local_stack.child import find_program
from infrastructure.config_loader import UniversalConfigLoader
from tests.conftest import real_part

pytestmark = pytest.mark.real
MONITORING = Path(__file__).parents[2] / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
ALERTMANAGER = MONITORING / "alertmanager" / "alertmanager.yml"
RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
OWN = {"devops-ai-agent", "coding-ai-agent"}


def run(program: str, *arguments: str) -> str:
    with real_part():
        path = find_program(program)
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    told = run("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert "2 rule files found" in told


def test_the_rules_do_what_their_own_tests_say() -> None:
    run("promtool", "test", "rules", str(PROMETHEUS / "tests" / "rules_test.yml"))


def test_every_alert_has_a_unit_test() -> None:
    tested = yaml.safe_load((PROMETHEUS / "tests" / "rules_test.yml").read_text())
    fired = {
        case["alertname"]
        for test in tested["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in RULES}


def test_every_alert_names_its_service_and_speaks_to_people() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert "service" in rule["labels"] or "by (service)" in rule["expr"]
        assert rule["annotations"].keys() == {"summary", "description"}
        assert "for" in rule


def test_alertmanager_accepts_the_configuration() -> None:
    told = run("amtool", "check-config", str(ALERTMANAGER))
    assert "3 receivers" in told


@pytest.mark.parametrize("service", ["market-predictor", "market-gateway", *sorted(OWN)])
@pytest.mark.parametrize("name", [*(rule["alert"] for rule in RULES), "AnythingElse"])
def test_alerts_about_the_agents_never_reach_uici(name: str, service: str) -> None:
    receiver = run(
        "amtool",
        *("config", "routes", "test", f"--config.file={ALERTMANAGER}"),
        *(f"alertname={name}", f"service={service}", "severity=critical"),
    ).split()
    assert receiver == (["agent-self-monitoring"] if service in OWN else ["uici"])


def test_what_uici_raises_itself_goes_to_people() -> None:
    route = ("config", "routes", "test", f"--config.file={ALERTMANAGER}")
    told = run("amtool", *route, "alertname=UICIEscalation", "service=market-predictor")
    assert told.split() == ["people"]
    own = run("amtool", *route, "alertname=UICIEscalation", "service=devops-ai-agent")
    assert own.split() == ["agent-self-monitoring"]


def test_targets_carry_the_names_that_the_rules_look_for() -> None:
    groups = yaml.safe_load((PROMETHEUS / "targets" / "services.yml").read_text())
    known = {group["labels"]["service"]: group["targets"] for group in groups}
    assert known == {
        "market-predictor": ["127.0.0.1:8000"],
        "market-gateway": ["127.0.0.1:8002"],
        "devops-ai-agent": ["127.0.0.1:8001"],
    }
    for rule in RULES:
        if "service" in rule["labels"]:
            assert f'up{{job="{rule["labels"]["service"]}"}}' in rule["expr"]
            assert rule["labels"]["service"] in known


def test_the_agents_target_is_the_endpoint_that_it_ships_with() -> None:
    http = UniversalConfigLoader().load().platform.serve.http
    assert http is not None
    groups = yaml.safe_load((PROMETHEUS / "targets" / "services.yml").read_text())
    known = {group["labels"]["service"]: group["targets"] for group in groups}
    assert known["devops-ai-agent"] == [f"{http.host}:{http.port}"]


def test_no_receiver_posts_to_what_does_not_answer() -> None:
    receivers = yaml.safe_load(ALERTMANAGER.read_text())["receivers"]
    assert [receiver.keys() - {"name"} for receiver in receivers] == [set()] * 3


def test_nothing_leaves_the_machine_as_shipped() -> None:
    for path in MONITORING.rglob("*.yml"):
        for word in path.read_text().split():
            if "://" in word:
                assert word.startswith("http://127.0.0.1:"), (path, word)
