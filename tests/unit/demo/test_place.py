"""The demo's copies of the configuration: valid, on free ports, the originals untouched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from flows.demo.place import (
    AGENT,
    GATEWAY,
    PREDICTOR,
    ROOT,
    Place,
    make_place,
    set_values,
    who_plans,
)
from flows.local_stack.child import find_program
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import PermanentError
from infrastructure.service import Service


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path, stack="unit", docker_host="unix:///run/some.sock")


def test_the_configuration_is_valid_and_points_at_the_demo(place: Place) -> None:
    config = UniversalConfigLoader(place.config).load()
    assert config.platform.prefect.api_url == f"{place.prefect_url}/api"
    assert config.platform.git.remote == str(place.remote)
    (environment,) = config.environments.environments.values()
    assert environment.connection["host"] == "unix:///run/some.sock"
    assert [source.url for source in environment.prometheus] == [place.prometheus_url]
    assert [source.url for source in environment.alertmanager] == [place.alertmanager_url]


def test_desired_state_is_valid_and_uses_the_demo_ports(place: Place) -> None:
    for name in (PREDICTOR, GATEWAY):
        document = yaml.safe_load((place.desired_state / f"{name}.yml").read_text())
        service = Service.model_validate(document)
        assert [port.host for port in service.spec.ports] == [place.ports[name]]
        assert [port.host_ip for port in service.spec.ports] == ["127.0.0.1"]
        assert service.spec.native["HostConfig"]["NetworkMode"] == place.network


def test_prometheus_and_alertmanager_accept_theirs(place: Place) -> None:
    prometheus = place.monitoring / "prometheus" / "prometheus.yml"
    alertmanager = place.monitoring / "alertmanager" / "alertmanager.yml"
    try:
        checks = [
            [find_program("promtool"), "check", "config", str(prometheus)],
            [find_program("amtool"), "check-config", str(alertmanager)],
        ]
    except PermanentError as exc:
        pytest.skip(str(exc))
    for argv in checks:
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_points_at_a_port_of_the_originals(place: Place) -> None:
    used = {
        *place.ports.values(),
        *(place.prometheus_port, place.alertmanager_port, place.prefect_port, place.agent_port),
    }
    assert len(used) == 7
    text = "".join(path.read_text() for path in place.monitoring.rglob("*.yml"))
    for port in (8000, 8001, 8002, 9090, 9093):
        assert f"127.0.0.1:{port}" not in text


def test_prometheus_reads_the_endpoint_of_the_real_agent(place: Place) -> None:
    http = UniversalConfigLoader(place.config).load().platform.serve.http
    assert http is not None
    groups = yaml.safe_load(
        (place.monitoring / "prometheus" / "targets" / "services.yml").read_text()
    )
    (targets,) = (g["targets"] for g in groups if g["labels"]["service"] == AGENT)
    assert f"{http.host}:{http.port}" in targets
    assert place.agent_url == f"http://{http.host}:{http.port}"


def test_the_originals_are_left_alone(tmp_path: Path) -> None:
    paths = [
        path
        for folder in ("infrastructure/config", "desired-state", "monitoring/prometheus")
        for path in (ROOT / folder).rglob("*.yml")
    ]
    before = {path: path.read_bytes() for path in paths}
    make_place(tmp_path, stack="unit", docker_host="unix:///run/some.sock")
    assert {path: path.read_bytes() for path in paths} == before


def test_who_plans_follows_from_the_configuration(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert who_plans(place).startswith("the runbooks: no OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")
    text = who_plans(place)
    assert text.startswith("gpt-4.1-nano-2025-04-14 at https://")
    assert "sk-" not in text


def test_a_key_that_has_moved_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "platform.yml"
    path.write_text("git:\n  branch: main # kept\n")
    set_values(path, {"git/branch": "trunk"})
    assert path.read_text() == "git:\n  branch: trunk # kept\n"
    with pytest.raises(PermanentError, match=r"platform\.yml has no git/remote"):
        set_values(path, {"git/remote": "x"})
    with pytest.raises(PermanentError, match=r"platform\.yml has no reconcile/interval"):
        set_values(path, {"reconcile/interval": "1s"})
