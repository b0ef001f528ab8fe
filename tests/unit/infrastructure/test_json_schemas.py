from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from infrastructure.json_schemas import main, schemas
from infrastructure.service import Service
from infrastructure.yaml_source import parse_yaml
from tests.strategies import service_documents

ROOT = Path(__file__).parents[3]
FILES = [
    *sorted((ROOT / "infrastructure/config").glob("*.yml")),
    *(ROOT / "desired-state").rglob("*.yml"),
    ROOT / "docs/how-to/source-example/shop.yml",
    *(ROOT / "docs/how-to/knowledge-example").glob("*.yml"),
]
FIRST_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")
SERVICE = Draft202012Validator(
    json.loads(schemas(ROOT)[ROOT / "desired-state/service.schema.json"])
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", schemas(ROOT), ids=name)
def test_committed_schemas_are_current(path: Path) -> None:
    assert path.read_text() == schemas(ROOT)[path], (
        "run `python -m infrastructure.json_schemas` and commit the result"
    )


@pytest.mark.parametrize("path", schemas(ROOT), ids=name)
def test_schemas_are_schemas(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_the_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(schemas(tmp_path))
    assert "desired-state/service.schema.json" in capsys.readouterr().out.splitlines()


def test_every_schema_is_named_by_a_file() -> None:
    named = {(file.parent / schema_name(file)).resolve() for file in FILES}
    assert named == set(schemas(ROOT))


def schema_name(file: Path) -> str:
    match = FIRST_LINE.fullmatch(file.read_text().splitlines()[0])
    assert match, f"{name(file)} has to name its schema in its first line"
    return match[1]


@pytest.mark.parametrize("file", FILES, ids=name)
def test_shipped_files_fit_the_schema_that_they_name(file: Path) -> None:
    schema = json.loads((file.parent / schema_name(file)).read_text())
    for document in parse_yaml(file.read_bytes(), file=file.name, max_bytes=10**6):
        errors = [
            error.message for error in Draft202012Validator(schema).iter_errors(document.data)
        ]
        assert errors == []


@settings(max_examples=40)
@given(service_documents())
def test_the_service_schema_takes_what_the_model_takes(document: dict[str, Any]) -> None:
    Service.model_validate(document)
    assert [error.message for error in SERVICE.iter_errors(document)] == []


@settings(max_examples=40)
@given(service_documents(), st.sampled_from(["metadata", "spec"]))
def test_the_service_schema_refuses_unknown_fields(document: dict[str, Any], part: str) -> None:
    document[part]["unknown"] = 1
    assert not SERVICE.is_valid(document)


def test_a_reference_may_stand_for_a_number_in_configuration_only() -> None:
    text = schemas(ROOT)[ROOT / "infrastructure/config/schemas/platform.schema.json"]
    (document,) = parse_yaml(
        (ROOT / "infrastructure/config/platform.yml").read_bytes(), file="x", max_bytes=10**6
    )
    document.data["prefect"]["server"]["port"] = "${env:PORT:-4200}"
    document.data["reconcile"]["interval"] = "${env:INTERVAL}"
    assert Draft202012Validator(json.loads(text)).is_valid(document.data)
    document.data["prefect"]["server"]["port"] = "4200x"
    assert not Draft202012Validator(json.loads(text)).is_valid(document.data)
