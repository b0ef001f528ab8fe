"""No secret gets into a draft's file, and no more than it is left out."""

from __future__ import annotations

from typing import Any

import pytest

from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfigLoader
from infrastructure.redaction import REDACTED, Redactor, SecretKeys
from infrastructure.sources.draft import Draft, Point
from infrastructure.sources.secrets import hide_secrets
from infrastructure.state_rules import SecretRules

VALUE = "abcdef1234567890abcdef"
SECRETS = UniversalConfigLoader(DEFAULT_DIRECTORY).load().platform.secrets
KEYS = SecretKeys(SECRETS.key_patterns)
RULES = SecretRules(KEYS, Redactor(SECRETS.redact_patterns, key_patterns=SECRETS.key_patterns))


def hidden(**spec: Any) -> Draft:
    draft = Draft("web", Point("deployment.yml", 1, 1))
    draft.spec = {"image": "web:1", **spec}
    hide_secrets(draft, RULES)
    return draft


def side(*env: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "side", "image": "side:1", "env": list(env), **more}


def test_a_variable_of_a_sidecar_is_judged_by_its_name() -> None:
    mode = {"name": "MODE", "value": "fast"}
    tokens = [{"name": name, "value": VALUE} for name in ("API_TOKEN", "DB_PASSWORD")]
    draft = hidden(native={"pod": {"containers": [side(tokens[0], mode, tokens[1])]}})
    assert draft.spec["native"]["pod"]["containers"] == [side(mode)]
    assert len(draft.left_out) == 2
    assert "native.pod.containers[0].env[0] (side, API_TOKEN)" in " ".join(draft.left_out)
    assert VALUE not in str(draft.left_out)


def test_a_reference_of_a_sidecar_stays() -> None:
    key = {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
    draft = hidden(native={"pod": {"containers": [side(key)]}})
    assert draft.spec["native"]["pod"]["containers"] == [side(key)]
    assert draft.left_out == []


@pytest.mark.parametrize("where", ["initContainers", "containers"])
def test_of_a_plain_list_all_goes(where: str) -> None:
    argument = f"--password={VALUE}"
    draft = hidden(native={"pod": {where: [side(args=["run", argument])]}})
    assert draft.spec["native"]["pod"][where] == [side()]


def test_what_is_left_out_of_a_mapping_takes_an_empty_one_along() -> None:
    draft = hidden(native={"container": {"password": VALUE}, "pod": {"hostname": "web"}})
    assert draft.spec["native"] == {"pod": {"hostname": "web"}}


def test_the_same_holds_for_what_is_told() -> None:
    redactor = Redactor((), key_patterns=SECRETS.key_patterns)
    told = redactor.data({"env": [{"name": "API_TOKEN", "value": VALUE}]})
    assert told == {"env": [{"name": "API_TOKEN", "value": REDACTED}]}
    number = {"name": "login_token", "value": 3}  # a metric
    assert redactor.data(number) == number
