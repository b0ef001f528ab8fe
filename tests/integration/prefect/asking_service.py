"""What the tests of approvals and of the pages hold: a `uici serve` that asks before it acts."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.approvals.decision import decision_path
from flows.approvals.request import ApprovalRequest
from tests.fakes.loop import git
from tests.integration.prefect.service import Service, wait_for
from tests.integration.prefect.stub import platform_with
from tests.unit.approvals.made import decision


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
        run = wait_for(lambda: self.forms("PAUSED"), what="the form")[0]
        keys = run["state"]["state_details"]["run_input_keyset"]

        def kept() -> bool:  # Prefect suspends a run a moment before it keeps its form
            path = f"/flow_runs/{run['id']}/input/{keys['description']}"
            return self.api.try_get(path).is_success

        wait_for(kept, what="the form's text")
        return run

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
