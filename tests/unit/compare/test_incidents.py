"""Which drifts belong together, in which order they are worked on, and how they are named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.comparison.drift import Drift
from flows.comparison.incidents import dependency_order, depends_on_any, fingerprint, group, waves
from infrastructure.drift_kinds import DriftKind
from infrastructure.service import Service
from tests.builders import service, services

DATABASE = service("db")
API = service("api", dependsOn=["db"])
WEB = service("web", dependsOn=["api"])
ALONE = service("alone")
ALL = services(DATABASE, API, WEB, ALONE)


def drift(of: Service, kind: DriftKind = DriftKind.STOPPED, field: str = "") -> Drift:
    return Drift(of.target, kind, field=field)


def test_dependents_of_a_broken_database_join_its_incident() -> None:
    found = group([drift(WEB, DriftKind.UNHEALTHY), drift(API), drift(DATABASE), drift(ALONE)], ALL)
    assert [(i.root, i.targets) for i in found] == [
        (ALONE.target, (ALONE.target,)),
        (DATABASE.target, (DATABASE.target, API.target, WEB.target)),
    ]


def test_what_a_dependency_cannot_explain_stays_an_incident_of_its_own() -> None:
    found = group([drift(API, DriftKind.CONFIG_DRIFT, "/image"), drift(DATABASE)], ALL)
    assert [i.root for i in found] == [DATABASE.target, API.target]


def test_a_dependency_that_still_works_is_no_cause() -> None:
    found = group([drift(API), drift(DATABASE, DriftKind.CONFIG_DRIFT, "/image")], ALL)
    assert {i.root for i in found} == {DATABASE.target, API.target}


def test_the_root_is_found_behind_a_dependency_that_shows_nothing() -> None:
    (found,) = group([drift(WEB, DriftKind.UNHEALTHY), drift(DATABASE, DriftKind.MISSING)], ALL)
    assert (found.root, found.targets) == (DATABASE.target, (DATABASE.target, WEB.target))


def test_strays_and_unknown_targets_are_in_no_incident() -> None:
    assert (
        group([Drift("x/stray", DriftKind.ORPHAN), Drift("x/gone", DriftKind.STOPPED)], ALL) == ()
    )


def test_waves_put_what_others_need_first() -> None:
    found = group([drift(s, DriftKind.MISSING) for s in (WEB, API, DATABASE, ALONE)], ALL)
    assert [{i.root for i in wave} for wave in waves(found, ALL)] == [
        {ALONE.target, DATABASE.target},
        {API.target},
        {WEB.target},
    ]


def test_waves_see_through_a_healthy_target_between() -> None:
    found = group([drift(s, DriftKind.MISSING) for s in (WEB, DATABASE)], ALL)
    assert [[i.root for i in wave] for wave in waves(found, ALL)] == [
        [DATABASE.target],
        [WEB.target],
    ]
    assert depends_on_any(WEB.target, {DATABASE.target}, ALL) == DATABASE.target
    assert depends_on_any(DATABASE.target, {WEB.target}, ALL) is None


def test_the_fingerprint_is_made_of_facts_that_do_not_change_from_run_to_run() -> None:
    first = Drift(API.target, DriftKind.UNHEALTHY, observed="503", message="probe: 503")
    again = Drift(API.target, DriftKind.UNHEALTHY, observed="refused", message="probe: refused")
    assert fingerprint([first], ALL) == fingerprint([again, first], ALL)


def test_the_fingerprint_changes_with_kind_field_target_and_spec() -> None:
    changed = services(service("api", image="api:2", dependsOn=["db"]))
    prints = {
        fingerprint([drift(API)], ALL),
        fingerprint([drift(DATABASE)], ALL),
        fingerprint([drift(API, DriftKind.UNHEALTHY)], ALL),
        fingerprint([drift(API, DriftKind.STOPPED, "/x")], ALL),
        fingerprint([drift(API)], changed),
    }
    assert len(prints) == 5


def test_a_secret_that_appears_makes_it_another_fault() -> None:
    needing = services(service("api", env={"KEY": {"secret": "env:KEY"}}), service("db"))
    (api, database) = (needing[s.target] for s in (API, DATABASE))
    found, lacking = [drift(api)], {"env:KEY": "it is not there"}
    assert fingerprint(found, needing, lacking) != fingerprint(found, needing)
    assert fingerprint(found, needing, {"env:OTHER": ""}) == fingerprint(found, needing)
    other = [drift(database)]
    assert fingerprint(other, needing, lacking) == fingerprint(other, needing)
    (incident,) = group(found, needing, lacking)
    assert incident.fingerprint == fingerprint(found, needing, lacking)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Service]:
    """Services that depend only on earlier ones: no cycles."""
    size = draw(st.integers(1, 8))
    made = []
    for i in range(size):
        needs = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=3)) if i else []
        made.append(service(f"s{i}", dependsOn=[f"s{n}" for n in needs]))
    return services(*made)


@given(graphs(), st.data())
def test_every_drift_is_in_exactly_one_incident_and_order_respects_dependencies(
    all_services: dict[str, Service], data: st.DataObject
) -> None:
    drifting = data.draw(st.lists(st.sampled_from(sorted(all_services)), unique=True))
    kind = st.sampled_from([DriftKind.STOPPED, DriftKind.MISSING, DriftKind.UNHEALTHY])
    drifts = [Drift(target, data.draw(kind)) for target in drifting]
    found = group(drifts, all_services)
    assert sorted(d.target for i in found for d in i.drifts) == sorted(drifting)
    order = dependency_order(all_services, all_services)
    for target, wanted in all_services.items():
        assert all(order.index(n) < order.index(target) for n in wanted.dependencies)
    assert sum(len(wave) for wave in waves(found, all_services)) == len(found)
