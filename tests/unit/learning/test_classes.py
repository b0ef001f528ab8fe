"""Which incidents are one class, and what it is called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.comparison.drift import Drift, Incident
from flows.learning.incident_class import class_name, class_of
from flows.learning.shelf import class_of_path, knowledge_path
from flows.plan import Evidence
from infrastructure.drift_kinds import DriftKind
from tests.unit.learning.made import OTHER, SHOP, evidence, incident

K = DriftKind


def name(about: Incident, known: Evidence = Evidence()) -> str:  # noqa: B008 - immutable
    return class_name(class_of(about, known, "docker"))


@pytest.mark.parametrize(
    ("about", "known", "slug"),
    [
        (
            incident(K.CRASH_LOOPING),
            evidence("out-of-memory"),
            "docker-crashlooping-out-of-memory",
        ),
        (incident(K.STOPPED, K.MISSING), Evidence(), "docker-missing-stopped"),
        (
            incident(fields=["/env/A", "/env/B", "/image"]),
            Evidence(),
            "docker-configdrift-env-image",
        ),
        (incident(K.STOPPED), evidence("x", target=OTHER.target), "docker-stopped"),
    ],
)
def test_names_are_readable(about: Incident, known: Evidence, slug: str) -> None:
    assert name(about, known) == slug


def test_only_the_root_s_drifts_count() -> None:
    own = Drift(SHOP.target, K.STOPPED)
    whole = Incident(
        "f",
        "local",
        SHOP.target,
        (SHOP.target, OTHER.target),
        (own, Drift(OTHER.target, K.UNHEALTHY)),
    )
    assert name(whole) == "docker-stopped"


def test_an_alert_beside_another_drift_is_its_symptom() -> None:
    alert = Drift(SHOP.target, K.ALERT_FIRING, field="ShopDown")
    alone = Incident("f", "local", SHOP.target, (SHOP.target,), (alert,))
    both = Incident(
        "f", "local", SHOP.target, (SHOP.target,), (alert, Drift(SHOP.target, K.STOPPED))
    )
    assert name(both) == "docker-stopped"
    assert name(alone) == "docker-alertfiring-shopdown"


def test_a_metric_against_what_a_probe_says_is_a_class_of_its_own() -> None:
    def breach(*others: Drift, probed: bool) -> Incident:
        drift = Drift(SHOP.target, K.METRIC_BREACH, field="errors", probed=probed)
        return Incident("f", "local", SHOP.target, (SHOP.target,), (drift, *others))

    assert name(breach(probed=False)) == "docker-metricbreach-errors"
    assert name(breach(probed=True)) == "docker-metricbreach-errors-probed"
    # A pattern may be called as the flag is: it is another class, with a file of its own.
    called = evidence("probed")
    assert name(breach(probed=False), called).startswith("docker-metricbreach-errors-probed-")
    assert name(breach(probed=True), called) == "docker-metricbreach-errors-probed-probed"
    # Where more is wrong, the probe does not say otherwise.
    assert name(breach(Drift(SHOP.target, K.UNHEALTHY), probed=True)) == "docker-unhealthy"


@given(
    kinds=st.lists(st.sampled_from(list(DriftKind)), min_size=1, max_size=9),
    fields=st.lists(st.text(max_size=300), max_size=20),
)
def test_whatever_alerts_are_called_it_is_one_path_in_one_folder(
    kinds: list[DriftKind], fields: list[str]
) -> None:
    drifts = [Drift(SHOP.target, K.ALERT_FIRING, field=field) for field in fields]
    drifts += [Drift(SHOP.target, kind) for kind in kinds]
    about = Incident("f", "local", SHOP.target, (SHOP.target,), tuple(drifts))
    slug = name(about)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", slug)
    assert len(slug) <= 100
    assert class_of_path(knowledge_path(slug)) == slug


def test_names_that_read_alike_are_told_apart() -> None:
    def alert(text: str) -> Incident:
        drift = Drift(SHOP.target, K.ALERT_FIRING, field=text)
        return Incident("f", "local", SHOP.target, (SHOP.target,), (drift,))

    assert name(alert("a b")) != name(alert("a/b"))
    assert class_of_path("knowledge/a/b.yml") is None
    assert class_of_path("status/a.yml") is None
