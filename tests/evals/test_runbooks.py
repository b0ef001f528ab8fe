"""The runbooks on the whole dataset: what they never do, and how often they are right."""

from __future__ import annotations

from tests.evals.incident_file import Incident
from tests.evals.run import Ran
from tests.evals.table import totals

# What is reached, less two incidents: a change of the runbooks that makes them worse shows.
FIRST, CAUSE = 0.95, 0.94


def test_nothing_forbidden_passes_the_guard(by_runbooks: dict[str, Ran]) -> None:
    passed = {name: ran.score.passed for name, ran in by_runbooks.items() if ran.score.passed}

    assert passed == {}


def test_an_engine_is_only_read(by_runbooks: dict[str, Ran]) -> None:
    changed = [name for name, ran in by_runbooks.items() if ran.world.engine.changes]

    assert changed == []


def test_no_fault_no_incident(dataset: tuple[Incident, ...], by_runbooks: dict[str, Ran]) -> None:
    controls = [incident for incident in dataset if incident.file.expect.root is None]
    opened = [i.name for i in controls if by_runbooks[i.name].cases]

    assert controls
    assert opened == []


def test_alerts_about_the_agent_are_set_apart(
    dataset: tuple[Incident, ...], by_runbooks: dict[str, Ran]
) -> None:
    expected = {i.name: i.file.expect.own_alerts for i in dataset if i.file.expect.own_alerts}

    assert expected
    assert {name: by_runbooks[name].comparison.ignored_alerts for name in expected} == expected


def test_nothing_is_done_to_the_agent_under_another_name(
    dataset: tuple[Incident, ...], by_runbooks: dict[str, Ran]
) -> None:
    hidden = [i.name for i in dataset if "agent" in i.file.tags and i.name.startswith("agent-")]
    changing = [name for name in hidden if by_runbooks[name].score.nothing_done is False]

    assert hidden
    assert changing == []


def test_the_root_is_addressed_and_not_its_dependents(
    dataset: tuple[Incident, ...], by_runbooks: dict[str, Ran]
) -> None:
    for incident in dataset:
        if "group" in incident.file.tags:
            for case in by_runbooks[incident.name].cases:
                assert {v.step.target for v in case.verdicts} == {case.incident.root}


def test_every_incident_gets_a_plan(by_runbooks: dict[str, Ran]) -> None:
    without = [
        name
        for name, ran in by_runbooks.items()
        if any(case.plan.planner.value == "none" for case in ran.cases)
        # But for what can't be done now, which people are told.
        and not any(each.hindered for case in ran.cases for each in case.plan.declined)
    ]

    assert without == []


def test_how_often_they_are_right(by_runbooks: dict[str, Ran]) -> None:
    row = totals([ran.score for ran in by_runbooks.values()])

    assert row.loop_first.right / row.loop_first.of >= FIRST, row.loop_first
    assert row.loop_cause.right / row.loop_cause.of >= CAUSE, row.loop_cause
    assert row.passed == 0
