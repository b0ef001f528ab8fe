"""The how-to pages of deployment and monitoring: what they name exists, what they show loads."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from executors.translator import CommandTranslator
from flows.platform_operations import PlatformOperations
from flows.runtime import open_runtime
from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfigLoader
from infrastructure.operations import OperationCall, OutcomeStatus
from tests.builders import service
from tests.fakes.http_server import FakeServer, json_body

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "how-to"
NAMES = (
    "deploy-compose",
    "deploy-kubernetes",
    "deploy-systemd",
    "monitoring",
    "upgrade-and-backup",
)
PAGES = {name: (FOLDER / f"{name}.md").read_text() for name in NAMES}
page = pytest.mark.parametrize("name", NAMES)
COMPOSE = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())
# Written by configure.sh or by the commands themselves.
MADE = re.compile(
    r"deploy/(compose/(uici|secrets).*|\.env|kubernetes/base/config.*)|.*\.(tgz|dump)"
)


def blocks(name: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", PAGES[name], re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def commands(name: str) -> Iterator[list[str]]:
    for block in blocks(name, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and "=" not in words[0]:
                yield words


@page
def test_a_shell_can_read_every_command(name: str) -> None:
    for block in blocks(name, "sh"):
        done = subprocess.run(
            ["bash", "-n"], input=block, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, (block, done.stderr)


@page
def test_every_file_that_a_command_names_is_there(name: str) -> None:
    for words in commands(name):
        for word in words:
            path = word.partition("=")[2] if "=" in word else word
            if re.match(r"(deploy|monitoring|infrastructure|docs)/", path) and not MADE.fullmatch(
                path
            ):
                found = list(ROOT.glob(path)) if "*" in path else [ROOT / path]
                assert found, word
                assert all(one.exists() for one in found), word


@page
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", PAGES[name]):
        assert (FOLDER / target).exists(), target


@page
def test_compose_commands_name_services_and_profiles_that_exist(name: str) -> None:
    profiles = {p for one in COMPOSE["services"].values() for p in one.get("profiles", ())}
    for words in commands(name):
        if words[:2] != ["docker", "compose"]:
            continue
        assert words[2:4] == ["--file", "deploy/docker-compose.yml"]
        for at, word in enumerate(words):
            if word == "--profile":
                assert words[at + 1] in profiles
        after = [
            w for w, before in zip(words[4:], words[3:], strict=False) if before != "--profile"
        ]
        for verb in ("exec", "run", "restart", "stop", "logs"):
            if verb in after:
                rest = [w for w in after[after.index(verb) + 1 :] if not w.startswith("-")]
                assert rest[0] in COMPOSE["services"], words


@page
def test_volumes_that_commands_name_are_the_stacks(name: str) -> None:
    for volume in re.findall(r"\buici_([a-z-]+)\b", PAGES[name]):
        assert volume in COMPOSE["volumes"]


def test_the_page_of_systemd_names_what_the_units_need() -> None:
    text = PAGES["deploy-systemd"]
    for unit in (ROOT / "deploy" / "systemd").glob("*.service"):
        assert unit.name in text
    assert "/etc/uici/uici.env" in text


def test_images_that_can_be_chosen_are_those_of_the_stack() -> None:
    text = (ROOT / "deploy" / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{([A-Z]+_IMAGE):-", text))
    assert set(re.findall(r"`([A-Z]+_IMAGE)`", PAGES["deploy-compose"])) == used


def test_rules_and_targets_on_the_page_are_those_in_the_folder() -> None:
    prometheus = ROOT / "monitoring" / "prometheus"
    rows = set(re.findall(r"^\| `([a-z]+\.yml)` \|", PAGES["monitoring"], re.MULTILINE))
    there = {p.name for f in ("rules", "targets") for p in (prometheus / f).glob("*.yml")}
    assert rows == there


# ── logs out of Loki, as the page says ──────────────────────────────────────────


@pytest.fixture
def config_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    shutil.copytree(DEFAULT_DIRECTORY, folder)
    platform = folder / "platform.yml"
    text = platform.read_text().replace("../../desired-state", str(ROOT / "desired-state"))
    text = text.replace("${env:UICI_DATA:-~/.local/share/uici}", str(tmp_path / "data"))
    platform.write_text(text)
    return folder


def edit(path: Path, change: Any) -> None:
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def test_logs_come_out_of_loki_where_the_configuration_says_so(config_folder: Path) -> None:
    logs, translation = (yaml.safe_load(block) for block in blocks("monitoring", "yaml"))
    moment = int(datetime.now(UTC).timestamp()) * 1_000_000_000
    kept = {
        "status": "success",
        "data": {
            "resultType": "streams",
            "result": [
                {
                    "stream": {"service": "shop", "container": "shop-gone"},
                    "values": [[str(moment), "ERROR out of memory"], [str(moment - 1), "fine"]],
                }
            ],
        },
    }

    def environments(document: dict[str, Any]) -> None:
        document["environments"]["local-docker"] |= logs
        document["environments"]["local-docker"]["logs"]["sources"][0]["url"] = loki.url
        document["environments"]["local-docker"]["connection"]["host"] = "unix:///nowhere.sock"

    def translations(document: dict[str, Any]) -> None:
        del document["translations"]["docker"]["get_logs"]
        document["translations"]["platform"] |= translation["platform"]

    with FakeServer(json_body(kept)) as loki:
        edit(config_folder / "environments.yml", environments)
        edit(config_folder / "command_translations.yml", translations)
        config = UniversalConfigLoader(config_folder).load()
        translator = CommandTranslator(config.translations)
        assert translator.check("platform", PlatformOperations.primitives()) == []
        shop = service("shop")
        with open_runtime(config) as runtime:
            interface = runtime.interface({shop.target: shop})
            call = OperationCall("get_logs", shop.target, {"level": "error", "lines": 5})
            outcome = interface.run(call)
    assert outcome.status is OutcomeStatus.SUCCEEDED, outcome
    assert "ERROR out of memory" in str(outcome.output)
    assert "fine" not in str(outcome.output)
    (asked,) = loki.requests
    assert "service%3D%22shop%22" in asked.path


def test_without_a_place_for_logs_the_error_names_both(config_folder: Path) -> None:
    _, translation = (yaml.safe_load(block) for block in blocks("monitoring", "yaml"))

    def translations(document: dict[str, Any]) -> None:
        del document["translations"]["docker"]["get_logs"]
        document["translations"]["platform"] |= translation["platform"]

    edit(config_folder / "command_translations.yml", translations)
    config = UniversalConfigLoader(config_folder).load()
    shop = service("shop")
    with open_runtime(config) as runtime:
        outcome = runtime.interface({shop.target: shop}).run(OperationCall("get_logs", shop.target))
    assert outcome.status is OutcomeStatus.FAILED
    assert "local-docker keeps no logs" in outcome.error
    assert "environments.yml" in outcome.error
