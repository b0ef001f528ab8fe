"""The runbooks on every incident, once a session: several tests look at what came of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.plan import PlannerKind
from tests.evals.incident_file import Incident, load
from tests.evals.run import Ran, run_incident
from tests.evals.world import Session, open_session


@pytest.fixture(scope="session")
def dataset() -> tuple[Incident, ...]:
    return load()


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Without a model."""
    with open_session(tmp_path_factory.mktemp("evals") / "session") as opened:
        yield opened


@pytest.fixture(scope="session")
def by_runbooks(
    dataset: tuple[Incident, ...], session: Session, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ran]:
    """What the runbooks make of each incident, by its name."""
    root = tmp_path_factory.mktemp("runbooks")
    return {
        incident.name: run_incident(
            session, incident, root / incident.name, asked=PlannerKind.RUNBOOK
        )
        for incident in dataset
    }
