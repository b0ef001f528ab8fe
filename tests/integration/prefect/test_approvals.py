"""The form in Prefect: asked there, answered there, whatever happens to the agent meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.approvals.decision import decision_path
from flows.approvals.request import ApprovalRequest
from tests.fakes.loop import git
from tests.integration.prefect.service import Api, Service, wait_for
from tests.integration.prefect.stub import platform_with
from tests.unit.approvals.made import decision

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


class Asking(Service):
    """A `uici serve` that has to ask before it starts the shop."""

    def start(self, **changes: Any) -> Asking:
        self._prefect |= changes
        settings = {"workPool": self.pool, **self._prefect}
        settings |= {"apiUrl": self.api.url, "server": {"mode": "external"}, "interval": "1d"}
        file = self.data / "platform.json"
        file.write_text(platform_with(self.data, **settings).model_dump_json(by_alias=True))
        with (self.data / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.prefect.asking", str(file)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self

    def deployment(self, flow: str) -> str:
        found = [d for d in self.api.deployments(self.pool) if d["entrypoint"].endswith(f":{flow}")]
        assert len(found) == 1
        return str(found[0]["id"])

    def look(self) -> Any:
        """One run of the loop."""
        path = f"/deployments/{self.deployment('reconcile')}/create_flow_run"
        return self.api.wait_for_end(str(self.api.post(path)["id"]))

    def forms(self, *states: str) -> list[Any]:
        of = {"id": {"any_": [self.deployment("approve")]}}
        runs = self.api.post("/flow_runs/filter", deployments=of)
        return [run for run in runs if not states or run["state_type"] in states]

    def form(self) -> Any:
        """The run that waits for a person, once there is one."""
        return wait_for(lambda: self.forms("PAUSED"), what="the form")[0]

    def answer(self, run: Any, **form: str) -> Any:
        return self.api.try_post(f"/flow_runs/{run['id']}/resume", run_input=form)

    @property
    def remote(self) -> Path:
        return self.data / "world" / "remote.git"

    def requests(self) -> list[dict[str, Any]]:
        names = git(self.remote, "ls-tree", "-r", "--name-only", "uici/reports", "approvals/")
        return [
            json.loads(git(self.remote, "show", f"uici/reports:{name}"))
            for name in names.splitlines()
            if name.count("/") == 1
        ]

    def states(self) -> list[str]:
        return [request["state"] for request in self.requests()]

    def decide(self, request: ApprovalRequest) -> None:
        """Somebody approves by command on another machine."""
        work = self.data / "elsewhere"
        git(self.data, "clone", "-q", "-b", "uici/reports", str(self.remote), work.name)
        said = decision(request, at=datetime.now(UTC))
        path = work / decision_path(said)
        path.parent.mkdir(parents=True)
        path.write_text(said.model_dump_json(by_alias=True))
        git(work, "add", "-A")
        git(work, "commit", "-qm", "approve")
        git(work, "push", "-q")


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
    events = wait_for(
        lambda: asking.api.post(
            "/events/filter", filter={"event": {"name": ["uici.approval.requested"]}}
        )["events"],
        what="the event",
    )
    assert events[0]["payload"]["request"] == asking.requests()[0]["id"]

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
