"""The how-to page says what is so: its settings load, for every kind of forge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfigLoader
from infrastructure.config_models import Forge
from tests.fakes.loop import write_config

PAGE = Path(__file__).parents[3] / "docs/how-to/proposals.md"


def documented() -> dict[str, Any]:
    text = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_the_documented_settings_are_the_shipped_ones_but_for_the_forge() -> None:
    shipped = yaml.safe_load((DEFAULT_DIRECTORY / "platform.yml").read_text())
    assert documented()["proposals"] | {"forge": None} == shipped["proposals"]


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_the_documented_forge_loads_with_its_token_by_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("FORGE_TOKEN", "forge-token-0123456789")
    page = documented()["proposals"]
    page["forge"]["kind"] = kind
    directory = write_config(
        tmp_path / "config", platform={"proposals": page, "git": {"remote": "."}}
    )
    config = UniversalConfigLoader(directory).load()
    forge = config.platform.proposals.forge
    assert isinstance(forge, Forge)
    assert forge.token == "forge-token-0123456789"
    assert "forge-token-0123456789" not in config.redactor().text(f"the token is {forge.token}")
