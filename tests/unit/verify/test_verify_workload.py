"""A service that is rolled out has recovered when the last change is everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.observe import Observation
from flows.verify import VerificationResult
from infrastructure.observed import (
    NativeObject,
    ObservedInstance,
    ObservedService,
    Workload,
)
from infrastructure.service import Service
from tests.builders import instance_of, observation, service
from tests.unit.verify.test_verify import outcome

WEB = service("web", replicas=2)
SCALED_BY_OTHERS = service("web", replicas=2, ignoreDifferences=["/replicas"])


def kept(wanted: Service = WEB) -> Workload:
    native = NativeObject("Deployment", "d" * 36, "web")
    return Workload(native, replicas=2, spec=instance_of(wanted).spec)


def look(workload: Workload, *instances: ObservedInstance, wanted: Service = WEB) -> Observation:
    return observation([ObservedService(wanted.target, instances, workload)])


BOTH = (instance_of(WEB, 0), instance_of(WEB, 1))


def test_it_waits_for_the_roll_out() -> None:
    under_way = look(replace(kept(), settled=False), *BOTH)
    result = outcome(WEB, [under_way, under_way, look(kept(), *BOTH)])
    assert result.result is VerificationResult.RECOVERED
    assert result.seconds == pytest.approx(5.0)  # two looks in vain, three seconds stable


@pytest.mark.parametrize(
    "seen",
    [
        look(replace(kept(), settled=False, reason="ProgressDeadlineExceeded"), *BOTH),
        look(kept(), BOTH[0]),
        look(replace(kept(), replicas=3), *BOTH),
        look(replace(kept(), spec=replace(kept().spec, image="web:0")), *BOTH),
        look(replace(kept(), replicas=0)),
    ],
)
def test_what_is_not_as_declared_has_not_recovered(seen: Observation) -> None:
    assert outcome(WEB, [seen]).result is VerificationResult.NOT_RECOVERED


def test_where_an_autoscaler_decides_its_number_counts() -> None:
    three = (*BOTH, replace(instance_of(WEB, 1), native=NativeObject("pod", "c" * 36, "web-3")))
    scaled = replace(kept(SCALED_BY_OTHERS), replicas=3)
    all_up = look(scaled, *three, wanted=SCALED_BY_OTHERS)
    assert outcome(SCALED_BY_OTHERS, [all_up]).result is VerificationResult.RECOVERED
    too_few = look(scaled, *BOTH, wanted=SCALED_BY_OTHERS)
    assert outcome(SCALED_BY_OTHERS, [too_few]).result is VerificationResult.NOT_RECOVERED


def test_a_workload_without_a_number_needs_none() -> None:
    daemon = replace(kept(), replicas=None)
    assert outcome(WEB, [look(daemon, BOTH[0])]).result is VerificationResult.RECOVERED
