"""The demo's own checks say no when they should: on a real engine and a real repository."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo.place import AGENT, Place
from flows.demo.proof import (
    REPORTS_BRANCH,
    Span,
    agent_untouched,
    committed_first,
    reported_operations,
    services_work,
    told_of_agent,
)
from flows.local_stack import bare_remote, docker, free_port
from flows.local_stack.remote import git

pytestmark = pytest.mark.real


@pytest.fixture
def place(tmp_path: Path, docker_host: str, stack_name: str) -> Place:
    return Place(
        scratch=tmp_path,
        stack=stack_name,
        docker_host=docker_host,
        ports={name: free_port() for name in ("market-predictor", "market-gateway", AGENT)},
        prometheus_port=1,
        alertmanager_port=1,
        prefect_port=1,
        agent_port=1,
    )


def commit(place: Path, files: dict[str, object]) -> str:
    """A repository whose reports branch holds these JSON files; returns the commit."""
    seed = place.parent / "seed"
    for name, content in files.items():
        path = seed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    bare_remote(place, seed, branch=REPORTS_BRANCH)
    return git("rev-parse", REPORTS_BRANCH, repository=place)


@pytest.fixture
def agent_container(docker_host: str, demo_image: str) -> Iterator[Span]:
    """The agent's stand-in, made and stopped by ourselves; when that was."""
    begin = time.time()
    docker(docker_host, "run", "--detach", "--name", AGENT, demo_image)
    docker(docker_host, "stop", "-t", "1", AGENT)
    yield Span(begin, time.time())
    docker(docker_host, "rm", "--force", AGENT)


def test_an_agent_that_nobody_touched_is_fine(place: Place, agent_container: Span) -> None:
    commit(place.remote, {"reports/1.json": {"incidents": []}})
    assert agent_untouched(place, agent_container) == []


def test_an_agent_that_somebody_started_is_noticed(place: Place, agent_container: Span) -> None:
    commit(place.remote, {"reports/1.json": {"incidents": []}})
    time.sleep(1.1)  # beyond what is still taken for our own command's echo
    docker(place.docker_host, "start", AGENT)
    complaints = agent_untouched(place, agent_container)
    assert f"start on {AGENT} was not the demo's doing" in complaints
    assert f"{AGENT} runs again" in complaints


def test_a_report_that_says_so_is_noticed(place: Place, agent_container: Span) -> None:
    call = {"operation": "restart", "target": f"local-docker/{AGENT}"}
    told = {"operation": "escalate_to_human", "target": f"local-docker/{AGENT}"}
    commit(place.remote, {"reports/1.json": {"outcomes": [{"call": call}, {"call": told}]}})
    assert reported_operations(place) == [
        ("restart", f"local-docker/{AGENT}"),
        ("escalate_to_human", f"local-docker/{AGENT}"),
    ]
    assert agent_untouched(place, agent_container) == [
        f"the report says restart on local-docker/{AGENT}"
    ]


def test_missing_services_are_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other names than the demo's: the engine may be one in which those run.
    monkeypatch.setattr("flows.demo.proof.PREDICTOR", AGENT)
    monkeypatch.setattr("flows.demo.proof.GATEWAY", AGENT)
    assert services_work(place)[:2] == [
        f"{AGENT}: /health answers nothing",
        f"{AGENT}: there is no such container",
    ]


def test_commits_are_looked_for_in_the_remote(place: Place) -> None:
    known = commit(place.remote, {"reports/1.json": {}})
    now = time.time()
    assert committed_first(place, intent="", report="", since=now) == ["no intent commit"]
    assert committed_first(place, intent=known, report="", since=now) == ["no report commit"]
    unknown = committed_first(place, intent="0" * 40, report=known, since=now)
    assert unknown == [f"0000000 and {known[:7]} are not on {REPORTS_BRANCH} in this order"]
    nothing_done = committed_first(place, intent=known, report=known, since=now)
    assert nothing_done == ["the engine saw no change by the agent"]


def test_a_change_before_its_commit_is_noticed(place: Place, demo_image: str) -> None:
    begin = time.time()
    container = docker(place.docker_host, "create", "--name", f"{place.stack}-early", demo_image)
    time.sleep(1.1)  # Git keeps whole seconds
    known = commit(place.remote, {"reports/1.json": {}})
    try:
        complaints = committed_first(place, intent=known, report=known, since=begin)
        assert complaints == [f"create {place.stack}-early came before its commit"]
    finally:
        docker(place.docker_host, "rm", "--force", container)


@pytest.mark.parametrize(
    ("status", "told"), [("False", "DevOpsAIAgentDown fires"), ("True", "")], ids=["down", "well"]
)
def test_people_are_told_only_by_a_condition_that_is_false(
    place: Place, status: str, told: str
) -> None:
    condition = {"type": "Ready", "status": status, "message": "DevOpsAIAgentDown fires"}
    known = commit(place.remote, {f"status/agent/{AGENT}.json": {"conditions": [condition]}})
    assert told_of_agent(place) == (told, known if told else "")


def test_nobody_is_told_when_nothing_was_written(place: Place) -> None:
    commit(place.remote, {"reports/1.json": {}})
    assert told_of_agent(place) == ("", "")
