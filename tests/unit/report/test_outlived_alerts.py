"""Alerts about an environment or the agent itself end with their cause, and not on a guess."""

from __future__ import annotations

from dataclasses import replace

from flows.compare import compare
from flows.lasting_alerts import outlived
from flows.observe import Observation, SourceFailure
from infrastructure.observed import Alert
from infrastructure.operations import ESCALATION_ALERT
from tests.builders import (
    AGENT,
    ENVIRONMENT,
    NOW,
    alert,
    as_declared,
    comparing,
    observation,
    service,
    services,
)

OWN = f"agent/{AGENT.agent}"
WANTED = service()


def told(target: str) -> Alert:
    """As the agent raises it."""
    return alert(ESCALATION_ALERT, environment=ENVIRONMENT, target=target)


def over(seen: Observation, **meant: object) -> list[str]:
    """Targets of the alerts that are to be ended."""
    comparison = compare(comparing(services(WANTED)), seen, now=NOW)
    found = outlived(seen, replace(comparison, **meant), AGENT.agent)  # type: ignore[arg-type]  # fields of the test's own choice
    assert all(each.labels and each.environment == ENVIRONMENT for each in found)
    return sorted(each.labels["target"] for each in found)


def well(*alerts: Alert) -> Observation:
    return observation([as_declared(WANTED)], alerts=list(alerts))


def test_what_has_no_cause_any_more_is_ended() -> None:
    both = well(told(ENVIRONMENT), told(OWN))
    assert over(both) == sorted([ENVIRONMENT, OWN])


def test_what_still_holds_is_not() -> None:
    both = well(told(ENVIRONMENT), told(OWN))
    assert over(both, breaker={ENVIRONMENT: "monitoring is broken"}) == [OWN]
    assert over(both, own_alerts=(alert(service=AGENT.agent),)) == [ENVIRONMENT]


def test_a_services_own_escalation_and_other_peoples_alerts_are_left_alone() -> None:
    assert over(well(told(WANTED.target), alert(target=ENVIRONMENT))) == []


def test_nothing_is_over_while_something_is_unknown() -> None:
    both = well(told(ENVIRONMENT), told(OWN))
    place = both.environments[ENVIRONMENT]
    failed = (SourceFailure(ENVIRONMENT, "prometheus", "no answer"),)
    assert over(replace(both, environments={ENVIRONMENT: replace(place, failures=failed)})) == []
    unseen = replace(place, engine=None)
    assert over(replace(both, environments={ENVIRONMENT: unseen})) == [OWN]
