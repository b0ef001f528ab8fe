"""The shipped configuration of operations, translations and runbooks, and a service."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

import infrastructure
from infrastructure.config_models import CommandTranslations, Operations, Runbooks
from infrastructure.service import Service

CONFIG = Path(infrastructure.__file__).parent / "config"
_READ: dict[str, Any] = {}


def document(name: str) -> dict[str, Any]:
    """A fresh copy of a shipped YAML file: a test may edit it."""
    if name not in _READ:
        _READ[name] = yaml.safe_load((CONFIG / name).read_text())
    read: dict[str, Any] = copy.deepcopy(_READ[name])
    return read


def operations() -> Operations:
    return Operations.model_validate(document("operations.yml"))


def translations() -> CommandTranslations:
    return CommandTranslations.model_validate(document("command_translations.yml"))


def runbooks() -> Runbooks:
    return Runbooks.model_validate(document("runbooks.yml"))


def service(name: str = "shop", environment: str = "local", **spec: Any) -> Service:
    """A service; keywords are fields of its spec as in YAML."""
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": environment},
            "spec": {"image": "shop:1", **spec},
        }
    )
