"""What the loop reads back is not spoilt by a secret that is an ordinary word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.reporting.own_data import own_data
from flows.reporting.status import TargetStatus
from infrastructure.redaction import Redactor
from tests.unit.report.made import status

STATUS = status().model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    "value",
    [
        "market-predictor",
        "market",
        "uici",
        "Ready",
        "ServiceStatus",
        "2026",
        "local-docker",
        "True",
    ],
)
def test_a_status_is_read_back_whatever_word_is_a_secret(value: str) -> None:
    cut = own_data(Redactor((), [value]).data)
    told = TargetStatus.model_validate_json(json.dumps(cut(STATUS)))
    whole = TargetStatus.model_validate(STATUS)
    assert told.target == whole.target
    assert [c.type for c in told.conditions] == [c.type for c in whole.conditions]
    assert [c.last_transition_time for c in told.conditions] == [
        c.last_transition_time for c in whole.conditions
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"message": "it says hunter22"},
        {"target": "hunter22 is no id"},
        {"reason": "for hunter22, until noon"},
        {"steps": [{"operation": "exec", "parameters": {"target": "hunter22"}}]},
        {"result": "recreate: did not help: hunter22"},
        {"told": ["hunter22"]},
        {"apiToken": "a value that is no secret that was resolved"},
        {"apiToken": ["a value", "another"]},
        {"apiToken": {"deep": {"er": "a value"}}},
        {"apiToken": 12345678},
        {"verdict": {"reason": "Swordfish"}},
        {"reason": "Swordfish"},
        {"by": "ann@example.com"},
    ],
)
def test_words_for_people_are_redacted(data: dict[str, Any]) -> None:
    known = ["hunter22", "Swordfish", "ann@example.com"]
    redactor = Redactor((), known, key_patterns=["(?i)token"])
    cut = json.dumps(own_data(redactor.data)(data))
    assert not any(secret in cut for secret in (*known, "a value", "12345678"))
    assert "[redacted]" in cut


@pytest.mark.parametrize("secret", ["postgres", "conditions", "revision", "targets", "message"])
def test_a_secret_that_stands_in_a_key_breaks_nothing(secret: str) -> None:
    data = {
        "targets": {"local-docker/postgres": {"message": f"it says {secret}"}},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Stopped"}],
        "revision": "abc",
        "message": "hello",
        "parameters": {"revision": secret},
    }
    cut = own_data(Redactor((), [secret]).data)(data)
    assert cut.keys() == data.keys()
    assert cut["targets"]["local-docker/postgres"] == {"message": "it says [redacted]"}
    assert cut["conditions"] == data["conditions"]
    assert secret not in json.dumps([*cut["parameters"].values()])
