"""Every YAML block of the pages is valid where a reader would put it.

A document has a `kind`; a part belongs to platform.yml or environments.yml by its keys, or
to a Service by `spec` and `binding`. The few others are named in `PLACES`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from flows.command_line.validation import validate
from infrastructure.config_loader import DEFAULT_DIRECTORY
from infrastructure.config_models import Platform
from infrastructure.knowledge import Knowledge
from infrastructure.model_problems import validate as validate_document
from infrastructure.service import Document
from infrastructure.sources.source import Source
from infrastructure.yaml_source import parse_yaml
from tests.unit.docs.pages import PAGES, Fence, fences

BLOCKS = [
    fence for page in PAGES for fence in fences(page) if fence.language.split(" ")[0] == "yaml"
]
# Parts whose keys do not say where they belong: page and first key → file and JSON pointer.
PLACES = {
    ("CONTRIBUTING.md", "reload"): "operations.yml#/operations",
    ("CONTRIBUTING.md", "docker"): "command_translations.yml#/translations",
    ("docs/how-to/docker.md", "connection"): "environments.yml#/environments/local-docker",
    ("docs/how-to/monitoring.md", "logs"): "environments.yml#/environments/local-docker",
    ("docs/how-to/monitoring.md", "platform"): "command_translations.yml#/translations",
}
# Other programs' files, and the example that a test of its own runs as it stands.
ELSEWHERE = {
    ("CONTRIBUTING.md", "shelf"),  # tests/integration/test_worked_example.py
    ("CONTRIBUTING.md", "folder"),
    ("docs/how-to/kubernetes.md", "env"),  # of a pod
    ("docs/how-to/pull-requests.md", "repos"),  # of pre-commit
    ("docs/how-to/webhook.md", "receivers"),  # of Alertmanager
}
_PLATFORM = {to_camel(name) for name in Platform.model_fields}
# Checked by themselves; of a Source its files are a test of their own (source-example).
_ALONE: dict[str, type[Document]] = {"Knowledge": Knowledge, "Source": Source}
_SERVICE = {"apiVersion": "uici/v1", "kind": "Service"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped configuration in `config`, a folder of desired state in `state`."""
    for name in ("GIT_TOKEN", "FORGE_TOKEN", "MARKET_API_KEY"):
        monkeypatch.setenv(name, "x" * 12)
    shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "config")
    (tmp_path / "state").mkdir()
    _put(tmp_path / "config", "platform.yml#", {"git": {"seed": "../state"}})
    _write_service(tmp_path, {"name": "other", "environment": "local-docker"})
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_valid_where_it_belongs(block: Fence, place: Path) -> None:
    data = yaml.safe_load(block.text)
    first = (block.page, next(iter(data)))
    if first in ELSEWHERE:
        return
    if data.get("kind") in _ALONE:
        (document,) = parse_yaml(block.text.encode(), file=block.page, max_bytes=10**6)
        validate_document(_ALONE[data["kind"]], document)
        return
    environment = _environments(block.page, place / "config")
    if first in PLACES:  # what one page puts into several files belongs together
        for other in (yaml.safe_load(each.text) for each in BLOCKS if each.page == block.page):
            if (where := PLACES.get((block.page, next(iter(other))))) is not None:
                _put(place / "config", where, other)
    elif data.keys() <= _PLATFORM and "kind" not in data:
        _put(place / "config", "platform.yml#", data)
    elif data.keys() & {"spec", "binding"} and "kind" not in data:
        data = _SERVICE | {
            "metadata": {"name": "web", "environment": environment},
            "spec": {"image": "ocid1.image.oc1.phx.aaaa", "binding": data.get("binding", {})}
            | data.get("spec", {}),
        }
    if "kind" in data:
        _declare(place, data)
    found = validate(place / "state", place / "config")
    assert [str(problem) for problem in found.problems] == []
    assert found.services > (data.get("kind") == "Service")


def test_the_lists_name_blocks_that_are_there() -> None:
    there = {(block.page, next(iter(yaml.safe_load(block.text)))) for block in BLOCKS}
    assert there >= PLACES.keys() | ELSEWHERE


def test_the_check_sees_a_mistake(place: Path) -> None:
    _put(place / "config", "platform.yml#", {"guard": {"flaping": None}})
    (problem, *_) = validate(place / "state", place / "config").problems
    assert "flaping" in str(problem)


def _declare(place: Path, data: Mapping[str, Any]) -> None:
    """A document in the state folder, and the services that it depends on."""
    for name in data.get("spec", {}).get("dependsOn", ()):
        _write_service(place, data["metadata"] | {"name": name})
    name = "uici.yml" if data["kind"] == "Pause" else "block.yml"
    (place / "state" / name).write_text(yaml.safe_dump(data))


def _write_service(place: Path, metadata: Mapping[str, str]) -> None:
    document = _SERVICE | {"metadata": metadata, "spec": {"image": "busybox"}}
    (place / f"state/{metadata['name']}.yml").write_text(yaml.safe_dump(document))


def _environments(page: str, config: Path) -> str:
    """Add those of a page to the configuration; the first one's name, else the shipped one's."""
    names: list[str] = []
    for block in BLOCKS:
        data = yaml.safe_load(block.text)
        if block.page == page and "environments" in data and "kind" not in data:
            names += data["environments"]
            _put(config, "environments.yml#", data)
    return names[0] if names else "local-docker"


def _put(config: Path, where: str, data: Mapping[str, Any]) -> None:
    """Merge into a file of the configuration at a JSON pointer."""
    name, _, pointer = where.partition("#")
    file = config / name
    whole = yaml.safe_load(file.read_text())
    part = whole
    for key in filter(None, pointer.split("/")):
        part = part[key]
    if name == "environments.yml" and not pointer:
        data = {"environments": {n: _whole(whole, n, e) for n, e in data["environments"].items()}}
    _merge(part, data)
    file.write_text(yaml.safe_dump(whole))


def _whole(file: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry with what the page leaves out, from the shipped one."""
    environments = file["environments"]
    return entry if name in environments else environments["local-docker"] | entry


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
