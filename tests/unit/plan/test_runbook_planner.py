from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from executors.translator import CommandTranslator
from flows.comparison.drift import Drift, Incident
from flows.plan import Evidence, Plan, PlannerKind
from flows.planners.runbook import RunbookPlanner, condition_holds
from infrastructure.config_models import RunbookCondition, Runbooks
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall
from tests.unit.operations import shipped

SHOP = shipped.service("shop", dependsOn=["db"], resources={"memory": "256Mi"}, replicas=2)
DB = shipped.service("db")
SERVICES = {service.target: service for service in (SHOP, DB)}
ALL = CommandTranslator(shipped.translations()).operations("docker")
REGISTRY = OperationRegistry(shipped.operations())


def drift(kind: DriftKind, field: str = "", target: str = SHOP.target, **texts: Any) -> Drift:
    return Drift(target=target, kind=kind, field=field, **texts)


def incident(*drifts: Drift, root: str = SHOP.target) -> Incident:
    targets = tuple(dict.fromkeys((root, *(one.target for one in drifts))))
    return Incident("f" * 16, "local", root, targets, drifts)


def planner(
    runbooks: Runbooks | None = None,
    capabilities: Callable[[str], frozenset[str]] = lambda _: ALL,
) -> RunbookPlanner:
    return RunbookPlanner(runbooks or shipped.runbooks(), SERVICES, capabilities)


def planned(*drifts: Drift, evidence: Evidence | None = None) -> Plan:
    plan = planner().plan(incident(*drifts), evidence or Evidence())
    assert isinstance(plan, Plan)
    return plan


def changed_runbooks(change: Callable[[list[dict[str, Any]]], Any]) -> Runbooks:
    """The shipped runbooks, edited."""
    document = shipped.document("runbooks.yml")
    change(document["runbooks"])
    return Runbooks.model_validate(document)


K = DriftKind


