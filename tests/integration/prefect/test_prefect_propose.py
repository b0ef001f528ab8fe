"""The `propose` deployment: beside `reconcile`, without a schedule, run by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.prefect.service import Service

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_proposals_are_considered_by_hand(new_service: Callable[..., Service]) -> None:
    service = new_service(interval="1d")
    (service.data / "proposes").touch()
    service.start().started()
    deployments = service.api.deployments(service.pool)
    (propose,) = (d for d in deployments if d["entrypoint"].endswith("propose_flow.py:propose"))
    assert len(deployments) == 2
    assert propose["schedules"] == []

    def run(**parameters: object) -> dict[str, str]:
        path = f"/deployments/{propose['id']}/create_flow_run"
        asked = service.api.post(path, parameters=parameters)["id"]
        found: dict[str, str] = service.api.wait_for_end(str(asked))["state"]
        return found

    real = run(targets=["local-docker/shop"])
    assert (real["type"], real["message"]) == ("COMPLETED", "opened b: for local-docker/shop")
    dry = run(dry_run=True)
    assert (dry["type"], dry["message"]) == ("COMPLETED", "would open b: for all")
    refused = run(targets=["nobody"])
    assert (refused["type"], refused["message"]) == ("FAILED", "no target is named nobody")
    assert service.notes("begin") == []  # the loop itself has not run
