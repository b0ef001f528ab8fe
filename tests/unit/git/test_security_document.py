"""docs/SECURITY.md and the how-tos beside it name tests and files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from infrastructure.config_models import CommitSignatures, CommitSigning, HttpsAccess, SshAccess
from infrastructure.service import Document

ROOT = Path(__file__).parents[3]
DOCUMENTS = ("docs/SECURITY.md", "docs/how-to/git.md", "docs/how-to/docker.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_it_names_is_there(document: str) -> None:
    named = re.findall(r"`((?:tests|deploy)/[^`]*)`", (ROOT / document).read_text())
    named = [name for name in named if " " not in name]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
    linked = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text())
    assert [link for link in linked if not (ROOT / document).parent.joinpath(link).exists()] == []
    assert named or "git.md" in document


def test_the_settings_that_are_shown_are_settings() -> None:
    text = (ROOT / "docs/how-to/git.md").read_text()
    models: dict[str, type[Document]] = {
        "ssh": SshAccess,
        "https": HttpsAccess,
        "signatures": CommitSignatures,
        "signing": CommitSigning,
    }
    shown = set()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        for key, value in yaml.safe_load(block)["git"].items():
            if key in models:
                models[key].model_validate(value)
                shown.add(key)
    assert shown == models.keys()
