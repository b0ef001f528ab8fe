"""Every rule denies something, and what is denied calls no engine. Rules only ever deny more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from flows.comparison.drift import Incident
from flows.execute import execute, runnable
from flows.guard import (
    PASSING_RULES,
    Decision,
    GuardDeniedError,
    GuardInput,
    Verdict,
    judge,
    waits_for,
)
from flows.guarding.rules import CHANGE_RULES, IDENTITY_RULES
from flows.listener import NullListener
from flows.plan import PlannerKind, PlanStep
from infrastructure.config_models import EnvironmentBlastRadius, Operation
from infrastructure.observed import NativeObject
from infrastructure.operations import OperationOutcome, OutcomeStatus, Risk
from infrastructure.service import Mode, Overrun
from tests.builders import ENVIRONMENT, NOW, service
from tests.unit.guard.policies import (
    FROZEN,
    LIMITED,
    OPEN_ALL_DAY,
    OTHER,
    RADIUS,
    REGISTRY,
    SERVICE,
    RecordingEngine,
    ago,
    attempts,
    guarded,
    incident,
    plan,
    rules,
    step,
    window,
    with_policy,
)

ABOUT = incident(SERVICE.target)


@dataclass(frozen=True)
class Case:
    rule: str
    given: GuardInput
    steps: tuple[PlanStep, ...]
    about: Incident = ABOUT
    planner: PlannerKind = PlannerKind.RUNBOOK
    decision: Decision = Decision.DENIED


def case(rule: str, *steps: PlanStep, given: GuardInput | None = None, **more: Any) -> Case:
    return Case(rule, given or rules(), steps or (step(),), **more)


UNKNOWN = "local-docker/unknown"
CASES = (
    case("in-desired-state", step(target=UNKNOWN), about=incident(SERVICE.target, UNKNOWN)),
    case("in-desired-state", step("prune")),  # Git declares it
    case("in-desired-state", step("start"), given=rules(orphans={SERVICE.target: None})),
    case("in-incident", step(target=OTHER.target), given=rules(SERVICE, OTHER)),
    case(
        "self-exclusion",
        step("restart"),
        given=rules(natives={SERVICE.target: (NativeObject("container", "a" * 64, "x"),)}),
    ),
    case("capability", step("format_disk")),
    case("schema", step("scale", replicas="two")),
    case("paused", given=rules(paused={ENVIRONMENT: "paused by ann: a release"})),
    case("unknown-identity", given=rules(blind={ENVIRONMENT: "in some container"})),
    case("prune", step("prune"), given=rules(orphans={SERVICE.target: "too many have left"})),
    case("breaker", given=rules(breaker={ENVIRONMENT: "everything is down"})),
    case("held", given=rules(held={SERVICE.target: "suspended"})),
    case("mode", given=rules(policy=with_policy(mode=Mode.PROPOSE))),
    case("confidence", given=rules(min_confidence=1.1), planner=PlannerKind.LLM),
    case("freeze", given=rules(policy=with_policy(freezes=(FROZEN,)))),
    # NOW is 12:00 UTC.
    case("window", given=rules(policy=with_policy(window=(window("13:00", "14:00"),)))),
    case("window", given=rules(policy=with_policy(window=(window("11:00", "12:00"),)))),
    # start may take 60 s: it is begun at the latest a minute before the window's end.
    case(
        "window",
        step("restart"),
        given=rules(policy=with_policy(window=(window("11:00", "12:01"),))),
    ),
    case("attempts", given=rules(attempts={SERVICE.target: attempts(3, ago=86400)})),
    case("attempts", given=rules(attempts={SERVICE.target: attempts(1, ago=10)})),
    case("attempts", given=rules(policy=with_policy(max_attempts=0))),
    case(
        "cool-down",
        given=rules(
            policy=with_policy(cool_down=timedelta(minutes=5)),
            acted={SERVICE.target: (ago(20), ago(4))},
        ),
    ),
    case(  # an attempt that died before it could tell what it had done
        "cool-down",
        given=rules(
            policy=with_policy(cool_down=timedelta(minutes=5)),
            acted={SERVICE.target: (ago(4, ""),)},
        ),
    ),
    case("blast-radius", given=rules(used_targets=frozenset("abcde"))),
    case("blast-radius", given=rules(used_steps=9)),
    case(
        "blast-radius",
        given=rules(
            blast_radius=RADIUS.model_copy(update={"targets_per_hour": 2}),
            acted={"x/a": (ago(30),), "x/b": (ago(59),), "x/c": (ago(61),)},
        ),
    ),
    case(
        "blast-radius",
        given=rules(
            blast_radius=RADIUS.model_copy(update={"steps_per_hour": 3}),
            acted={"x/a": (ago(3), ago(2)), "x/b": (ago(1, "gone_operation"),)},
        ),
    ),
    case(
        "blast-radius",
        given=rules(
            environment_blast={ENVIRONMENT: EnvironmentBlastRadius(targets_per_run=1)},
            used_targets=frozenset({f"{ENVIRONMENT}/a"}),
        ),
    ),
    case(
        "blast-radius",
        given=rules(
            environment_blast={ENVIRONMENT: EnvironmentBlastRadius(steps_per_run=2)},
            used_steps_in={ENVIRONMENT: 2},
        ),
    ),
    case(
        "blast-radius",
        given=rules(
            environment_blast={ENVIRONMENT: EnvironmentBlastRadius(targets_per_hour=1)},
            acted={f"{ENVIRONMENT}/a": (ago(30),)},
        ),
    ),
    case(
        "replica-share",
        step("restart", strategy="graceful"),
        given=rules(policy=with_policy(replica_share=0.5)),
    ),
    case("replica-share", step("restart"), given=rules(policy=with_policy(replica_share=0.9))),
    case(
        "reaches-agent",
        step("execute_command", argv=["true"]),
        given=rules(engine_access={SERVICE.target: "/var/run/docker.sock"}),
    ),
    case("reaches-agent", step("execute_command", argv=["kill", "devops-ai-agent"])),
    case("reaches-agent", step("execute_command", argv=["curl", "http://prefect-server:4200"])),
    case("reaches-agent", step("execute_command", argv=["docker", "rm", "a" * 12])),
    case("desired-state-bounds", step("stop")),
    case("desired-state-bounds", step("pause")),
    case("desired-state-bounds", step("scale", replicas=0)),
    case("desired-state-bounds", step("scale", replicas=1)),
    case("desired-state-bounds", step("scale", replicas=3)),
    case("desired-state-bounds", step("scale", replicas=5), given=rules(LIMITED)),
    case("desired-state-bounds", step("scale", replicas=1), given=rules(LIMITED)),
    case("desired-state-bounds", step("set_resources", memory="2Gi"), given=rules(LIMITED)),
    case("desired-state-bounds", step("set_resources", memory="128Mi"), given=rules(LIMITED)),
    case("desired-state-bounds", step("set_resources", cpu="3"), given=rules(LIMITED)),
    case("desired-state-bounds", step("set_image", image="evil:1")),
    case("desired-state-bounds", step("rollback_service")),
    case(
        "risk",
        step("recreate"),
        given=rules(policy=with_policy(allow_up_to=Risk.LOW, approve_up_to=Risk.LOW)),
    ),
    case(
        "risk",
        step("recreate"),
        given=rules(policy=with_policy(allow_up_to=Risk.LOW)),
        decision=Decision.NEEDS_APPROVAL,
    ),
    case(
        "always-approve",
        given=rules(always_approve=frozenset({"start"})),
        decision=Decision.NEEDS_APPROVAL,
    ),
)


def test_every_rule_has_a_case() -> None:
    known = {name for name, _ in (*IDENTITY_RULES, *CHANGE_RULES)}
    tested = {each.rule for each in CASES}
    assert tested == known | {"risk", "always-approve"}
    assert known >= PASSING_RULES


@pytest.mark.parametrize("one", CASES, ids=[f"{n}-{c.rule}" for n, c in enumerate(CASES)])
def test_what_a_rule_stops_calls_no_engine(one: Case) -> None:
    told = replace(plan(*one.steps), planner=one.planner)
    verdicts = judge(told, one.about, one.given)
    assert [(v.decision, v.rule) for v in verdicts] == [(one.decision, one.rule)], verdicts
    assert verdicts[0].reason
    engine = RecordingEngine()
    steps = runnable(verdicts)
    execute(
        one.about,
        steps,
        guarded(engine),
        listener=NullListener(),
        now=lambda: NOW,
        deadline=NOW + timedelta(minutes=5),
    )
    with pytest.raises(GuardDeniedError):
        guarded(engine).run(verdicts[0], deadline=None)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("one", "given_rules"),
    [
        (step(), rules(policy=with_policy(window=(OPEN_ALL_DAY,), cool_down=timedelta(minutes=5)))),
        # Another operation, and one that is long ago.
        (
            step(),
            rules(
                policy=with_policy(cool_down=timedelta(minutes=5)),
                acted={SERVICE.target: (ago(1, "restart"), ago(5))},
            ),
        ),
        # Reads were made, and changes elsewhere.
        (
            step(),
            rules(
                blast_radius=RADIUS.model_copy(update={"targets_per_hour": 1}),
                acted={"x/a": (ago(1, "get_logs"),)},
            ),
        ),
        (
            step(),
            rules(
                environment_blast={ENVIRONMENT: EnvironmentBlastRadius(targets_per_hour=1)},
                acted={"elsewhere/a": (ago(1),)},
            ),
        ),
        # The same target again is no further one.
        (
            step(),
            rules(
                blast_radius=RADIUS.model_copy(update={"targets_per_hour": 1}),
                acted={SERVICE.target: (ago(1),)},
            ),
        ),
        (step("restart", strategy="rolling"), rules(policy=with_policy(replica_share=0.5))),
        (step("restart"), rules(service(replicas=1), policy=with_policy(replica_share=0.5))),
        # No other way exists on this target.
        (
            step("restart"),
            rules(
                policy=with_policy(replica_share=0.5),
                refusal=lambda call: "no" if call.parameters.get("strategy") == "rolling" else None,
            ),
        ),
        (step("scale", replicas=4), rules(LIMITED)),
        (step("scale", replicas=3), rules(LIMITED)),
        (step("set_resources", memory="1Gi", cpu="1500m"), rules(LIMITED)),
    ],
)
def test_what_no_rule_stops_is_allowed(one: PlanStep, given_rules: GuardInput) -> None:
    verdict = judge(plan(one), incident(SERVICE.target), given_rules)[0]
    assert verdict.decision is Decision.ALLOWED, verdict


def test_limits_are_for_what_git_declares_only() -> None:
    """No number of replicas above none, and no limit above what is not declared."""
    off = service(replicas=0, remediation={"limits": {"replicas": {"max": 3}}})
    undeclared = service(remediation={"limits": {"memory": {"max": "1Gi"}}})
    for wanted, one in (
        (off, step("scale", replicas=1)),
        (undeclared, step("set_resources", memory="512Mi")),
    ):
        verdict = judge(plan(one), incident(SERVICE.target), rules(wanted))[0]
        assert verdict.rule == "desired-state-bounds"


def test_an_operation_that_scales_without_bounds_is_denied() -> None:
    """Added by YAML alone, and its author forgot to bind the number."""

    class Catalogue:
        def get(self, name: str) -> Operation:  # noqa: ARG002 - the protocol's
            return REGISTRY.get("scale").model_copy(update={"bounds": {}})

        def validate(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
            return dict(parameters)

    verdict = judge(
        plan(step("scale", replicas=2)), incident(SERVICE.target), rules(catalogue=Catalogue())
    )[0]
    assert verdict.rule == "desired-state-bounds"
    assert "nothing binds" in verdict.reason


# ── the edge of a window ────────────────────────────────────────────────────────


def edge(closes_in: timedelta, overrun: Overrun, now: datetime = NOW) -> tuple[Verdict, ...]:
    end = (NOW + closes_in).strftime("%H:%M")
    policy = with_policy(window=(window("11:00", end),), overrun=overrun)
    return judge(plan(step(), step()), incident(SERVICE.target), rules(policy=policy, now=now))


def test_stop_begins_nothing_that_may_not_end_in_time() -> None:
    """`start` may take 60 s: two of them need two minutes."""
    assert all(v.decision is Decision.ALLOWED for v in edge(timedelta(minutes=2), Overrun.STOP))
    late = edge(timedelta(minutes=2), Overrun.STOP, now=NOW + timedelta(seconds=1))
    assert late[-1].rule == "window"
    assert runnable(late) == ()  # a plan is one thing
    first, second = edge(timedelta(minutes=2), Overrun.STOP)
    assert first.begin_by == second.begin_by == NOW + timedelta(minutes=1)


def test_finish_lets_a_plan_that_has_begun_go_on() -> None:
    first, second = edge(timedelta(minutes=1), Overrun.FINISH)
    assert (first.begin_by, second.begin_by) == (NOW + timedelta(minutes=1), None)


def test_a_step_whose_time_has_passed_is_skipped_with_no_call() -> None:
    engine = RecordingEngine()
    first, second = edge(timedelta(minutes=2), Overrun.STOP)
    late = guarded(engine, now=NOW + timedelta(minutes=1, seconds=1))
    outcome = late.run(second, deadline=None)
    assert outcome.status is OutcomeStatus.SKIPPED
    assert "window" in outcome.error
    assert engine.calls == []
    assert guarded(engine).run(first, deadline=None).status is OutcomeStatus.SUCCEEDED


def test_a_pause_that_comes_meanwhile_stops_at_the_next_step() -> None:
    engine = RecordingEngine()
    verdicts = judge(plan(step(), step(), step("get_status")), incident(SERVICE.target), rules())
    paused: dict[str, str] = {}

    class Watched(NullListener):
        def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:  # noqa: ARG002 - the protocol's
            paused[ENVIRONMENT] = "paused by ann: a release"

    done = execute(
        incident(SERVICE.target),
        verdicts,
        guarded(engine, paused=paused.get),
        listener=Watched(),
        now=lambda: NOW,
        deadline=NOW + timedelta(minutes=5),
    )
    assert [o.status.value for o in done.outcomes] == ["succeeded", "skipped", "skipped"]
    assert done.outcomes[1].error == "paused by ann: a release"
    assert len(engine.calls) == 1
    # What changes nothing goes on.
    assert guarded(engine, paused=paused.get).run(verdicts[2], deadline=None).output is None
    assert [c.operation for c in engine.calls] == ["start", "get_status"]


@pytest.mark.parametrize(
    ("given_rules", "told"),
    [
        (rules(), None),
        (rules(paused={ENVIRONMENT: "paused: x"}), "paused"),
        (rules(policy=with_policy(freezes=(FROZEN,))), "end of year"),
        (rules(policy=with_policy(window=(window("13:00", "14:00"),))), "2026-11-22T13:00Z"),
        (rules(attempts={SERVICE.target: attempts(1, ago=10)}), "backing off"),
        # People are told of these, once: they do not pass.
        (rules(attempts={SERVICE.target: attempts(3, ago=10)}), None),
    ],
)
def test_what_time_alone_ends_needs_no_plan(given_rules: GuardInput, told: str | None) -> None:
    policy = given_rules.policies[SERVICE.target]
    reason = waits_for(SERVICE, policy, given_rules)
    assert reason is None if told is None else reason is not None and told in reason
