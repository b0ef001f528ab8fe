"""A workload that can't make its pods: people are told why, in evidence, report and status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.report import RunReport, RunResult, report_path
from infrastructure.service import Service
from tests.contract.world import unique
from tests.integration.three_places import CLUSTER, Places, three_places

QUOTA = 'pods "web" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1'


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    quick = {"verify": {"deadline": "2s", "interval": "50ms", "stableFor": "100ms"}}
    images = ("loop:1", "loop:2")
    with three_places(tmp_path, "unix:///nowhere", images, only=(CLUSTER,), platform=quick) as made:
        yield made


def _told(places: Places, report: RunReport, service: Service, words: str) -> None:
    (incident,) = report.incidents
    assert any(words in drift.message for drift in incident.incident.drifts)
    assert any(words in fact for fact in incident.evidence.facts)
    assert words in places.loop.file(f"{report_path(report)}.md")
    assert words in places.loop.file(f"status/{service.target}.json")


def test_a_deployment_over_its_quota_is_told_with_the_cluster_s_words(places: Places) -> None:
    service = places.declare(unique("web"), CLUSTER, image="loop:1")
    assert places.loop.run().result is RunResult.CONVERGED
    places.server.controllers.quota = QUOTA
    (instance,) = places.seen(service).instances
    places.cluster.evict(instance.native.name)
    report = places.loop.run()
    assert report.result is RunResult.DRIFT_REMAINS
    _told(places, report, service, "exceeded quota: small")
    (incident,) = report.incidents
    assert any("asked to keep 1 instances, 0 exist" in fact for fact in incident.evidence.facts)


def test_an_image_that_can_not_be_pulled_is_told(places: Places) -> None:
    service = places.declare(unique("web"), CLUSTER, image="loop:1")
    assert places.loop.run().result is RunResult.CONVERGED
    spec = {"image": places.cluster.missing_image}
    places.cluster.edit_unwatched(service.metadata.name, spec)
    service = places.declare(service.metadata.name, CLUSTER, **spec)
    report = places.loop.run()
    assert report.result is RunResult.DRIFT_REMAINS
    _told(places, report, service, "ImagePullBackOff")
