"""`uici rbac`: roles from what the configuration enables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line.rbac import manifest
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError
from tests.unit.infrastructure.config_folder import ConfigFolder
from tests.unit.infrastructure.test_binding import CLUSTER


def loaded(tmp_path: Path, *taken_away: str) -> UniversalConfig:
    folder = ConfigFolder.make(tmp_path)
    folder.append("environments", CLUSTER)
    text = folder.path("command_translations").read_text()
    head, _, cluster = text.partition("\n  kubernetes:\n")
    entries: dict[str, Any] = yaml.safe_load(cluster)
    kept = {name: [] if name in taken_away else steps for name, steps in entries.items()}
    section = yaml.safe_dump({"kubernetes": kept}, sort_keys=False).replace("\n", "\n  ")
    folder.path("command_translations").write_text(f"{head}\n  {section.rstrip()}\n")
    return folder.load()


def rules(text: str) -> set[tuple[str, str]]:
    (role, _) = yaml.safe_load_all(text)
    return {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_an_operation_that_is_taken_away_takes_its_rights_along(tmp_path: Path) -> None:
    every = rules(manifest(loaded(tmp_path / "a"), "cluster", "ops/agent"))
    assert ("pods/exec", "create") in every
    less = loaded(tmp_path / "b", "execute_command", "start", "restart")
    assert every - rules(manifest(less, "cluster", "ops/agent")) == {
        ("pods/exec", "create"),
        ("pods/exec", "get"),
        ("pods", "delete"),
    }


def test_what_is_no_cluster_or_no_account_is_refused(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    with pytest.raises(PermanentError, match="RBAC is of Kubernetes"):
        manifest(config, "local-docker", "ops/agent")
    for account in ("agent", "/agent", "ops/"):
        with pytest.raises(PermanentError, match="NAMESPACE/NAME"):
            manifest(config, "cluster", account)
