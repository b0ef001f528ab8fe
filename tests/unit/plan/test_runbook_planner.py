from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from executors.translator import CommandTranslator
from flows.comparison.drift import Drift, Incident
from flows.plan import (
    Declined,
    Evidence,
    GitChange,
    PatternMatch,
    Phase,
    Plan,
    PlannerKind,
    RootCause,
)
from flows.planners.order import plan_incident
from flows.planners.runbook import RunbookPlanner, condition_holds
from flows.planners.tried import TriedPlans
from flows.reporting.status import Step, TriedPlan
from infrastructure.cause_kinds import CauseKind
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


def reason_of(given: Incident, asked: RunbookPlanner | None = None) -> str:
    """Why there is no plan."""
    declined = (asked or planner()).plan(given, Evidence())
    assert isinstance(declined, Declined)
    assert declined.planner is PlannerKind.RUNBOOK
    return declined.reason


def match(name: str, target: str = SHOP.target, subject: str = "") -> PatternMatch:
    """One of the shipped patterns, found."""
    known = next(each for each in shipped.runbooks().patterns if each.name == name)
    line = f"a line of {name}"
    return PatternMatch(name, target, known.cause, known.meaning, 3, line, subject)


def evidence_of(*patterns: str, target: str = SHOP.target) -> Evidence:
    """Evidence with these patterns found."""
    return Evidence(matches=tuple(match(name, target) for name in patterns))


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
        (
            [drift(K.CRASH_LOOPING), drift(K.UNHEALTHY)],
            "restart-crash-looping",
            [("restart", {"strategy": "graceful"})],
        ),
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
        evidence=evidence_of("out-of-memory"),
    )
    meaning = "Logs show out-of-memory: the process needs more memory than its limit."
    assert plan.evidence == (
        "Stopped: exited with code 137",
        "ConfigDrift /resources/memory: desired 256Mi, observed 64Mi",
        "AlertFiring ShopDown",
        meaning,
    )
    assert plan.diagnosis.endswith(meaning)
    why = "runbook apply-resources-and-start fits AlertFiring, ConfigDrift, Stopped"
    assert plan.planner_reason == why
    assert [step.operation for step in plan.steps] == ["set_resources", "start"]


def test_a_runbook_that_can_not_be_done_is_skipped_and_the_plan_says_so() -> None:
    able = ALL - {"create"}
    plan = planner(capabilities=lambda _: able).plan(
        incident(drift(K.MISSING), drift(K.UNHEALTHY)), Evidence()
    )
    assert isinstance(plan, Plan)
    assert plan.runbook == "restart-unhealthy"
    assert "create-missing skipped: local can't do create" in plan.planner_reason


def test_nothing_that_can_be_done_is_a_reason() -> None:
    reason = reason_of(incident(drift(K.MISSING)), planner(capabilities=lambda _: frozenset()))
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
    reason = reason_of(incident(drift(K.SCALE_DRIFT)), choosy)
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
    assert reason_of(given) == reason


def test_a_runbook_with_a_mistake_is_told_and_no_other_takes_its_place() -> None:
    def break_it(runbooks: list[dict[str, Any]]) -> None:
        runbooks[0]["steps"][0]["parameters"] = {"x": "{{ service.spec.typo }}"}

    reason = reason_of(
        incident(drift(K.MISSING), drift(K.UNHEALTHY)), planner(changed_runbooks(break_it))
    )
    assert reason.startswith("runbook create-missing can't be used: ")
    assert "service.spec.typo" in reason


