"""The schedule, the concurrency limit, and what a restart finds."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.integration.prefect.service import Service, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_the_schedule_produces_runs_that_run(new_service: Callable[..., Service]) -> None:
    service = new_service(interval="2s").start().started()

    done = wait_for(
        lambda: runs if len(runs := service.api.runs(service.pool, "COMPLETED")) >= 3 else None,
        what="three scheduled runs",
    )
    assert all(run["auto_scheduled"] for run in done)
    assert [run["id"] for run in done[:3]] == service.notes("end")[:3]


def test_runs_never_overlap(new_service: Callable[..., Service]) -> None:
    service = new_service(interval="1s")
    service.behave("slow 2.5")
    service.start().started()

    wait_for(lambda: len(service.notes("end")) >= 3, what="three runs")
    lines = [line.split()[0] for line in (service.data / "runs").read_text().splitlines()]
    assert lines[:6] == ["begin", "end"] * 3
    cancelled = service.api.runs(service.pool, "CANCELLED")
    assert cancelled
    assert {run["id"] for run in cancelled}.isdisjoint(service.notes("begin"))


def test_after_kill_9_nothing_is_left_running_and_nothing_is_there_twice(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(interval="2s")
    service.behave("hang")
    service.start().started()
    wait_for(lambda: service.notes("begin"), what="a run")
    lost = service.notes("begin")[0]
    wait_for(lambda: service.api.run(lost)["state_type"] == "RUNNING", what="its state")
    service.end(signal.SIGKILL)

    service.behave("quiet")
    service.start(interval="3s").started()

    run = service.api.wait_for_end(lost)
    assert (run["state_type"], run["state"]["message"]) == (
        "CRASHED",
        "its worker ended before the run did",
    )
    wait_for(lambda: service.api.runs(service.pool, "COMPLETED"), timeout=20, what="a new run")
    (deployment,) = service.api.deployments(service.pool)
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"]["interval"] == 3.0


def test_a_schedule_that_a_person_paused_stays_paused(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(interval="1d").start().started()
    (deployment,) = service.api.deployments(service.pool)
    (schedule,) = deployment["schedules"]
    service.api.patch(f"/deployments/{deployment['id']}/schedules/{schedule['id']}", active=False)
    service.end()

    service.start().started()  # nothing changed
    service.end()
    service.start(interval="12h").started()  # something did

    (deployment,) = service.api.deployments(service.pool)
    (schedule,) = deployment["schedules"]
    assert (schedule["active"], schedule["schedule"]["interval"]) == (False, 43200.0)


def test_a_renamed_deployment_retires_the_old_one(new_service: Callable[..., Service]) -> None:
    service = new_service(interval="1d").start().started()
    service.end()

    service.start(deployment=f"renamed-{service.pool}").started()

    paused = {d["name"]: d["paused"] for d in service.api.deployments(service.pool)}
    assert paused == {f"reconcile-{service.pool}": True, f"renamed-{service.pool}": False}


def test_a_run_is_given_time_to_end(new_service: Callable[..., Service]) -> None:
    service = new_service(interval="1d").start().started()
    run_id = service.trigger("slow 2")
    wait_for(lambda: service.notes("begin"), what="the run")

    seconds = service.end()

    assert seconds < 10
    assert service.process.returncode == 0
    assert service.notes("end") == [run_id]
    assert service.api.run(run_id)["state_type"] == "COMPLETED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_hangs_does_not_keep_the_process(
    new_service: Callable[..., Service], number: signal.Signals
) -> None:
    service = new_service(interval="1d").start().started()
    run_id = service.trigger("hang")
    wait_for(lambda: service.notes("begin"), what="the run")

    seconds = service.end(number)

    assert seconds < 10
    assert service.process.returncode == 0
    assert service.api.wait_for_end(run_id)["state_type"] == "CRASHED"
