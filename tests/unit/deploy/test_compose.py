"""The compose stack: by the Compose Specification, and by the promises of its page."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.local_stack.child import find_program
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import InvalidInputError
from tests.conftest import real_part

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
MONITORING = ROOT / "monitoring"
STACK = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
AGENT = "devops-ai-agent"
# Loki's and Alloy's images hold nothing that could ask; the demo's images end at once.
WITHOUT_CHECK = {"loki", "log-shipper", "market-predictor-image", "market-gateway-image"}
every = pytest.mark.parametrize("name", sorted(SERVICES))


def test_it_is_what_the_compose_specification_allows() -> None:
    schema = resources.files("infrastructure.sources").joinpath("compose-spec.schema.json")
    validator = Draft202012Validator(json.loads(schema.read_text()))
    assert [error.message for error in validator.iter_errors(STACK)] == []


def test_it_holds_what_the_page_promises() -> None:
    assert {
        *(AGENT, "prefect-server", "prefect-database", "prefect-worker"),
        *("prometheus", "alertmanager", "grafana", "loki", "log-shipper"),
    } <= set(SERVICES)
    profiles = {one: SERVICES[one].get("profiles") for one in SERVICES}
    assert profiles["loki"] == profiles["log-shipper"] == ["logs"]
    assert profiles["prefect-worker"] == ["prefect-worker"]
    assert profiles[AGENT] is profiles["prometheus"] is None


@every
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    one = SERVICES[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in one
    assert not one.get("privileged")
    user = one["user"].split(":")[0]
    assert user.isdigit()
    assert int(user) > 0


@every
def test_a_service_comes_back_and_says_whether_it_is_well(name: str) -> None:
    one = SERVICES[name]
    assert ("healthcheck" in one) == (name not in WITHOUT_CHECK)
    assert one["restart"] == ("no" if "demo" in one.get("profiles", ()) else "unless-stopped")
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}


@every
def test_nothing_listens_beyond_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


@every
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    if image.startswith("${"):
        image = image.partition(":-")[2].removesuffix("}")
    tag = image.rpartition(":")[2]
    assert tag != image
    assert tag != "latest"
    assert any(character.isdigit() for character in tag)


@every
def test_secrets_are_files_and_no_variables(name: str) -> None:
    one = SERVICES[name]
    for key, value in one.get("environment", {}).items():
        if any(word in key for word in ("PASSWORD", "TOKEN", "API_KEY", "SECRET")):
            assert str(value).startswith("/run/secrets/"), key
            assert str(value).removeprefix("/run/secrets/") in one["secrets"]
    for secret in one.get("secrets", ()):
        assert STACK["secrets"][secret]["file"] == f"./compose/secrets/{secret}"


def test_only_the_agents_and_the_log_shipper_have_the_engines_socket() -> None:
    having = {name for name in SERVICES if "docker.sock" in str(SERVICES[name].get("volumes"))}
    assert having == {AGENT, "prefect-worker", "log-shipper"}
    assert all("group_add" in SERVICES[name] for name in having)


@every
def test_what_is_mounted_from_here_is_here_or_made_by_configure(name: str) -> None:
    made = {"./compose/uici", *(one["file"] for one in STACK["secrets"].values())}
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.partition(":")[0]
        if source.startswith(".") and source not in made:
            assert (DEPLOY / source).exists(), source
        if source.startswith("."):
            assert volume.endswith(":ro"), volume


def test_the_agent_is_where_the_services_are_and_so_is_prometheus() -> None:
    """It probes their containers: the loopback of its own container is not the host's."""
    network = STACK["networks"]["market"]["name"]
    for path in (ROOT / "desired-state").glob("*.yml"):
        service = yaml.safe_load(path.read_text())
        assert service["spec"]["native"]["HostConfig"]["NetworkMode"] == network
    for name in (AGENT, "prefect-worker", "prometheus"):
        assert "market" in SERVICES[name]["networks"]


def test_what_the_agent_lives_on_has_the_names_that_it_leaves_alone() -> None:
    agents = yaml.safe_load((ROOT / "infrastructure/config/agents.yml").read_text())["agents"]
    identity = agents[AGENT]["identity"]
    assert AGENT in identity["names"]
    assert {"prefect-server", "prefect-database"} <= set(identity["livesOn"])
    for name in (AGENT, "prefect-worker"):
        assert identity["labels"].items() <= SERVICES[name]["labels"].items()


def test_prometheus_scrapes_the_same_services_as_anywhere_else() -> None:
    def services(folder: Path) -> dict[str, str]:
        groups = yaml.safe_load((folder / "services.yml").read_text())
        return {g["labels"]["service"]: g["targets"][0].rpartition(":")[2] for g in groups}

    theirs = services(MONITORING / "prometheus" / "targets")
    ours = services(DEPLOY / "compose" / "prometheus" / "targets")
    assert ours.keys() == theirs.keys()
    assert set(ours) <= {AGENT, *(p.stem for p in (ROOT / "desired-state").glob("*.yml"))}
    files = {path.name for path in (MONITORING / "prometheus" / "targets").glob("*.yml")}
    assert {p.name for p in (DEPLOY / "compose/prometheus/targets").glob("*.yml")} == files