def test_a_runbook_of_one_s_own_sees_drifts_and_patterns() -> None:
    def add(runbooks: list[dict[str, Any]]) -> None:
        runbooks.insert(
            0,
            {
                "name": "more-memory",
                "when": {"kinds": ["Stopped"], "patterns": ["disk-full", "out-of-memory"]},
                "diagnosis": "Too little memory.",
                "cause": "OutOfMemory",
                "suffices": False,
                "steps": [
                    {
                        "operation": "escalate_to_human",
                        "parameters": {"summary": "{{ drifts[0].message }}: {{ match.name }}"},
                        "why": "the limit is Git's",
                    }
                ],
            },
        )

    own = planner(changed_runbooks(add))
    stopped = incident(drift(K.STOPPED, message="{{ 7 * 7 }} bytes short"))
    with_pattern = own.plan(stopped, evidence_of("out-of-memory"))
    assert isinstance(with_pattern, Plan)
    # A drift's text is data: it is not a template.
    assert with_pattern.steps[0].parameters == {"summary": "{{ 7 * 7 }} bytes short: out-of-memory"}
    without = own.plan(stopped, Evidence())
    assert isinstance(without, Plan)
    assert without.runbook == "start-stopped"


def tried(*operations: str, target: str = SHOP.target) -> TriedPlans:
    """These were carried out in vain, one plan each, with all their defaults written out."""
    plans = tuple(
        TriedPlan(
            remedy="",
            planner="runbook",
            steps=(Step(operation=name, parameters=REGISTRY.validate(name, {})),),
            at=datetime(2026, 11, 22, tzinfo=UTC),
            result="r",
        )
        for name in operations
    )
    return TriedPlans({target: plans}, REGISTRY)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (K.STOPPED, ["start", "recreate"]),
        (K.UNHEALTHY, ["restart", "recreate"]),
        (K.CRASH_LOOPING, ["restart", "recreate"]),
        (K.METRIC_BREACH, ["restart", "recreate"]),
        (K.MISSING, ["create"]),
    ],
)
def test_what_did_not_help_is_followed_by_the_next_line_and_then_by_a_person(
    kind: DriftKind, lines: list[str]
) -> None:
    given = incident(drift(kind))
    for number, operation in enumerate(lines):
        asked = RunbookPlanner(
            shipped.runbooks(), SERVICES, lambda _: ALL, tried=tried(*lines[:number])
        )
        plan = asked.plan(given, Evidence())
        assert isinstance(plan, Plan)
        assert [step.operation for step in plan.steps] == [operation]
        for before in lines[:number]:
            assert f"skipped: {before} (runbook) did not help" in plan.planner_reason
    asked = RunbookPlanner(shipped.runbooks(), SERVICES, lambda _: ALL, tried=tried(*lines))
    assert f"skipped: {lines[-1]} (runbook) did not help" in reason_of(given, asked)


# ── what the target itself says ─────────────────────────────────────────────────

NO_RESTART_HELPS = [
    "out-of-memory",
    "port-in-use",
    "tls-failure",
    "dns-failure",
    "authentication-refused",
    "connection-refused",
    "permission-denied",
    "unknown-flag",
    "bad-configuration",
    "missing-file",
    "missing-secret",
    "disk-full",
    "image-unavailable",
    "crash",
]


@pytest.mark.parametrize("pattern", NO_RESTART_HELPS)
def test_a_crash_loop_that_no_restart_can_end_is_for_people(pattern: str) -> None:
    plan = planned(drift(K.CRASH_LOOPING), evidence=evidence_of(pattern))
    [step] = plan.steps
    known = match(pattern)
    assert step.operation == "escalate_to_human"
    assert known.meaning in step.parameters["summary"]
    assert known.line in step.parameters["summary"]
    assert plan.cause == RootCause(known.cause, SHOP.target)
    REGISTRY.validate(step.operation, step.parameters)


@pytest.mark.parametrize("pattern", ["disk-full", "image-unavailable", "missing-secret"])
def test_what_can_not_start_is_not_started(pattern: str) -> None:
    plan = planned(drift(K.STOPPED), evidence=evidence_of(pattern))
    assert [step.operation for step in plan.steps] == ["escalate_to_human"]


