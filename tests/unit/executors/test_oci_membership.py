from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executors.env_note import managed_in
from executors.oci.answers import Resource
from executors.oci.membership import (
    REPLACES_TAG,
    TARGET_TAG,
    Roster,
    env_tags,
    labels,
    names_for,
    noted_env,
)

NAMES = st.lists(st.text("ABC_xyz0", min_size=1, max_size=300), unique=True, max_size=60)


def thing(ident: str, name: str, **tags: str) -> Resource:
    return Resource(id=ident, display_name=name, freeform_tags=tags)


def roster(*things: Resource, declared: frozenset[str] | None = None) -> Roster[Resource]:
    return Roster("prod", things, declared=declared, asked=("web",))


def ids(found: Roster[Resource], name: str = "web") -> list[str]:
    return [e.id for e in found.members(name, select=None, compartment=None).visible]


def test_the_tag_decides_and_the_name_only_without_it() -> None:
    found = roster(
        thing("1", "web", **{TARGET_TAG: "prod/other"}),
        thing("2", "renamed", **{TARGET_TAG: "prod/web"}),
        thing("3", "web"),
        thing("4", "web", **{TARGET_TAG: "test/web"}),
    )
    assert ids(found) == ["2", "3"]


def test_a_number_makes_a_replica_only_when_all_services_are_known() -> None:
    things = (thing("10", "web-10"), thing("2", "web-2"))
    assert ids(roster(*things)) == []
    assert ids(roster(*things, declared=frozenset({"web"}))) == ["2", "10"]
    assert ids(roster(*things, declared=frozenset({"web", "web-2"}))) == ["10"]


def test_a_successor_counts_when_what_it_replaces_is_gone() -> None:
    old = thing("old", "web", **{TARGET_TAG: "prod/web"})
    new = thing("new", "web", **{TARGET_TAG: "prod/web", REPLACES_TAG: "old"})
    assert ids(roster(old, new)) == ["old"]
    assert [n.id for n in roster(old, new).orphans("x", {"web"})] == ["new"]
    assert ids(roster(new)) == ["new"]
    assert roster(new).orphans("x", {"web"}) == []


def test_orphans_are_of_this_environment_and_of_nobody() -> None:
    found = roster(
        thing("1", "gone", **{TARGET_TAG: "prod/gone"}),
        thing("2", "theirs", **{TARGET_TAG: "test/gone"}),
        thing("3", "nobody's"),
    )
    assert [n.id for n in found.orphans("x", {"web"})] == ["1"]


def test_tags_are_labels() -> None:
    tagged = Resource(
        id="1",
        freeform_tags={TARGET_TAG: "prod/web", "team": "a"},
        defined_tags={"Ops": {"Tier": 1}},
    )
    assert labels(tagged) == {"uici.target": "prod/web", "team": "a", "Ops.Tier": "1"}


def test_new_names_are_free() -> None:
    assert names_for("web", replicas=1, count=1, taken=()) == ("web",)
    assert names_for("web", replicas=1, count=1, taken=("web",)) == ("web-1",)
    assert names_for("web", replicas=3, count=2, taken=("web-1",)) == ("web-2", "web-3")


@given(NAMES)
def test_noted_names_fit_into_tags_and_are_read_back(names: list[str]) -> None:
    env = dict.fromkeys(names, "x")
    tags = env_tags(env)
    assert len(tags) <= 6
    assert all(0 < len(value) <= 256 for value in tags.values())
    assert managed_in(noted_env(tags)) <= set(names)
    if sum(len(name) + 1 for name in names) <= 254:
        assert managed_in(noted_env(tags)) == set(names)
