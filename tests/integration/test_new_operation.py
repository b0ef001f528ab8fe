"""An operation that nobody wrote code for: declared, translated and asked for in YAML alone.

It goes the whole way in two environments: a runbook or a model plans it, the guard judges it,
it runs, and the service is verified to have recovered.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line.operations import listing
from flows.command_line.validation import validate
from flows.plan import PlannerKind
from flows.report import IncidentResult, RunResult
from infrastructure.config_loader import DEFAULT_DIRECTORY
from infrastructure.observed import EngineHealth
from infrastructure.service import Service
from tests.contract.kubernetes_world import CHECKED
from tests.contract.world import unique
from tests.fakes.engine import FakeEngine
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import KEY, plan_answer, step
from tests.integration.three_places import CLUSTER, DOCKER, Places, three_places

IMAGES = ("loop:1", "loop:2")
WORD = "bounce"
OPERATION: Mapping[str, Any] = {
    "description": "End every instance and wait until its successor is healthy.",
    "risk": "low",
    "parameters": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"grace": {"type": "integer", "minimum": 0, "maximum": 60, "default": 3}},
    },
    "irreversible": True,
    "timeout": "60s",
    "effect": "restarted",
}
TRANSLATIONS: Mapping[str, Any] = {
    "docker": {
        WORD: [
            {
                "each": "instance",
                "do": [
                    {"call": "restart", "with": {"grace_seconds": "{{ parameters.grace }}"}},
                    {"call": "wait_healthy"},
                ],
            }
        ]
    },
    "kubernetes": {
        WORD: [
            {
                "call": "restart",
                "with": {"strategy": "force", "grace_seconds": "{{ parameters.grace }}"},
            },
            {"call": "wait_healthy"},
        ]
    },
}
RUNBOOK: Mapping[str, Any] = {
    "name": "bounce-unhealthy",
    "when": {"kinds": ["Unhealthy"]},
    "diagnosis": "Its health check fails.",
    "steps": [{"operation": WORD, "parameters": {"grace": 1}, "why": "a new start helps"}],
}


@contextlib.contextmanager
def taught(root: Path, risk: str = "low", **platform: Any) -> Iterator[Places]:
    """The shipped configuration and three pieces of YAML."""
    shipped = yaml.safe_load((DEFAULT_DIRECTORY / "runbooks.yml").read_text())["runbooks"]
    with three_places(
        root,
        "unix:///nowhere",
        IMAGES,
        only=(CLUSTER,),
        platform=platform,
        operations={"operations": {WORD: {**OPERATION, "risk": risk}}},
        command_translations={"translations": dict(TRANSLATIONS)},
        runbooks={"runbooks": [RUNBOOK, *shipped]},
    ) as places:
        yield places


def _running(places: Places, environment: str) -> Service:
    native = {"native": CHECKED} if environment == CLUSTER else {}
    service = places.declare(unique("op"), environment, image=IMAGES[0], **native)
    assert places.loop.run().result is RunResult.CONVERGED
    return service


def _make_sick(places: Places, service: Service) -> None:
    (instance,) = places.seen(service).instances
    if service.metadata.environment == CLUSTER:
        places.cluster.make_sick(instance.native.name)
    else:
        _engine(places).named(instance.native.name).health = EngineHealth.UNHEALTHY


def _engine(places: Places) -> FakeEngine:
    engine = places.executors[DOCKER]
    assert isinstance(engine, FakeEngine)
    return engine


@pytest.mark.parametrize("environment", [DOCKER, CLUSTER])
def test_a_runbook_asks_for_it_and_it_heals(tmp_path: Path, environment: str) -> None:
    with taught(tmp_path) as places:
        service = _running(places, environment)
        (before,) = places.seen(service).instances
        _make_sick(places, service)
        report = places.loop.run()
        assert report.result is RunResult.CONVERGED, report.incidents
        (told,) = report.incidents
        assert told.plan.runbook == RUNBOOK["name"]
        assert told.execution is not None
        assert [o.call.operation for o in told.execution.outcomes] == [WORD]
        assert told.verification is not None
        assert "effect" in {check.name for check in told.verification.checks}
        (after,) = places.seen(service).instances
        assert (after.native.id, after.started_at) != (before.native.id, before.started_at)
        assert after.health is not EngineHealth.UNHEALTHY


@pytest.mark.parametrize("environment", [DOCKER, CLUSTER])
def test_a_model_is_offered_it_and_its_plan_runs(tmp_path: Path, environment: str) -> None:
    with (
        ScriptedLlm(answer({})) as server,
        taught(tmp_path, llm=_llm(server)) as places,
    ):
        service = _running(places, environment)
        asked = len(server.requests)
        server.then(answer(plan_answer(step(WORD, service.target, grace=2))))
        _make_sick(places, service)
        (told,) = places.loop.run().incidents
        assert told.plan.planner is PlannerKind.LLM, told.plan.planner_reason
        assert told.result is IncidentResult.RECOVERED
        assert [dict(s.parameters) for s in told.plan.steps] == [{"grace": 2}]
        offered = json.dumps(server.requests[asked].body["response_format"])
        assert f'"{WORD}"' in offered
        assert "grace" in offered


@pytest.mark.parametrize("environment", [DOCKER, CLUSTER])
def test_the_guard_judges_it_by_its_declared_risk(tmp_path: Path, environment: str) -> None:
    with taught(tmp_path, risk="destructive") as places:
        service = _running(places, environment)
        (before,) = places.seen(service).instances
        _make_sick(places, service)
        report = places.loop.run()
        (told,) = report.incidents
        assert told.plan.runbook == RUNBOOK["name"]
        assert told.execution is not None
        assert told.execution.outcomes == ()
        assert told.result is IncidentResult.WAITING
        (after,) = places.seen(service).instances
        assert (after.native.id, after.started_at) == (before.native.id, before.started_at)


def test_the_command_line_shows_it_and_finds_nothing_wrong(tmp_path: Path) -> None:
    with taught(tmp_path) as places:
        places.declare("seen", CLUSTER, image=IMAGES[0])
        config = places.loop.config
        done = validate(places.loop.root / "work", config.directory)
        assert done.problems == ()
        (entry,) = (o for o in listing(config, None).data["operations"] if o["name"] == WORD)
        assert sorted(entry["environments"]) == [CLUSTER, DOCKER]
        for environment in (DOCKER, CLUSTER):
            data = listing(config, environment).data
            assert f'"{WORD}"' in json.dumps(data["modelSchema"])


def _llm(server: ScriptedLlm) -> dict[str, Any]:
    return {
        "baseUrl": server.base_url,
        "apiKey": KEY,
        "retry": {"attempts": 1, "backoff": {"initial": "10ms", "max": "10ms"}},
    }