@pytest.mark.parametrize("kind", [K.STOPPED, K.UNHEALTHY])
def test_what_may_come_back_is_tried_once_and_then_people_are_told(kind: DriftKind) -> None:
    once = "start" if kind is K.STOPPED else "restart"
    first = planned(drift(kind), evidence=evidence_of("out-of-memory"))
    assert [step.operation for step in first.steps] == [once]
    assert first.cause == RootCause(CauseKind.OUT_OF_MEMORY, SHOP.target)
    asked = RunbookPlanner(shipped.runbooks(), SERVICES, lambda _: ALL, tried=tried(once))
    then = asked.plan(incident(drift(kind)), evidence_of("out-of-memory"))
    assert isinstance(then, Plan)
    assert [step.operation for step in then.steps] == ["escalate_to_human"]


def test_a_limit_that_is_not_git_s_is_set_before_anything_else_is_thought() -> None:
    less = drift(K.CONFIG_DRIFT, "/resources/memory", desired="256Mi", observed="64Mi")
    plan = planned(drift(K.CRASH_LOOPING), less, evidence=evidence_of("out-of-memory"))
    assert [step.operation for step in plan.steps] == ["set_resources"]


def test_what_another_target_logs_is_about_itself() -> None:
    plan = planned(drift(K.CRASH_LOOPING), evidence=evidence_of("disk-full", target=DB.target))
    assert plan.runbook == "restart-crash-looping"
    assert plan.cause == RootCause(CauseKind.CRASH, SHOP.target)


def test_what_git_and_engine_tell_is_not_talked_away_by_a_log() -> None:
    plan = planned(drift(K.CONFIG_DRIFT, "/image"), evidence=evidence_of("connection-refused"))
    assert plan.cause == RootCause(CauseKind.CHANGED_BY_HAND, SHOP.target)


def test_diagnosis_and_cause_tell_the_same_of_a_change_of_git() -> None:
    news = replace(evidence_of("connection-refused"), git_change=GitChange("abc", "ann", "more"))
    plan = planned(drift(K.CONFIG_DRIFT, "/image"), evidence=news)
    assert plan.cause == RootCause(CauseKind.CHANGED_IN_GIT, SHOP.target)
    assert plan.diagnosis.startswith("Git has changed")
    assert "(commit abc by ann: more)" in plan.diagnosis
    crash = planned(drift(K.CRASH_LOOPING), evidence=replace(news, matches=()))
    assert crash.cause == RootCause(CauseKind.CRASH, SHOP.target)
    assert "Git has changed" not in crash.diagnosis


@pytest.mark.parametrize(
    ("drifts", "where"),
    [
        ([drift(K.UNHEALTHY)], SHOP.target),
        ([drift(K.UNHEALTHY), drift(K.STOPPED, target=DB.target)], DB.target),
    ],
)
def test_the_cause_lies_in_the_dependency_that_the_line_names_if_it_is_down(
    drifts: list[Drift], where: str
) -> None:
    refused = Evidence(matches=(match("connection-refused", subject="db:5432"),))
    plan = planned(*drifts, evidence=refused)
    assert plan.cause == RootCause(CauseKind.DEPENDENCY_DOWN, where)
    assert {step.target for step in plan.steps} == {SHOP.target}


def test_a_metric_is_not_believed_against_a_probe_that_passes() -> None:
    probed = shipped.service("shop", health={"http": {"port": 8080, "path": "/health"}})
    asked = RunbookPlanner(shipped.runbooks(), {probed.target: probed}, lambda _: ALL)
    up = drift(K.METRIC_BREACH, "up")
    for drifts, operation in (([up], "escalate_to_human"), ([up, drift(K.UNHEALTHY)], "restart")):
        plan = asked.plan(incident(*drifts), Evidence())
        assert isinstance(plan, Plan)
        assert [step.operation for step in plan.steps] == [operation]


def test_a_long_line_still_fits_into_the_alert() -> None:
    known = match("bad-configuration")
    long = replace(known, line="x" * 5000, meaning="y" * 5000)
    plan = planned(drift(K.CRASH_LOOPING), evidence=Evidence(matches=(long,)))
    REGISTRY.validate(plan.steps[0].operation, plan.steps[0].parameters)


def test_what_was_tried_on_another_target_is_not_passed_over() -> None:
    asked = RunbookPlanner(
        shipped.runbooks(), SERVICES, lambda _: ALL, tried=tried("start", target=DB.target)
    )
    plan = asked.plan(incident(drift(K.STOPPED)), Evidence())
    assert isinstance(plan, Plan)
    assert plan.runbook == "start-stopped"


