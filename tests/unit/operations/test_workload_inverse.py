"""Inverses rest on the workload where there is one: its instances may be of before a change."""

from __future__ import annotations

from dataclasses import replace

from infrastructure.observed import NativeObject, ObservedService, Workload
from tests.unit.operations.recorded_engine import RecordedEngine
from tests.unit.operations.test_universal_interface import BEFORE, TARGET, Bench, call


def test_the_inverse_restores_what_the_workload_was_asked_for() -> None:
    old = BEFORE.instances[0].spec
    workload = Workload(
        NativeObject("Deployment", "d" * 36, "web"), replicas=7, spec=replace(old, image="web:7")
    )
    interface = Bench(RecordedEngine()).interface
    before = replace(BEFORE, workload=workload)
    assert interface.inverse_of(call("scale", replicas=1), before) == call("scale", replicas=7)
    undo = interface.inverse_of(call("set_image", image="x"), before)
    assert undo == call("set_image", image="web:7")
    stopped = ObservedService(TARGET, (), replace(workload, replicas=0))
    assert interface.inverse_of(call("scale", replicas=1), stopped) == call("scale", replicas=0)


def test_a_workload_without_a_number_has_as_many_as_are_there() -> None:
    workload = Workload(NativeObject("DaemonSet", "d" * 36, "web"), spec=BEFORE.instances[0].spec)
    before = replace(BEFORE, workload=workload)
    inverse = Bench(RecordedEngine()).interface.inverse_of(call("scale", replicas=9), before)
    assert inverse == call("scale", replicas=len(BEFORE.instances))
