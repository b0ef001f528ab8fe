"""What a run looks like in Prefect, however it ends. Runs are started by hand."""

from __future__ import annotations

import json

import pytest

from tests.fakes.run_reports import SECRET, TARGET
from tests.integration.prefect.service import Service, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_a_quiet_run_leaves_a_name_and_one_line_and_nothing_else(service: Service) -> None:
    run = service.run("quiet")

    assert run["state_type"] == "COMPLETED"
    assert run["state_name"] == "Completed"
    assert run["name"] == "in sync · 12 targets"
    assert service.api.of_run("artifacts", run["id"]) == []
    assert service.api.of_run("task_runs", run["id"]) == []
    lines = [line["message"] for line in service.api.all_logs(run["id"]) if line["name"] == "uici"]
    assert len([line for line in lines if line.startswith("run_finished ")]) == 1


def test_a_healing_run_shows_its_incident_report_and_drift(service: Service) -> None:
    run = service.run("heal")

    assert run["name"] == "healed market-predictor: start"
    assert run["state"]["message"] == "healed market-predictor: start"
    artifacts = {a["key"]: a for a in service.api.of_run("artifacts", run["id"])}
    assert artifacts["uici-report"]["type"] == "markdown"
    assert artifacts["uici-drift"]["type"] == "table"
    assert artifacts["uici-plan"]["type"] == "table"
    assert (artifacts["uici-progress"]["type"], artifacts["uici-progress"]["data"]) == (
        "progress",
        100,
    )
    (row,) = json.loads(artifacts["uici-drift"]["data"])
    assert (row["target"], row["kind"], row["result"]) == (TARGET, "Stopped", "recovered")
    (task,) = service.api.of_run("task_runs", run["id"])
    assert task["name"] == f"{TARGET}: Stopped"
    assert (task["state_type"], task["state_name"]) == ("COMPLETED", "Recovered")
    lines = [line["message"] for line in service.api.all_logs(run["id"]) if line["task_run_id"]]
    assert any(line.startswith("operation_finished ") for line in lines)


def test_a_healing_run_emits_events_about_its_target(service: Service) -> None:
    service.run("quiet")  # so that the drift is new
    run = service.run("heal")

    events = wait_for(
        lambda: found if len(found := service.api.events(run["id"])) >= 3 else None, what="events"
    )
    assert {event["event"] for event in events} == {
        "uici.drift.detected",
        "uici.operation.executed",
        "uici.target.recovered",
    }
    resources = {event["resource"]["prefect.resource.id"] for event in events}
    assert resources == {"uici.target.local-docker.market-predictor"}


def test_no_secret_reaches_prefect(service: Service) -> None:
    service.run("quiet")
    run = service.run("heal")

    wait_for(lambda: service.api.events(run["id"]), what="events")
    everything = repr(
        [
            service.api.run(run["id"]),
            service.api.of_run("artifacts", run["id"]),
            service.api.of_run("task_runs", run["id"]),
            service.api.all_logs(run["id"]),
            service.api.events(run["id"]),
        ]
    )
    assert "the process has ended" in everything
    assert SECRET not in everything
    assert SECRET not in service.log()


def test_drift_that_waits_for_a_person_is_no_failure(service: Service) -> None:
    run = service.run("wait")

    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed")
    assert run["name"] == "waiting: market-predictor needs approval"
    (task,) = service.api.of_run("task_runs", run["id"])
    assert task["state_name"] == "Waiting"


def test_an_unchanged_escalation_is_told_once(service: Service) -> None:
    service.run("quiet")
    first = service.run("escalate")
    wait_for(
        lambda: (
            {"uici.drift.detected", "uici.escalated"}
            <= {event["event"] for event in service.api.events(first["id"])}
        ),
        what="the escalation",
    )
    again = service.run("escalate")
    healed = service.run("heal")  # its events come after those of the run before it

    wait_for(lambda: service.api.events(healed["id"]), what="events of the later run")
    assert service.api.events(again["id"]) == []


def test_an_error_fails_the_run_with_one_clear_message(service: Service) -> None:
    run = service.run("fail")

    assert run["state_type"] == "FAILED"
    message = "the state repository is gone: set git.remote in platform.yml"
    assert run["state"]["message"] == message
    assert run["name"] == f"error: {message}"
    assert "Traceback" not in repr(service.api.logs(run["id"]))


def test_a_report_of_an_error_fails_the_run(service: Service) -> None:
    run = service.run("error")

    assert run["state_type"] == "FAILED"
    assert run["name"] == "error: Git can't be read"


def test_a_crash_in_the_loop_ends_its_run_and_not_the_worker(service: Service) -> None:
    run = service.run("crash")

    assert run["state_type"] == "FAILED"
    assert "a mistake in UICI (KeyError)" in run["state"]["message"]
    assert service.run("quiet")["state_type"] == "COMPLETED"


def test_a_run_can_be_cancelled_between_operations(service: Service) -> None:
    run_id = service.trigger("step")
    wait_for(lambda: run_id in service.notes("begin"), what="the run")
    wait_for(lambda: service.api.of_run("task_runs", run_id), what="its task run")

    service.api.post(
        f"/flow_runs/{run_id}/set_state", state={"type": "CANCELLING", "name": "Cancelling"}
    )

    run = service.api.wait_for_end(run_id, timeout=20)
    assert run["state_type"] == "CANCELLED"
    assert "the next run looks again" in run["state"]["message"]
    (task,) = service.api.of_run("task_runs", run_id)
    assert task["state_type"] == "CRASHED"
    assert service.run("quiet")["state_type"] == "COMPLETED"


def test_the_form_has_a_choice_for_mode_and_lists_for_the_rest(service: Service) -> None:
    (deployment,) = service.api.deployments(service.pool)
    schema = deployment["parameter_openapi_schema"]

    assert schema["properties"]["mode"]["enum"] == ["observe", "propose", "enforce"]
    assert {"environment", "targets", "mode"} == set(schema["properties"])
    assert all(field["description"] for field in schema["properties"].values())
    assert schema["properties"]["targets"]["type"] == "array"


def test_parameters_reach_the_run_and_wrong_ones_are_refused(service: Service) -> None:
    run = service.run("quiet", mode="observe", targets=[TARGET])

    (line,) = [
        line
        for line in (service.data / "runs").read_text().splitlines()
        if line.startswith("begin") and run["id"] in line
    ]
    assert line.endswith("observe")
    (deployment,) = service.api.deployments(service.pool)
    path = f"/deployments/{deployment['id']}/create_flow_run"
    refused = service.api.try_post(path, parameters={"mode": "destroy"})
    assert refused.status_code == 409