@pytest.mark.parametrize(
    ("drifts", "runbook", "steps"),
    [
        ([drift(K.MISSING)], "create-missing", [("create", {})]),
        (
            [drift(K.CONFIG_DRIFT, "/env/A"), drift(K.SCALE_DRIFT)],
            "apply-configuration-and-replicas",
            [("scale", {"replicas": 2}), ("recreate", {})],
        ),
        ([drift(K.STOPPED)], "start-stopped", [("start", {})]),
        ([drift(K.SCALE_DRIFT)], "restore-replicas", [("scale", {"replicas": 2})]),
        ([drift(K.UNHEALTHY)], "restart-unhealthy", [("restart", {"strategy": "graceful"})]),
        ([drift(K.CRASH_LOOPING)], "restart-unhealthy", [("restart", {"strategy": "graceful"})]),
        (
            [drift(K.METRIC_BREACH, "up")],
            "restart-on-breach",
            [("restart", {"strategy": "graceful"})],
        ),
        (
            # cpu is not declared: it is no parameter.
            [drift(K.CONFIG_DRIFT, "/resources/memory")],
            "apply-resources",
            [("set_resources", {"memory": "256Mi"})],
        ),
        ([drift(K.CONFIG_DRIFT, "/env/LOG_LEVEL")], "apply-configuration", [("recreate", {})]),
        (
            [drift(K.CONFIG_DRIFT, "/resources/memory"), drift(K.CONFIG_DRIFT, "/image")],
            "apply-configuration",
            [("recreate", {})],
        ),
        (
            [drift(K.ALERT_FIRING, "ShopDown")],
            "look-at-alert",
            [
                (
                    "escalate_to_human",
                    {"summary": "an alert fires on local/shop while the service looks healthy"},
                )
            ],
        ),
        # Several kinds on the root: the order of the file decides.
        (
            [drift(K.ALERT_FIRING, "ShopDown"), drift(K.METRIC_BREACH, "up"), drift(K.MISSING)],
            "create-missing",
            [("create", {})],
        ),
        (
            [drift(K.ALERT_FIRING, "ShopDown"), drift(K.METRIC_BREACH, "up")],
            "restart-on-breach",
            [("restart", {"strategy": "graceful"})],
        ),
    ],
)
def test_the_shipped_runbooks(
    drifts: list[Drift], runbook: str, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    plan = planned(*drifts)
    assert plan.runbook == runbook
    assert plan.planner is PlannerKind.RUNBOOK
    assert plan.confidence == 1.0
    assert [(step.operation, step.parameters) for step in plan.steps] == steps
    assert {step.target for step in plan.steps} == {SHOP.target}
    for step in plan.steps:
        REGISTRY.validate(step.operation, step.parameters)


def test_the_plan_says_what_it_rests_on() -> None:
    plan = planned(
        drift(K.STOPPED, message="exited with code 137"),
        drift(K.CONFIG_DRIFT, "/resources/memory", desired="256Mi", observed="64Mi"),
        drift(K.ALERT_FIRING, "ShopDown"),
        drift(K.UNHEALTHY, target=DB.target, message="of another target"),
        evidence=Evidence(patterns=("out-of-memory", "no-such-pattern")),
    )
    meaning = "Logs show out-of-memory: the process needs more memory than its limit."
    assert plan.evidence == (
        "Stopped: exited with code 137",
        "ConfigDrift /resources/memory: desired 256Mi, observed 64Mi",
        "AlertFiring ShopDown",
        meaning,
    )
    assert plan.diagnosis.endswith(meaning)
    assert plan.planner_reason == ("runbook apply-resources fits AlertFiring, ConfigDrift, Stopped")


def test_a_runbook_that_can_not_be_done_is_skipped_and_the_plan_says_so() -> None:
    able = ALL - {"create"}
    plan = planner(capabilities=lambda _: able).plan(
        incident(drift(K.MISSING), drift(K.UNHEALTHY)), Evidence()
    )
    assert isinstance(plan, Plan)
    assert plan.runbook == "restart-unhealthy"
    assert "create-missing skipped: local can't do create" in plan.planner_reason


def test_nothing_that_can_be_done_is_a_reason() -> None:
    reason = planner(capabilities=lambda _: frozenset()).plan(
        incident(drift(K.MISSING)), Evidence()
    )
    assert reason == (
        "no runbook fits Missing on local/shop; create-missing skipped: local can't do create"
    )


def test_a_runbook_that_the_target_can_not_do_is_skipped_with_the_target_s_reason() -> None:
    """The environment can scale, but not this one: a machine is no pool."""

    def refusal(call: OperationCall) -> str | None:
        return "not for a ComputeInstance" if call.operation in ("scale", "recreate") else None

    choosy = RunbookPlanner(shipped.runbooks(), SERVICES, lambda _: ALL, refusal)
    told = "local/shop can't do scale: not for a ComputeInstance"
    plan = choosy.plan(incident(drift(K.SCALE_DRIFT), drift(K.UNHEALTHY)), Evidence())
    assert isinstance(plan, Plan)
    assert plan.runbook == "restart-unhealthy"
    assert f"restore-replicas skipped: {told}" in plan.planner_reason
    reason = choosy.plan(incident(drift(K.SCALE_DRIFT)), Evidence())
    assert isinstance(reason, str)
    assert reason.endswith(f"restore-replicas skipped: {told}")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (incident(drift(K.ORPHAN)), "no runbook fits Orphan on local/shop"),
        (
            incident(drift(K.MISSING, target=DB.target)),
            "no runbook looks at local/shop: the drifts are of other targets",
        ),
        (incident(drift(K.MISSING), root="local/gone"), "local/gone is not in desired state"),
    ],
)
def test_without_a_plan_there_is_a_reason(given: Incident, reason: str) -> None:
    assert planner().plan(given, Evidence()) == reason


def test_a_runbook_with_a_mistake_is_told_and_no_other_takes_its_place() -> None:
    def break_it(runbooks: list[dict[str, Any]]) -> None:
        runbooks[0]["steps"][0]["parameters"] = {"x": "{{ service.spec.typo }}"}

    reason = planner(changed_runbooks(break_it)).plan(
        incident(drift(K.MISSING), drift(K.UNHEALTHY)), Evidence()
    )
    assert isinstance(reason, str)
    assert reason.startswith("runbook create-missing can't be used: ")
    assert "service.spec.typo" in reason


