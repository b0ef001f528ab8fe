"""docs/how-to/guard.md: its examples load, its table of rules is the guard's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.guard import PASSING_RULES
from flows.guarding.rules import CHANGE_RULES, IDENTITY_RULES
from infrastructure.config_loader import UniversalConfigLoader, agent_identity
from infrastructure.desired_state import DesiredStateParser
from infrastructure.pause import read_pause
from infrastructure.yaml_source import parse_yaml
from tests.fakes.loop import write_config

TEXT = (Path(__file__).parents[3] / "docs/how-to/guard.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(r"```yaml\n# (.+?)\n(.+?)```", TEXT, re.DOTALL)


def test_there_are_examples_of_all_kinds() -> None:
    assert {name for name, _ in EXAMPLES} == {
        "platform.yml",
        "environments.yml",
        "a Service",
        "uici.yml",
    }


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_an_example_loads(name: str, text: str, tmp_path: Path) -> None:
    (document,) = parse_yaml(text.encode(), file=name, max_bytes=10_000)
    data: Mapping[str, Any] = document.data
    if name.endswith(".yml") and name != "uici.yml":
        changes: dict[str, Any] = {"platform": {}, name.removesuffix(".yml"): data}
        changes["platform"] = {**changes["platform"], "git": {"remote": "state.git"}}
        loaded = UniversalConfigLoader(write_config(tmp_path / "config", **changes)).load()
        guard = loaded.platform.guard.policy
        place = loaded.environments.environments["local-docker"].policy
        assert guard.cool_down.total_seconds() == 300 or len(place.window) == 2
        return
    config = UniversalConfigLoader().load()
    parser = DesiredStateParser.from_config(config, agent_identity(config))
    services, problems = parser.parse({"shop.yml": text.encode()})
    assert problems == ()
    if name == "uici.yml":
        assert read_pause(name, text.encode(), max_bytes=10_000).damaged == ""
    else:
        (one,) = services.values()
        assert one.spec.remediation.limits.replicas is not None
        assert one.spec.remediation.window[0].time_zone == "America/New_York"


def test_the_table_has_each_rule_in_the_order_of_the_guard() -> None:
    table = TEXT[TEXT.index("| rule | stops |") : TEXT.index("## Who the agent is")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    found = [rule for cell in cells for rule in re.findall(r"`([a-z-]+)`", cell)]
    assert found == [
        *(name for name, _ in (*IDENTITY_RULES, *CHANGE_RULES)),
        "risk",
        "always-approve",
    ]
    passing = {rule for cell in cells for rule in re.findall(r"`([a-z-]+)` ⏳", cell)}
    assert passing == PASSING_RULES