def test_alertmanager_routes_as_anywhere_else_and_tells_the_agent() -> None:
    theirs = yaml.safe_load((MONITORING / "alertmanager" / "alertmanager.yml").read_text())
    ours = yaml.safe_load((DEPLOY / "compose" / "alertmanager" / "alertmanager.yml").read_text())
    assert ours["route"] == theirs["route"]
    assert ours["inhibit_rules"] == theirs["inhibit_rules"]
    told = {one["name"]: one for one in ours["receivers"]}
    assert [one for one in told if told[one].keys() - {"name"}] == ["uici"]
    (hook,) = told["uici"]["webhook_configs"]
    token = hook["http_config"]["authorization"]["credentials_file"]
    assert token.removeprefix("/run/secrets/") in SERVICES["alertmanager"]["secrets"]
    path = yaml.safe_load((ROOT / "infrastructure/config/platform.yml").read_text())["serve"]
    assert hook["url"] == f"http://{AGENT}:{path['http']['port']}{path['webhook']['path']}"


def test_the_programs_accept_what_they_are_given() -> None:
    with real_part():
        promtool, amtool = find_program("promtool"), find_program("amtool")
    subprocess.run(
        [amtool, "check-config", str(DEPLOY / "compose/alertmanager/alertmanager.yml")],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [promtool, "check", "config", str(MONITORING / "prometheus" / "prometheus.yml")],
        check=True,
        capture_output=True,
    )


# ── configure.sh ────────────────────────────────────────────────────────────────


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("infrastructure/config", "desired-state", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    for made in ("compose/uici", "compose/secrets", "kubernetes/base/config"):
        shutil.rmtree(tmp_path / "deploy" / made, ignore_errors=True)
    (tmp_path / "deploy" / ".env").unlink(missing_ok=True)
    return tmp_path


def configure(checkout: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "deploy" / "configure.sh", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def _differences(ours: Any, theirs: Any, at: str = "") -> set[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return set().union(
            *(
                _differences(ours.get(key), theirs.get(key), f"{at}/{key}")
                for key in ours.keys() | theirs.keys()
            )
        )
    return set() if ours == theirs else {at}


def test_configure_changes_what_the_stack_needs_and_nothing_else(checkout: Path) -> None:
    configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    made = checkout / "deploy" / "compose" / "uici"
    shipped = checkout / "infrastructure" / "config"
    changed = {
        path.name: _differences(
            yaml.safe_load(path.read_text()), yaml.safe_load((shipped / path.name).read_text())
        )
        for path in made.glob("*.yml")
    }
    assert changed.pop("platform.yml") == {
        *("/prefect/apiUrl", "/prefect/server/mode", "/git/seed"),
        *("/serve/http/host", "/serve/webhook/token", "/llm/apiKey"),
    }
    assert changed.pop("environments.yml") == {
        "/environments/local-docker/prometheus",
        "/environments/local-docker/alertmanager",
    }
    assert set().union(*changed.values()) == set()
    assert {p.name for p in (made / "prompts").iterdir()}


def test_the_configuration_that_it_writes_is_valid(checkout: Path) -> None:
    configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    secrets = checkout / "deploy" / "compose" / "secrets"
    platform = checkout / "deploy" / "compose" / "uici" / "platform.yml"
    # In the container they are elsewhere.
    text = platform.read_text().replace("/run/secrets", str(secrets))
    platform.write_text(text.replace("/opt/uici/desired-state", str(checkout / "desired-state")))
    config = UniversalConfigLoader(platform.parent).load()
    assert config.platform.prefect.server.mode == "external"
    webhook = config.platform.serve.webhook
    assert webhook is not None
    assert webhook.token == (secrets / "webhook-token").read_text().strip()
    assert len(webhook.token) == 64
    assert config.platform.llm.api_key == ""


def test_secrets_differ_and_stay(checkout: Path) -> None:
    configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock", OPENAI_API_KEY="sk-given")
    secrets = checkout / "deploy" / "compose" / "secrets"
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert set(before) == set(STACK["secrets"])
    assert len(set(before.values())) == len(before)
    assert before["openai-api-key"] == "sk-given\n"
    assert secrets.stat().st_mode & 0o777 == 0o700
    platform = checkout / "deploy" / "compose" / "uici" / "platform.yml"
    platform.write_text("# mine\n")
    configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert platform.read_text() == "# mine\n"


def test_without_an_engine_configure_says_so(checkout: Path) -> None:
    done = configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    assert done.returncode == 1
    assert "no Docker Engine has its socket at /nowhere.sock" in done.stderr
    assert not (checkout / "deploy" / ".env").exists()


def test_a_line_that_is_gone_is_told(checkout: Path) -> None:
    path = checkout / "infrastructure" / "config" / "platform.yml"
    path.write_text(path.read_text().replace("mode: embedded", "mode: external"))
    done = configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    assert done.returncode == 1
    assert "correct this script" in done.stderr
    assert not (checkout / "deploy" / "compose" / "uici" / "platform.yml").exists()


def test_git_never_takes_what_configure_makes(checkout: Path) -> None:
    with real_part():
        git = find_program("git")
    configure(checkout, "compose", DOCKER_SOCKET="/nowhere.sock")
    configure(checkout, "kubernetes")
    (checkout / "deploy" / ".env").write_text("DOCKER_GID=1\n")
    subprocess.run([git, "init", "--quiet", checkout], check=True)
    told = subprocess.run(
        [git, "-C", checkout, "ls-files", "--others", "--exclude-standard", "deploy"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "deploy/docker-compose.yml" in told
    assert not any(word in told for word in ("/secrets/", "compose/uici", "base/config", ".env"))


def test_the_system_configuration_needs_a_repository_or_this_one(checkout: Path) -> None:
    target = checkout / "etc"
    done = configure(checkout, "systemd", str(target))
    assert done.returncode == 0, done.stderr
    config = UniversalConfigLoader(target).load()
    assert config.platform.git.seed == str(checkout / "desired-state")
    shutil.rmtree(checkout / "desired-state")
    with pytest.raises(InvalidInputError, match=r"git\.seed"):
        UniversalConfigLoader(target).load()
