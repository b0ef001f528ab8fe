"""How faults are chosen and outcomes judged: no stack, and nothing that could flatter."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.chaos import records
from tests.chaos.engine import Event, _events
from tests.chaos.fault import EVENTS, Right
from tests.chaos.play import CONTROL, KINDS, Outcome, _unexplained, sequence
from tests.chaos.services import STACK, dependents, service
from tests.chaos.soak import Sample, not_flat
from tests.chaos.table import aims, complaints, markdown


def event(action: str, name: str) -> Event:
    return Event(1.0, action, name, name)


def outcome(right: Right = Right.REPAIR, **changes: object) -> Outcome:
    made = Outcome(3, "killed", "db", right, 7, True, True, True, True, 1.5)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def missed(*outcomes: Outcome) -> list[str]:
    return [aim.name for aim in aims(outcomes) if not aim.met]


def test_the_stack_is_as_large_and_as_broken_as_was_asked_for() -> None:
    assert len(STACK) >= 12
    assert sum(1 for name in STACK if dependents(name)) >= 5
    assert len(set(KINDS) - {CONTROL}) >= 25


def test_a_sequence_is_repeatable_and_has_every_kind_once_a_turn_and_controls() -> None:
    kinds = list(KINDS)
    first = list(islice(sequence(7, kinds), 200))
    assert first == list(islice(sequence(7, kinds), 200))
    assert first != list(islice(sequence(8, kinds), 200))
    assert [index for index, _ in first] == list(range(200))
    faults = [kind for _, kind in first if kind != CONTROL]
    turn = faults[: len(kinds) - 1]
    assert sorted(turn) == sorted(set(kinds) - {CONTROL})
    assert len(faults) < 200 * 0.85


@pytest.mark.parametrize(
    ("done", "wrong"),
    [
        (event("start", "db"), []),
        (event("die", "db"), []),  # follows from something else that is judged
        (event("restart", "db"), ["restart db"]),  # not what this fault asks for
        (event("start", "cache"), ["start cache"]),  # another service
        (event("start", "bystander"), ["start bystander"]),
        (event("stop", "devops-ai-agent"), ["stop devops-ai-agent"]),
        (event("exec", "db"), ["exec db"]),
        (event("start", "search"), []),  # the engine's own restart
        (event("stop", "search"), ["stop search"]),
    ],
)
def test_an_event_is_explained_by_an_expected_operation_or_by_the_fault(
    done: Event, wrong: list[str]
) -> None:
    operations = {"db": frozenset({"start"})}
    brings = {"search": frozenset({"start"})}
    assert _unexplained([done], operations, brings) == wrong


def test_health_checks_of_the_engine_are_no_commands_and_others_are() -> None:
    def told(action: str) -> dict[str, object]:
        attributes = {"name": "legacy", "uici.service": "legacy"}
        return {"Action": action, "Actor": {"Attributes": attributes}, "timeNano": 1}

    check = "exec_start: /bin/busybox test ! -e /tmp/checked"
    assert list(_events([told(check), told("exec_die"), told("health_status: healthy")])) == []
    (found,) = _events([told("exec_start: /bin/busybox rm -rf /")])
    assert found.action == "exec"


def test_every_aim_is_missed_by_what_it_is_about() -> None:
    assert missed(outcome(), outcome(Right.TELL), outcome(Right.CONTROL, detected=False)) == []
    assert missed(outcome(injected=False)) == ["faults that were made and seen"]
    assert "detected" in missed(outcome(detected=False))
    assert missed(outcome(false=["people told"])) == ["false positives"]
    assert missed(outcome(wrong=["stop db"])) == ["wrong or forbidden actions"]
    assert missed(outcome(Right.TELL, good=False)) == ["of the rest, people were told"]
    assert missed(outcome(Right.LEAVE, good=False)) == ["left alone what is to be left alone"]
    (recovery,) = missed(outcome(good=False), *[outcome()] * 18)
    assert recovery.startswith("verified recovery")
    assert missed(outcome(good=False), *[outcome()] * 19) == []
    (last,) = missed(outcome(errors=["a run ended by an error"]))
    assert "ended badly" in last


def test_what_was_not_really_injected_counts_nowhere() -> None:
    lost = outcome(injected=False, good=False, detected=False)
    table = markdown([outcome(), lost])
    assert "| total |  | 1 | 1/1 | 1/1 |" in table
    assert any("never saw" in text for text in complaints(lost))


def test_outcomes_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "outcomes"
    made = [outcome(), outcome(Right.TELL, wrong=["stop db"], operations=["restart db"])]
    for each in made:
        records.append(path, each)
    assert list(records.read(path)) == made


def test_operations_are_those_of_the_product(config_operations: frozenset[str]) -> None:
    assert set(EVENTS) <= config_operations


@pytest.fixture
def config_operations() -> frozenset[str]:
    from infrastructure.config_loader import UniversalConfigLoader  # noqa: PLC0415 - one test's

    return frozenset(UniversalConfigLoader().load().operations.operations)


def test_a_service_in_git_is_valid() -> None:
    from infrastructure.service import Service  # noqa: PLC0415 - one test's

    for name in STACK:
        assert Service.model_validate(service(name, network="n", port=1)).metadata.name == name


def samples(**slopes: float) -> list[Sample]:
    start = {
        "memory": 100 * 2**20,
        "descriptors": 20,
        "threads": 9,
        "remote": 1000,
        "remote_objects": 9,
        "clone": 1000,
        "clone_objects": 9,
        "data": 1000,
    }
    return [
        Sample(runs, **{k: int(v + slopes.get(k, 0) * runs) for k, v in start.items()})
        for runs in range(0, 1001, 40)
    ]


def test_the_soak_tells_what_grows() -> None:
    assert not_flat(samples(), repairing=False) == []
    for what, slope in (("memory", 6000), ("descriptors", 0.1), ("threads", 0.1), ("clone", 1)):
        (told,) = not_flat(samples(**{what: slope}), repairing=False)
        assert told.startswith(what)
    assert not_flat(samples(remote=9000, clone=9000, data=9000), repairing=True) == []


def test_the_soak_tells_of_repairs_that_cost_more_and_more() -> None:
    even = samples()
    worse = [
        Sample(s.runs, s.memory, s.descriptors, s.threads, s.runs**2, 0, 0, 0, 0) for s in even
    ]
    (told,) = not_flat(worse, repairing=True)
    assert "each repair adds" in told
