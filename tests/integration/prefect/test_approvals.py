"""The form in Prefect: asked there, answered there, whatever happens to the agent meanwhile."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.approvals.request import ApprovalRequest
from tests.integration.prefect.asking_service import Asking
from tests.integration.prefect.service import Api, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


@pytest.fixture
def asking(prefect_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    data: Path = tmp_path_factory.mktemp("asking")
    made = Asking(data, prefect_api, pool=f"pool-{uuid.uuid4().hex[:8]}")
    made.start().started()
    yield made
    made.clear_up()


def test_a_form_outlives_the_agent_and_its_answer_is_carried_out(asking: Asking) -> None:
    asking.look()
    run = asking.form()

    assert run["name"] == "approve: shop: start"
    keys = run["state"]["state_details"]["run_input_keyset"]
    text = asking.api.get(f"/flow_runs/{run['id']}/input/{keys['description']}")
    for word in ("start local-docker/shop", "risk low", "Expires:", "asked for by run"):
        assert word in text
    (own,) = asking.requests()

    def told() -> bool:  # other tests' requests are told to the same server
        wanted = {"event": {"name": ["uici.approval.requested"]}}
        events = asking.api.post("/events/filter", filter=wanted)["events"]
        return own["id"] in {event["payload"]["request"] for event in events}

    wait_for(told, what="the event")

    asking.process.send_signal(signal.SIGKILL)
    asking.process.wait(timeout=10)
    asking.start().started()
    assert [r["id"] for r in asking.forms("PAUSED")] == [run["id"]]

    refused = asking.answer(run, decision="perhaps", your_name="ann")
    assert (refused.status_code, refused.json()["status"]) == (200, "REJECT")
    nameless = asking.answer(run, decision="approve")
    assert nameless.json()["status"] == "REJECT"
    assert asking.forms("PAUSED")
    taken = asking.answer(run, decision="approve", your_name="ann", reason="it is drained")
    assert (taken.status_code, taken.json()["status"]) == (201, "ACCEPT")

    ended = asking.api.wait_for_end(run["id"])
    assert ended["state_type"] == "COMPLETED"
    assert "approved by ann (prefect): it is drained" in ended["state"]["message"]
    # Nobody asks for a run: the answer does.
    wait_for(lambda: asking.states() == ["used"], what="the approval's use")
    assert "recovered" in asking.requests()[0]["told"]


def test_a_no_in_the_form_is_a_no(asking: Asking) -> None:
    asking.look()
    run = asking.form()
    # Prefect suspends a run a moment before it keeps its form.
    said = {"decision": "reject", "your_name": "bob"}
    wait_for(lambda: asking.answer(run, **said).status_code == 201, what="the answer")
    assert asking.api.wait_for_end(run["id"])["state_type"] == "COMPLETED"
    wait_for(lambda: asking.states() == ["rejected"], what="the end of the request")


def test_what_was_answered_elsewhere_is_asked_no_more(asking: Asking) -> None:
    asking.look()
    run = asking.form()
    asking.decide(ApprovalRequest.model_validate(asking.requests()[0]))
    asking.look()
    assert asking.states() == ["used"]
    assert asking.api.wait_for_end(run["id"])["state_type"] == "CANCELLED"
    assert len(asking.forms()) == 1
