"""Drafts as files: what is written is read back the same, and holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.command_line.import_files import Imported, the_environment, write
from flows.command_line.validation import validate
from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfig, UniversalConfigLoader
from infrastructure.errors import PermanentError
from infrastructure.service import Service
from infrastructure.sources.draft import Draft, Point
from infrastructure.sources.service_file import service_text
from infrastructure.yaml_source import parse_yaml

POINT = Point("compose.yml", 3, 1)


@pytest.fixture(scope="module")
def config() -> UniversalConfig:
    return UniversalConfigLoader(DEFAULT_DIRECTORY).load()


def draft(name: str = "web", **spec: Any) -> Draft:
    made = Draft(name, POINT)
    for key, value in {"image": "shop:1", **spec}.items():
        made.put((key,), value, POINT)
    return made


def read_back(text: str) -> Any:
    (document,) = parse_yaml(text.encode(), file="web.yml", max_bytes=1_000_000)
    return document.data


# Engines hold numbers in 64 bits; longer ones are read as text, as ids and hashes are.
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)


@given(
    env=st.dictionaries(st.from_regex(r"[A-Za-z_]\w{0,9}", fullmatch=True), TEXT, max_size=4),
    command=st.lists(TEXT, min_size=1, max_size=4),
    native=st.dictionaries(TEXT, st.lists(TEXT) | TEXT | INTEGERS | st.booleans(), max_size=3),
)
def test_every_value_is_read_back_as_it_was(
    env: dict[str, str], command: list[str], native: dict[str, Any]
) -> None:
    wanted = draft(env=env, command=command, native={"X": native})
    data = read_back(service_text(wanted, "local-docker", origin="a test"))
    spec = data["spec"]
    assert spec["command"] == command
    assert (spec["env"] or {}) == env
    assert spec["native"] == {"X": native}


@pytest.mark.parametrize(
    "value", ["1.10", "0x1f", "true", "no", "null", "~", "a: b", "# a", "a\nb", "", " a", "*x", "-"]
)
def test_texts_that_look_like_something_else_stay_texts(value: str) -> None:
    data = read_back(service_text(draft(env={"A": value}), "local-docker", origin="a test"))
    assert data["spec"]["env"] == {"A": value}


def test_the_heading_says_where_from_and_what_is_missing() -> None:
    made = draft()
    made.left_out.append("one\nthing")
    text = service_text(made, "local-docker", origin="Imported.", notes=["another"])
    assert text.splitlines()[:5] == [
        "# yaml-language-server: $schema=service.schema.json",
        "# Imported.",
        "# Left out:",
        "# - one thing",
        "# - another",
    ]


def test_secrets_never_reach_a_file(config: UniversalConfig, tmp_path: Path) -> None:
    made = draft(
        env={"DB_PASSWORD": "hunter2hunter2", "URL": "postgres://me:hunter3@db/x", "A": "b"},
        command=["run", "--token=hunter4hunter4"],
        native={"Labels": {"a": "b", "api-key": "hunter5"}, "HostConfig": {"X": {"secret": "h6x"}}},
    )
    made.labels = {"token": "hunter7", "team": "a"}
    made.left_out.append("the password=hunter8 of somebody")
    done = write(Imported("local-docker", [(made, "x")]), config, tmp_path, force=False)
    text = done.files[0].read_text()
    assert "hunter" not in text
    assert "h6x" not in text
    service = Service.model_validate(read_back(text))
    assert service.spec.command is None
    assert service.spec.native == {"Labels": {"a": "b"}}
    assert service.metadata.labels == {"team": "a"}
    assert "{secret: env:WEB_DB_PASSWORD}" in text
    assert "# - command holds what looks like a secret" in text
    assert validate(tmp_path, None).problems == ()


def test_a_file_that_exists_is_not_touched_unasked(config: UniversalConfig, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("mine")
    found = Imported("local-docker", [(draft(), "x"), (draft("db"), "x")])
    with pytest.raises(PermanentError, match="exists already"):
        write(found, config, tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["web.yml"]
    assert (tmp_path / "web.yml").read_text() == "mine"
    write(found, config, tmp_path, force=True)
    assert "image: shop:1" in (tmp_path / "web.yml").read_text()
    assert (tmp_path / "service.schema.json").exists()


def test_what_the_rules_refuse_is_left_out_with_those_that_need_it(
    config: UniversalConfig, tmp_path: Path
) -> None:
    drafts = [
        draft("devops-ai-agent"),
        draft("web", dependsOn=["devops-ai-agent", "db"], ports=["80:80"]),
        draft("db"),
        draft("zebra", ports=["80:81"], dependsOn=["nobody"]),
    ]
    found = Imported("local-docker", [(each, "x") for each in drafts])
    done = write(found, config, tmp_path, force=False)
    assert {path.name for path in done.files} == {"web.yml", "db.yml"}
    told = "\n".join(done.left_out)
    assert "devops-ai-agent: devops-ai-agent is the agent" in told
    assert "zebra: host port 80" in told
    assert "# - the dependency on devops-ai-agent" in (tmp_path / "web.yml").read_text()
    assert validate(tmp_path, None).problems == ()


def test_the_environment_to_import_from(config: UniversalConfig) -> None:
    assert the_environment(config, None, "docker") == "local-docker"
    assert the_environment(config, "local-docker", "docker") == "local-docker"
    with pytest.raises(PermanentError, match="nowhere is no docker environment"):
        the_environment(config, "nowhere", "docker")
    with pytest.raises(PermanentError, match="has 0 kubernetes environments"):
        the_environment(config, None, "kubernetes")