def test_a_runbook_of_one_s_own_sees_drifts_and_patterns() -> None:
    def add(runbooks: list[dict[str, Any]]) -> None:
        runbooks.insert(
            0,
            {
                "name": "more-memory",
                "when": {"kinds": ["Stopped"], "pattern": "out-of-memory"},
                "diagnosis": "Too little memory.",
                "steps": [
                    {
                        "operation": "escalate_to_human",
                        "parameters": {"summary": "{{ drifts[0].message }} on {{ target }}"},
                        "why": "the limit is Git's",
                    }
                ],
            },
        )

    own = planner(changed_runbooks(add))
    stopped = incident(drift(K.STOPPED, message="{{ 7 * 7 }} bytes short"))
    with_pattern = own.plan(stopped, Evidence(patterns=("out-of-memory",)))
    assert isinstance(with_pattern, Plan)
    # A drift's text is data: it is not a template.
    assert with_pattern.steps[0].parameters == {"summary": "{{ 7 * 7 }} bytes short on local/shop"}
    without = own.plan(stopped, Evidence())
    assert isinstance(without, Plan)
    assert without.runbook == "start-stopped"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"kinds": ["Missing"]}, False),
        ({"kinds": ["Missing", "ConfigDrift"]}, True),
        ({"onlyKinds": ["ConfigDrift"]}, False),
        ({"allKinds": ["ConfigDrift", "Missing"]}, False),
        ({"allKinds": ["ConfigDrift"]}, True),
        ({"onlyKinds": ["ConfigDrift", "AlertFiring", "Missing"]}, True),
        ({"fields": ["image"]}, False),
        ({"fields": ["image", "env"]}, True),
        ({"onlyFields": ["env"]}, False),
        ({"onlyFields": ["env", "resources", "a/b"]}, True),
        ({"pattern": "disk-full"}, False),
        ({"pattern": "out-of-memory"}, True),
        ({"kinds": ["AlertFiring"], "fields": ["image"]}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    drifts = [
        drift(K.CONFIG_DRIFT, "/env/LOG_LEVEL"),
        drift(K.CONFIG_DRIFT, "/resources/memory"),
        drift(K.CONFIG_DRIFT, "/a~1b/c"),
        drift(K.ALERT_FIRING, "/image"),  # an alert's name, not a field
    ]
    when = RunbookCondition.model_validate(condition)
    assert condition_holds(when, drifts, ("out-of-memory",)) is holds


DRIFTS = st.lists(
    st.builds(
        Drift,
        target=st.sampled_from([SHOP.target, DB.target, "local/other"]),
        kind=st.sampled_from(list(DriftKind)),
        field=st.sampled_from(["", "/image", "/resources/memory", "/env/A", "up"]),
        desired=st.text(max_size=9),
        observed=st.text(max_size=9),
        message=st.text(max_size=9),
    ),
    min_size=1,
    max_size=5,
)


@given(
    drifts=DRIFTS,
    root=st.sampled_from([SHOP.target, DB.target]),
    able=st.frozensets(st.sampled_from(sorted(ALL))),
)
def test_a_plan_acts_on_the_root_only_with_what_can_be_done_and_round_trips(
    drifts: list[Drift], root: str, able: frozenset[str]
) -> None:
    plan = planner(capabilities=lambda _: able).plan(incident(*drifts, root=root), Evidence())
    if isinstance(plan, str):
        assert plan
        assert "\n" not in plan
        return
    assert plan.steps
    assert {step.target for step in plan.steps} == {root}
    assert {step.operation for step in plan.steps} <= able
    written = TypeAdapter(Plan).dump_json(plan)
    read = TypeAdapter(Plan).validate_json(written)
    assert read == plan
    assert read.digest == plan.digest
