"""Prefect's pages in a real browser: they open, the forms submit, an approval goes through.

With UICI_PICTURES set to a folder, the pictures of the documentation are taken on the way:
see tests/integration/prefect/pictures.py.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.errors import PermanentError
from tests.integration.prefect.asking_service import Asking
from tests.integration.prefect.service import Api, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")

from tests.integration.prefect.chromium import chromium  # noqa: E402 - needs playwright
from tests.integration.prefect.ui import Ui  # noqa: E402 - the same

TARGET = "local-docker/shop"


@pytest.fixture(scope="module")
def asking(prefect_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """One that has looked once, and waits for a yes."""
    shipped = {"pool": "uici", "deployment": "reconcile"}  # as in the documentation
    unique = {"pool": f"pool-{uuid.uuid4().hex[:8]}"}
    names = shipped if "UICI_PICTURES" in os.environ else unique
    made = Asking(tmp_path_factory.mktemp("pages"), prefect_api, **names)
    made.start().started()
    made.look()
    made.form()
    yield made
    made.clear_up()


@pytest.fixture(scope="module")
def ui(prefect_api: Api) -> Iterator[Ui]:
    context = chromium()
    try:
        browser = context.__enter__()
    except PermanentError as exc:  # in CI, too: it is no part of the product
        pytest.skip(str(exc))
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        yield Ui(prefect_api, page)
    finally:
        context.__exit__(None, None, None)


def picture(ui: Ui, name: str) -> None:
    if folder := os.environ.get("UICI_PICTURES"):
        ui.picture(Path(folder) / f"{name}.png")


def test_the_dashboard_and_a_deployment_tell_what_they_are(ui: Ui, asking: Asking) -> None:
    ui.open("/dashboard")
    ui.sees("Dashboard")
    ui.deployment(asking.deployment("reconcile"))
    ui.sees("uici:managed")
    ui.tab("Description")
    ui.sees("Heals services so that they are as Git says")


def test_the_form_offers_what_config_and_git_name_and_its_run_gets_it(
    ui: Ui, asking: Asking
) -> None:
    wanted = {"environment": ["local-docker"], "targets": [TARGET], "mode": "observe"}

    def offered() -> bool:
        """Whether a run has told the names that the form offers."""
        wanted_id = asking.deployment("reconcile")
        found = (d for d in asking.api.deployments(asking.pool) if d["id"] == wanted_id)
        fields = next(found)["parameter_openapi_schema"]["properties"]
        return TARGET in fields["targets"]["items"].get("enum", ())

    wait_for(lambda: offered() or None, what="the list of targets")
    ui.form(asking.deployment("reconcile"))
    ui.choose("environment", "local-docker")
    ui.choose("targets", TARGET)
    ui.choose("mode", "observe")
    picture(ui, "prefect-form")
    # The schedule makes runs meanwhile, too.
    (made,) = ui.submit(
        lambda: [run for run in asking.api.runs(asking.pool) if run["parameters"] == wanted]
    )
    assert asking.api.wait_for_end(made["id"])["state_type"] == "COMPLETED"


def test_an_approval_by_the_form_heals_and_the_run_page_tells_how(ui: Ui, asking: Asking) -> None:
    form = asking.form()
    ui.run(form["id"])
    ui.press("Resume")
    ui.sees("What is wrong")
    ui.choose("Decision", "approve")
    ui.write("Your Name", "Ann")
    ui.write("Reason", "it is drained")
    picture(ui, "prefect-approval")
    ui.submit(lambda: asking.api.run(form["id"])["state_type"] != "PAUSED")
    told = asking.api.wait_for_end(form["id"])["state"]["message"]
    assert "approved by Ann (prefect): it is drained" in told

    def healed() -> list[str]:
        runs = asking.api.runs(asking.pool, "COMPLETED")
        return [run["id"] for run in runs if run["name"] == "healed shop: start"]

    (run,) = wait_for(healed, what="the run that carries it out")
    ui.run(run)
    ui.sees("healed shop: start")
    ui.tab("Artifacts")
    ui.sees("uici-plan")
    artifacts = {each["key"]: each for each in asking.api.of_run("artifacts", run)}
    assert set(artifacts) == {"uici-report", "uici-drift", "uici-plan", "uici-progress"}
    assert artifacts["uici-progress"]["data"] == 100
    (step,) = json.loads(artifacts["uici-plan"]["data"])
    assert (step["operation"], step["target"], step["result"]) == ("start", TARGET, "succeeded")
    ui.artifact(artifacts["uici-report"]["id"])
    ui.sees("Timeline")
    ui.sees("intent committed")
    picture(ui, "prefect-report")
