from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.docker.membership import (
    Listed,
    Roster,
    listed,
    names_for,
    natural,
    old_name,
    original_name,
    replica_index,
)

DECLARED = frozenset({"web", "web-1", "db"})


def entry(name: str, **labels: str) -> Listed:
    return Listed(
        f"id-{name}", name, {k.replace("__", ".").replace("_", "-"): v for k, v in labels.items()}
    )


def compose(name: str, service: str, project: str, **more: str) -> Listed:
    labels = {"com.docker.compose.service": service, "com.docker.compose.project": project}
    return Listed(f"id-{name}", name, {**labels, **more})


def members(*entries: Listed, of: str = "web", project: str | None = None) -> list[str]:
    roster = Roster("dev", entries, declared=DECLARED)
    return [e.name for e in roster.members(of, project=project).instances]


def test_the_label_decides_whatever_the_name() -> None:
    assert members(entry("anything", uici__target="dev/web")) == ["anything"]
    assert members(entry("web", uici__target="dev/db")) == []
    assert members(entry("web", uici__target="other/web")) == []


@pytest.mark.parametrize("name", ["web", "web-2", "web_3"])
def test_unlabelled_ones_are_adopted_by_name(name: str) -> None:
    assert members(entry(name)) == [name]


@pytest.mark.parametrize("name", ["website", "my-web", "web-blue", "web-2-old", "Web"])
def test_similar_names_are_not_adopted(name: str) -> None:
    assert members(entry(name)) == []


def test_a_service_of_its_own_is_no_replica_of_another() -> None:
    assert members(entry("web-1")) == []
    assert members(entry("web-1"), of="web-1") == ["web-1"]


@pytest.mark.parametrize("name", ["web-1", "web-2", "web_3"])
def test_a_number_makes_no_replica_until_all_services_are_known(name: str) -> None:
    def claimed(declared: frozenset[str] | None) -> list[str]:
        roster = Roster("dev", [entry(name)], declared=declared, asked={"web"})
        return [e.name for e in roster.members("web").instances]

    assert claimed(None) == []
    assert claimed(frozenset({name, "web"})) == []
    assert claimed(frozenset({name})) == []
    assert claimed(frozenset({"web"})) == [name]


def test_who_is_asked_for_may_claim_by_full_name_and_by_label() -> None:
    both = [entry("web"), compose("p_db_1", "db", "p"), entry("own", uici__target="dev/web")]
    roster = Roster("dev", both, declared=None, asked={"web", "db"})
    assert [e.name for e in roster.members("web").instances] == ["own", "web"]
    assert [e.name for e in roster.members("db").instances] == ["p_db_1"]


def test_compose_services_are_adopted_but_not_one_off_runs() -> None:
    assert members(compose("p_web_1", "web", "p")) == ["p_web_1"]
    oneoff = {"com.docker.compose.oneoff": "True"}
    assert members(compose("p_web_run_1", "web", "p", **oneoff)) == []


def test_two_projects_with_one_service_name_are_left_alone_unless_one_is_named() -> None:
    both = (compose("a_web_1", "web", "a"), compose("b_web_1", "web", "b"))
    assert members(*both) == []
    assert members(*both, project="b") == ["b_web_1"]


def test_a_container_belongs_to_one_service_only() -> None:
    both = compose("db", "web", "p")
    assert members(both, of="db") == ["db"]
    assert members(both, of="web") == []


def test_what_a_replacement_left_is_seen_until_it_is_ended() -> None:
    old = Listed("f" * 64, old_name("web", "f" * 64), {"uici.target": "dev/web"})
    adopted = Listed("e" * 64, old_name("web", "e" * 64), {})
    for leftover in (old, adopted):
        alone = Roster("dev", [leftover], declared=DECLARED).members("web")
        assert (alone.instances, alone.visible) == ((), (leftover,))
        ran = Roster("dev", [leftover, entry("web")], declared=DECLARED).members("web")
        assert [e.name for e in ran.visible] == ["web", leftover.name], "one too many"
        new = Listed("a" * 64, "web", {"uici.target": "dev/web"}, started=False)
        waits = Roster("dev", [leftover, new], declared=DECLARED)
        assert waits.members("web").visible == (leftover,), "what never ran is not there yet"
        assert sorted(e.name for e in waits.members("web").all) == ["web", leftover.name]
        assert waits.orphans(DECLARED) == ()


def test_a_container_that_never_ran_counts_where_it_replaces_nothing() -> None:
    new = Listed("a" * 64, "web", {"uici.target": "dev/web"}, started=False)
    assert Roster("dev", [new], declared=DECLARED).members("web").visible == (new,)


def test_orphans_are_of_this_environment_and_of_nobody() -> None:
    roster = Roster(
        "dev",
        [
            entry("gone", uici__target="dev/gone"),
            entry("web", uici__target="dev/web"),
            entry("other", uici__target="prod/gone"),
            entry("plain"),
        ],
        declared=DECLARED,
    )
    assert [o.name for o in roster.orphans(DECLARED)] == ["gone"]


def test_a_list_entry_has_its_own_name_and_those_of_links() -> None:
    found = listed({"Id": "x", "Names": ["/other/alias", "/web"], "Labels": None})
    assert (found.name, found.labels, found.started) == ("web", {}, True)
    assert not listed({"Id": "x", "Names": ["/web"], "State": "created"}).started


def test_names_of_new_instances() -> None:
    assert names_for("web", replicas=1, count=1, taken=()) == ("web",)
    assert names_for("web", replicas=1, count=1, taken={"web"}) == ("web-1",)
    assert names_for("web", replicas=3, count=2, taken={"web-1"}) == ("web-2", "web-3")
    assert names_for("web", replicas=3, count=0, taken=()) == ()


@given(
    replicas=st.integers(1, 20),
    count=st.integers(0, 20),
    taken=st.sets(st.integers(1, 30).map(lambda n: f"web-{n}") | st.just("web")),
)
def test_new_names_are_free_and_distinct(replicas: int, count: int, taken: set[str]) -> None:
    names = names_for("web", replicas=replicas, count=count, taken=taken)
    assert len(set(names)) == len(names) == count
    assert not set(names) & taken


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["web-10", "web-2", "web", "2web"], key=natural) == [
        "2web",
        "web",
        "web-2",
        "web-10",
    ]
    assert [replica_index(n) for n in ("web", "web-7", "web_12")] == [0, 7, 12]


@given(name=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,40}", fullmatch=True))
def test_an_old_name_gives_back_the_original(name: str) -> None:
    assert original_name(old_name(name, "a" * 64)) == name
