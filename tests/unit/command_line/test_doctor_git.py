"""What `uici doctor` says of signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.command_line.doctor_git import signature_findings
from flows.command_line.finding import Level
from infrastructure.config_loader import UniversalConfigLoader
from tests.fakes.loop import write_config


def findings(root: Path, **git: Any) -> dict[str, tuple[Level, str]]:
    settings = {"git": {"remote": str(root / "remote.git"), **git}}
    config = UniversalConfigLoader(write_config(root / "config", platform=settings)).load()
    return {f.name: (f.level, f.detail) for f in signature_findings(config)}


def test_as_shipped_it_says_that_nothing_is_verified(tmp_path: Path) -> None:
    found = findings(tmp_path)
    level, detail = found["commit signatures"]
    assert level is Level.OK
    assert detail.startswith("not verified: whoever may push to main decides what is right")
    assert found["signed reports"] == (Level.OK, "the agent's commits are not signed")


def test_keys_that_are_there_and_keys_that_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signers = tmp_path / "allowed"
    signers.write_text("")
    git = {
        "signatures": {"ssh": {"allowedSigners": str(signers)}},
        "signing": {"format": "ssh", "key": "keys/none"},  # beside the configuration
    }
    found = findings(tmp_path / "one", **git)
    assert found["commit signatures"] == (Level.OK, "main has to be signed")
    assert found["signed reports"][0] is Level.ERROR
    assert "keys/none is not there" in found["signed reports"][1]
    key = tmp_path / "two" / "config" / "keys" / "none"
    found = findings(tmp_path / "two", **git)
    key.parent.mkdir()
    key.write_text("x")
    signers.unlink()
    config = UniversalConfigLoader(tmp_path / "two" / "config").load()
    again = {f.name: (f.level, f.detail) for f in signature_findings(config)}
    assert again["commit signatures"][0] is Level.ERROR
    assert "can't be read" in again["commit signatures"][1]
    assert again["signed reports"] == (Level.OK, "by ssh, key keys/none")
    signers.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    (none, _) = signature_findings(config)
    assert none.detail == "ssh-keygen is not installed: nothing on main is trusted"


def test_a_block_without_keys_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="name ssh or gpg keys, or write signatures: null"):
        findings(tmp_path, signatures={})