@pytest.mark.parametrize(
    ("drifts", "runbook"),
    [
        ([drift(K.MISSING)], "create-missing"),
        ([drift(K.CONFIG_DRIFT, "/resources/memory")], "apply-resources"),
        ([drift(K.MISSING), drift(K.UNHEALTHY, target=DB.target)], "create-missing"),
        ([drift(K.MISSING), drift(K.ALERT_FIRING, "ShopDown")], None),  # it names no alert
        ([drift(K.UNHEALTHY)], None),
        ([drift(K.ORPHAN)], None),
    ],
)
def test_a_runbook_suffices_if_it_says_so_and_names_every_kind(
    drifts: list[Drift], runbook: str | None
) -> None:
    enough = planner().sufficing(incident(*drifts), Evidence())
    assert (enough.runbook if enough else None) == runbook


def test_the_plan_records_cause_and_resolution() -> None:
    plan = planned(drift(K.MISSING))
    assert plan.cause is not None
    assert (plan.cause.kind, plan.cause.target) == (CauseKind.REMOVED, SHOP.target)
    assert [record.phase for record in plan.phases] == [Phase.ROOT_CAUSE, Phase.RESOLUTION]


def test_what_differs_in_secrets_alone_is_laid_to_nobody() -> None:
    """An engine keeps no history of values: rotated, wrong on this side, or changed there."""
    shop = shipped.service("shop", env={"KEY": {"secret": "env:KEY"}, "LEVEL": "info"})
    asked = RunbookPlanner(shipped.runbooks(), {shop.target: shop}, lambda _: ALL)
    own, other = drift(K.CONFIG_DRIFT, "/env/KEY"), drift(K.CONFIG_DRIFT, "/env/LEVEL")
    plan = asked.plan(incident(own), Evidence())
    assert isinstance(plan, Plan)
    assert plan.cause == RootCause(CauseKind.SECRET_DIFFERS, shop.target)
    assert "it is wrong where UICI runs" in plan.diagnosis
    assert [step.operation for step in plan.steps] == ["recreate"]
    both = asked.plan(incident(own, other), Evidence())
    assert isinstance(both, Plan)
    assert both.cause == RootCause(CauseKind.CHANGED_BY_HAND, shop.target)
    assert asked.sufficing(incident(own), Evidence()) is not None


def test_what_the_target_can_not_do_now_is_the_reason_that_people_read() -> None:
    def refusal(call: OperationCall) -> str | None:
        return "the secret env:KEY is not there" if call.operation == "create" else None

    hindered = RunbookPlanner(shipped.runbooks(), SERVICES, lambda _: ALL, refusal)
    plan = plan_incident(incident(drift(K.MISSING)), Evidence(), [hindered], None)
    why = "create can't be done now: the secret env:KEY is not there"
    assert plan.diagnosis == f"{why}."
    assert plan.steps[0].parameters["summary"] == f"local/shop: Missing; {why}"
    assert plan.planner_reason == "no planner has another plan"  # not the same once more
    assert plan.cause == RootCause(CauseKind.REMOVED, SHOP.target)


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
        ({"patterns": ["disk-full"]}, False),
        ({"patterns": ["disk-full", "out-of-memory"]}, True),
        ({"probed": True}, True),
        ({"probed": False}, False),
        ({"onlySecrets": True}, False),
        ({"onlySecrets": False}, True),
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
    assert condition_holds(when, drifts, frozenset({"out-of-memory"}), probed=True) is holds


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
    if isinstance(plan, Declined):
        assert plan.reason
        assert "\n" not in plan.reason
        return
    assert plan.steps
    assert {step.target for step in plan.steps} == {root}
    assert {step.operation for step in plan.steps} <= able
    written = TypeAdapter(Plan).dump_json(plan)
    read = TypeAdapter(Plan).validate_json(written)
    assert read == plan
    assert read.digest == plan.digest
