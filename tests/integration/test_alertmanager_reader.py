"""The Alertmanager reader against real Alertmanagers."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from flows import local_stack
from infrastructure.config_models import AlertSettings
from infrastructure.errors import PermanentError
from infrastructure.observed import Alert, AlertState
from monitoring.alertmanager import AlertSnapshot, post_alert, read_alerts, silence_covers
from monitoring.http_source import SourceClient
from tests.conftest import real_part
from tests.integration.monitoring_fixtures import eventually, sources

pytestmark = pytest.mark.real
SETTINGS = AlertSettings(max_bytes=1_048_576)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SourceClient, ...]]:
    """Two Alertmanagers that know nothing of each other: gossip at its worst."""
    with contextlib.ExitStack() as stack:
        urls = []
        for name in ("one", "two"):
            scratch = tmp_path_factory.mktemp(name)
            with real_part():
                urls.append(
                    stack.enter_context(local_stack.alertmanager(scratch, _config(scratch)))
                )
        yield stack.enter_context(sources(*urls))


def _config(scratch: Path) -> Path:
    path = scratch / "alertmanager.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "route": {"receiver": "nobody", "group_wait": "0s", "group_interval": "1s"},
                "receivers": [{"name": "nobody"}],
                "inhibit_rules": [
                    {
                        "source_matchers": ['severity="critical"'],
                        "target_matchers": ['severity="warning"'],
                        "equal": ["service"],
                    }
                ],
            }
        )
    )
    return path


@pytest.fixture
def service() -> str:
    """A service of this test's own: the servers are shared."""
    return f"s-{uuid.uuid4().hex}"


def raise_alert(
    *members: SourceClient, service: str, name: str = "Down", lasts: float = 60, **labels: str
) -> None:
    now = datetime.now(UTC)
    post_alert(
        members,
        labels={"alertname": name, "service": service, **labels},
        annotations={"summary": f"{service} is down"},
        starts_at=now - timedelta(seconds=5),
        ends_at=now + timedelta(seconds=lasts),
        settings=SETTINGS,
    )


def silence(member: SourceClient, **matchers: str) -> None:
    now = datetime.now(UTC)
    body = {
        "matchers": [
            {"name": name, "value": value, "isRegex": True, "isEqual": True}
            for name, value in matchers.items()
        ],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "ana",
        "comment": "maintenance",
    }
    answer = member.send(
        "/api/v2/silences",
        deadline=member.deadline(),
        max_bytes=10_000,
        body=json.dumps(body).encode(),
        content_type="application/json",
    )
    assert answer.status == 200, answer.body


def of(service: str, snapshot: AlertSnapshot) -> list[Alert]:
    return [alert for alert in snapshot.alerts if alert.labels.get("service") == service]


def states(service: str, *members: SourceClient) -> list[AlertState]:
    return [alert.state for alert in of(service, read_alerts(members, SETTINGS))]


def test_an_alert_is_read_back_as_it_was_posted(
    pair: tuple[SourceClient, ...], service: str
) -> None:
    raise_alert(pair[0], service=service, severity="page")
    (seen,) = of(service, read_alerts(pair[:1], SETTINGS))
    assert (seen.name, seen.state) == ("Down", AlertState.ACTIVE)
    assert seen.labels == {"alertname": "Down", "service": service, "severity": "page"}
    assert seen.annotations == {"summary": f"{service} is down"}
    assert 0 < (datetime.now(UTC) - seen.starts_at).total_seconds() < 30
    raise_alert(pair[0], service=service, severity="page", lasts=-1)
    eventually(lambda: states(service, pair[0]), lambda found: found == [])


def test_silenced_and_inhibited_alerts_are_told_apart(
    pair: tuple[SourceClient, ...], service: str
) -> None:
    raise_alert(pair[0], service=service, name="Root", severity="critical")
    raise_alert(pair[0], service=service, name="Symptom", severity="warning")
    eventually(
        lambda: {a.name: a.state.value for a in of(service, read_alerts(pair[:1], SETTINGS))},
        lambda found: found == {"Root": "active", "Symptom": "inhibited"},
    )
    silence(pair[0], service=service, alertname="Ro.*")
    snapshot = eventually(
        lambda: read_alerts(pair[:1], SETTINGS),
        lambda found: any(a.state is AlertState.SILENCED for a in of(service, found)),
    )
    own = [s for s in snapshot.silences if silence_covers(s, {"service": service})]
    assert own == []  # it also asks for the alert's name
    (made,) = [
        s for s in snapshot.silences if silence_covers(s, {"service": service, "alertname": "Root"})
    ]
    assert (made.created_by, made.comment) == ("ana", "maintenance")
    assert not silence_covers(made, {"service": service, "alertname": "aRoot"})


def test_members_that_do_not_agree(pair: tuple[SourceClient, ...], service: str) -> None:
    raise_alert(*pair, service=service)
    raise_alert(pair[1], service=service, name="OnlyOne")
    assert [a.name for a in of(service, read_alerts(pair[:1], SETTINGS))] == ["Down"]
    both = of(service, read_alerts(pair, SETTINGS))
    assert sorted(a.name for a in both) == ["Down", "OnlyOne"]
    assert {a.state for a in both} == {AlertState.ACTIVE}
    silence(pair[0], service=service)
    assert set(states(service, *pair)) == {AlertState.SILENCED}
    assert set(states(service, pair[1])) == {AlertState.ACTIVE}


def test_a_dead_member_is_no_loss(pair: tuple[SourceClient, ...], service: str) -> None:
    raise_alert(pair[0], service=service)
    dead = f"http://127.0.0.1:{local_stack.free_port()}"
    with sources(dead) as (gone,):
        snapshot = read_alerts([gone, pair[0]], SETTINGS)
        raise_alert(gone, pair[1], service=service)
    assert len(of(service, snapshot)) == 1
    assert snapshot.errors == (f"{dead}: connection refused",)
    assert states(service, pair[1]) == [AlertState.ACTIVE]


def test_alertmanager_says_what_is_wrong_with_an_alert(pair: tuple[SourceClient, ...]) -> None:
    with pytest.raises(PermanentError, match=r"refused the alert: .*label"):
        post_alert(
            pair,
            labels={"alertname": "Down", "not a label": "x"},
            annotations={},
            starts_at=datetime.now(UTC),
            ends_at=datetime.now(UTC) + timedelta(minutes=1),
            settings=SETTINGS,
        )
