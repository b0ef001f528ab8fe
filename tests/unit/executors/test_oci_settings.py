from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from executors.oci import Binding, Connection, unsupported
from executors.oci.evidence import script_of
from executors.oci.executor import PRIMITIVES
from executors.oci.settings import binding_of
from executors.translator import CommandTranslator
from infrastructure.config_models import CommandTranslations
from infrastructure.errors import PermanentError
from infrastructure.service import Service

ROOT = Path(__file__).parents[3]
CONNECTION: dict[str, Any] = {
    "auth": {"method": "instancePrincipal"},
    "compartments": ["ocid1.compartment.oc1..aaaa"],
    "requestBudget": 10,
    "pageSize": 100,
    "pollInterval": "3s",
    "retries": {"attempts": 3, "initial": "1s", "max": "10s"},
}


def declare(**spec: Any) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": "web", "environment": "cloud"},
            "spec": {"image": "ocid1.image.oc1.phx.aaaa", **spec},
        }
    )


def test_a_connection_says_who_where_and_how_much() -> None:
    made = Connection.model_validate(CONNECTION)
    assert made.auth.method == "instancePrincipal"
    assert made.poll_interval.total_seconds() == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"requestBudget": None},
        {"pageSize": 0},
        {"compartments": []},
        {"compartments": ["prod"]},
        {"auth": {"method": "password"}},
        {"auth": {"method": "configFile"}},
        {"endpoints": {"toaster": "https://x"}},
        {"endpoints": {"compute": "https://x/path"}},
        {"password": "x"},
    ],
)
def test_what_does_not_fit_a_connection_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Connection.model_validate({**CONNECTION, **wrong})


def test_the_examples_of_the_how_to_are_valid() -> None:
    text = (ROOT / "docs/how-to/oracle-cloud.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]
    seen = set()
    for block in blocks:
        data = yaml.safe_load(block)
        if "environments" in data:
            Connection.model_validate(data["environments"]["cloud"]["connection"])
        elif "spec" in data:
            service = declare(**data["spec"])
            assert unsupported(service) == ()
            seen.add(binding_of(service).kind)
        else:
            Binding.model_validate(data["binding"])
    assert seen == {"ComputeInstance", "InstancePool", "ContainerInstance"}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("ComputeInstance", {"image": "nginx:1"}, ["OCID of an image"]),
        ("ComputeInstance", {"env": {"A": "1"}, "command": ["x"]}, ["command", "env"]),
        ("InstancePool", {"ports": ["80"]}, ["ports"]),
        ("InstancePool", {"resources": {"memory": "1Gi"}}, ["instance configuration"]),
        ("ComputeInstance", {"resources": {"memory": "1Gi"}}, []),
        ("ContainerInstance", {"image": "nginx:1", "ports": ["80", "81:81"]}, []),
        ("ContainerInstance", {"image": "nginx:1", "ports": ["81:80"]}, ["81:80"]),
    ],
)
def test_what_a_kind_has_no_word_for_is_told(
    kind: str, spec: dict[str, Any], said: list[str]
) -> None:
    found = unsupported(declare(binding={"kind": kind}, **spec))
    assert len(found) == len(said)
    for message, words in zip(found, said, strict=True):
        assert message.startswith("cloud/web: ")
        assert words in message


def test_a_service_without_a_binding_is_refused() -> None:
    with pytest.raises(PermanentError, match="cloud/web: binding"):
        binding_of(declare())


def test_the_shipped_translations_fit_the_primitives() -> None:
    file = ROOT / "infrastructure/config/command_translations.yml"
    translations = CommandTranslations.model_validate(yaml.safe_load(file.read_text()))
    translator = CommandTranslator(translations)
    assert translator.check("oci", PRIMITIVES) == []
    offered = translator.operations("oci")
    assert offered.isdisjoint({"pause", "resume"})  # nothing can be frozen there
    assert {"start", "restart", "recreate", "scale", "get_logs", "execute_command"} <= offered


def test_words_stay_words() -> None:
    assert script_of(["ls", "-l", "/tmp"]) == "exec ls -l /tmp"
    assert script_of(["sh", "-c", "a | b"], workdir="/x") == "cd -- /x && exec sh -c 'a | b'"
    assert script_of(["id"], user="$(id)") == "exec sudo -n -u '$(id)' -- id"
