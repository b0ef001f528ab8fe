"""What newcomers type first: half a configuration, a word for a list, a table in 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.command_line.operations import Listing, show
from tests.fakes.loop import service_yaml
from tests.unit.command_line.test_cli import (  # noqa: F401 - fixtures
    Run,
    _logging_is_put_back,
    config,
    state,
    uici,
)
from tests.unit.infrastructure.test_binding import CLUSTER


def change(config: str, file: str, text: str) -> None:  # noqa: F811 - its value
    path = Path(config) / file
    merged = yaml.safe_load(path.read_text())
    for key, value in yaml.safe_load(text).items():
        merged[key] = {**merged[key], **value}
    path.write_text(yaml.safe_dump(merged))


def test_an_import_that_finds_nothing_is_one_json_document(
    uici: Run,  # noqa: F811 - pytest's way to ask for it
    config: str,  # noqa: F811 - as above
    tmp_path: Path,
) -> None:
    compose = tmp_path / "compose.yml"
    compose.write_text("services: {api: {build: .}}\n")
    words = ("import", "compose", str(compose), "--config", config, "-o", str(tmp_path / "out"))
    answer = uici(*words, "--json")
    assert answer.code == 1
    assert answer.data["files"] == []
    assert "nothing was imported" in answer.data["errors"][0]
    assert "nothing was imported" in answer.err
    assert uici(*words).code == 1


def test_import_and_operations_need_no_state_repository(
    uici: Run,  # noqa: F811 - as above
    config: str,  # noqa: F811 - as above
    tmp_path: Path,
) -> None:
    change(config, "platform.yml", "git: {remote: null, seed: ../../nowhere}")
    compose = tmp_path / "compose.yml"
    compose.write_text("services: {api: {image: 'api:1'}}\n")
    out = str(tmp_path / "out")
    answer = uici("import", "compose", str(compose), "--config", config, "-o", out)
    assert (answer.code, answer.err.count("git.seed")) == (0, 0), answer.err
    assert uici("operations", "--config", config).code == 0
    refused = uici("plan", "--config", config)
    assert refused.code == 1
    assert "git.seed is ../../nowhere" in refused.err


def test_a_word_where_a_list_belongs_is_told_as_it_is_typed(
    uici: Run,  # noqa: F811 - as above
    config: str,  # noqa: F811 - as above
) -> None:
    words = ("run", "execute_command", "market-predictor", "--config", config, "--param")
    answer = uici(*words, "argv=ls -l")
    assert answer.code == 1
    assert """argv is a list: write -p argv='["ls", "-l"]'""" in answer.err


def test_a_connection_without_the_key_that_says_its_kind_is_told_which(
    uici: Run,  # noqa: F811 - as above
    config: str,  # noqa: F811 - as above
    tmp_path: Path,
) -> None:
    change(
        config,
        "environments.yml",
        "environments: {cloud: {executor: oci, deadline: 5s, concurrency: 2, policy: {},"
        " prometheus: [], alertmanager: [], detect: [],"
        " connection: {auth: {kind: configFile}, compartments: [ocid1.x], requestBudget: 9,"
        " pageSize: 9, pollInterval: 1s, retries: {attempts: 1, initial: 1s, max: 1s}}}}",
    )
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "a.yml").write_text(service_yaml("a"))
    answer = uici("validate", str(folder), "--config", config)
    assert answer.code == 1
    assert "auth has no method, which says of what kind it is" in answer.err
    assert "add method: configFile, instancePrincipal, resourcePrincipal" in answer.err


def test_rbac_takes_the_only_cluster_there_is(
    uici: Run,  # noqa: F811 - as above
    config: str,  # noqa: F811 - as above
) -> None:
    none = uici("rbac", "--account", "uici/agent", "--config", config)
    assert none.code == 1
    assert "0 kubernetes environments" in none.err
    change(config, "environments.yml", f"environments:\n{CLUSTER}")
    one = uici("rbac", "--account", "uici/agent", "--config", config)
    assert one.code == 0, one.err
    assert "kind: Role" in one.out


@pytest.mark.parametrize("width", [80, 250])
def test_no_word_of_the_catalogue_is_cut_in_two(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = ["restart if {{ parameters.strategy == 'force' }}", "describe_dependencies"]
    entry = {
        "name": "describe_dependencies",
        "risk": "low",
        "parameters": {"properties": {"grace_seconds": {}, "max_output_bytes": {}}},
        "environments": {"local-docker": calls, "production-cluster": calls},
    }
    places = ("local-docker", "production-cluster", "oracle-cloud")
    show(Listing(places, {"operations": [entry]}), Console(width=width, highlight=False))
    told = capsys.readouterr().out
    words = set(told.replace(";", " ").replace(",", " ").split())
    assert {"describe_dependencies", "[grace_seconds]", "[max_output_bytes]"} <= words
    assert "restart if strategy == 'force'" in " ".join(told.split())
    assert ("operation " in told) == (width == 250)
