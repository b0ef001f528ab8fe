"""What forms offer: names from configuration and Git, and never a type to choose first."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import validate

from flows.prefect_edge.choices import Choices, form_schema
from flows.prefect_edge.flow import reconcile
from flows.prefect_edge.propose_flow import propose

NAMES = Choices(("local-docker", "cluster"), ("local-docker/web", "cluster/db"))


def fields(schema: dict[str, Any]) -> dict[str, Any]:
    return dict(schema["properties"])


def test_environments_targets_and_modes_are_lists_to_choose_from() -> None:
    shown = fields(form_schema(reconcile, NAMES))
    assert shown["environment"]["items"]["enum"] == ["cluster", "local-docker"]
    assert shown["targets"]["items"]["enum"] == ["cluster/db", "local-docker/web"]
    assert shown["mode"]["enum"] == ["observe", "propose", "enforce"]
    assert not any("anyOf" in field for field in shown.values())
    assert all(field["description"] for field in shown.values())
    assert fields(form_schema(propose, NAMES))["targets"]["items"]["enum"] == [
        "cluster/db",
        "local-docker/web",
    ]
    assert fields(form_schema(propose, NAMES))["dry_run"]["type"] == "boolean"


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({}, True),
        ({"targets": []}, True),
        ({"targets": None}, True),
        ({"targets": ["cluster/db"], "mode": "observe"}, True),
        ({"targets": ["cluster/gone"]}, False),
        ({"environment": ["elsewhere"]}, False),
        ({"mode": "destroy"}, False),
    ],
)
def test_the_server_takes_what_is_offered_and_nothing_else(
    given: dict[str, Any], fits: bool
) -> None:
    errors = validate(given, form_schema(reconcile, NAMES), preprocess=True)
    assert (not errors) is fits


def test_what_is_not_known_yet_stays_as_it_is_registered() -> None:
    before = form_schema(reconcile, NAMES)
    started = form_schema(reconcile, Choices(("cluster",), None), before)
    assert fields(started)["targets"] == fields(before)["targets"]
    assert fields(started)["environment"]["items"]["enum"] == ["cluster"]
    assert "enum" not in fields(form_schema(reconcile, Choices()))["targets"]["items"]


def test_a_list_that_nobody_reads_through_is_free_text() -> None:
    many = Choices(("e",), tuple(f"e/{n}" for n in range(1000)))
    assert "enum" not in fields(form_schema(reconcile, many))["targets"]["items"]
