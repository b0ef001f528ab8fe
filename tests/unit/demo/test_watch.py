"""The demo's reading and showing of the agent's log, on a log file and a live process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.demo.faults import run_arguments
from flows.demo.feed import Feed, Run, parse
from flows.demo.place import Place
from flows.demo.view import Line, View
from flows.demo.watch import Watch, is_quiet
from flows.local_stack import Child, child, free_port
from infrastructure.errors import PermanentError

BEGAN = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
PREDICTOR = "local-docker/market-predictor"


class AgentLog:
    """Writes lines as the agent does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, *, second: float = 1, **fields: Any) -> None:
        moment = datetime.fromtimestamp(BEGAN.timestamp() + second, tz=UTC)
        line = {"timestamp": moment.isoformat(), "level": "info", "event": event, **fields}
        with self._path.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def text(self, text: str) -> None:
        with self._path.open("a") as log:
            log.write(text)

    def repair(self, *, result: str = "recovered") -> None:
        self.write(
            "drift_found", target=PREDICTOR, kind="Stopped", desired="running", observed="exit 137"
        )
        self.write(
            "plan_made",
            second=1.1,
            target=PREDICTOR,
            targets=[PREDICTOR],
            incident="f1",
            planner="runbook",
            runbook="start-stopped",
            reason="no LLM is configured",
            diagnosis="The process has ended.",
            steps=[{"operation": "start", "target": PREDICTOR, "why": "start it"}],
        )
        self.write(
            "verdict",
            operation="start",
            target=PREDICTOR,
            decision="allowed",
            rule="r",
            reason="ok",
        )
        self.write("intent_committed", sha="a" * 40, durability="pushed", error="")
        self.write(
            "operation_finished",
            second=2,
            operation="start",
            target=PREDICTOR,
            status="succeeded",
            seconds=0.3,
        )
        check = {"target": PREDICTOR, "name": "engine", "state": "passed", "detail": ""}
        self.write("verified", second=3.5, target=PREDICTOR, result=result, checks=[check])
        self.write(
            "incident_closed", target=PREDICTOR, incident="f1", result=result, summary="was down"
        )
        self.write("run_finished", result="converged", report_commit="b" * 40, pending=0)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Child]:
    with child("agent", ["sleep", "60"], log=tmp_path / "agent.log") as running:
        yield running


@pytest.fixture
def log(agent: Child) -> AgentLog:
    return AgentLog(agent.log)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def watch(agent: Child, tmp_path: Path, output: io.StringIO) -> Watch:
    ports = {"market-predictor": 1, "market-gateway": 2, "devops-ai-agent": 3}
    place = Place(
        scratch=tmp_path,
        stack="unit",
        docker_host="unix:///nowhere",
        ports=ports,
        agent_port=4,
        prometheus_port=1,
        alertmanager_port=free_port(),  # nobody listens: no alerts
        prefect_port=1,
    )
    return Watch(place, Feed(agent), View(Console(file=output, highlight=False)))


def test_a_repair_is_followed_to_its_report(
    watch: Watch, log: AgentLog, output: io.StringIO
) -> None:
    log.text("a banner of another program\n")
    log.repair()
    wanted = frozenset({"market-predictor"})
    repair = watch.repair(wanted, broke_at=BEGAN.timestamp(), seconds=10)
    assert repair.seconds == pytest.approx(3.5)
    assert repair.detected_by == "Stopped"
    assert repair.planner == "runbook"
    assert repair.operations == ["start"]
    assert (repair.intent, repair.report) == ("a" * 40, "b" * 40)
    text = output.getvalue()
    assert "\x1b" not in text  # no colours in a pipe
    assert max(len(line) for line in text.splitlines()) <= 80
    for expected in ("exit 137", "runbook start-stopped", "no LLM is configured", "aaaaaaa"):
        assert expected in text


def test_each_fact_is_shown_when_it_is_known(
    watch: Watch, log: AgentLog, output: io.StringIO
) -> None:
    log.write("drift_found", target=PREDICTOR, kind="Stopped", desired="running", observed="exit 1")
    log.write("run_finished", result="drift_remains", pending=0)
    log.write("drift_found", target=PREDICTOR, kind="Stopped", desired="running", observed="exit 1")
    log.write("operation_started", target=PREDICTOR, operation="start")
    repair = watch.repair(frozenset({"market-predictor"}), broke_at=0, seconds=0.3)
    lines = output.getvalue().splitlines()
    assert "drift      market-predictor Stopped: Git says running, seen: exit 1" in lines
    assert output.getvalue().count("drift ") == 1  # not again by the next run
    assert "operation  start market-predictor …" in lines
    assert repair.drifts == []  # nobody has planned for it


def test_a_wait_is_a_line_in_a_pipe_and_grows_older_on_a_terminal() -> None:
    pipe, terminal = io.StringIO(), io.StringIO()
    with View(Console(file=pipe, highlight=False)).waiting("Prefect starts …"):
        assert pipe.getvalue() == "wait       Prefect starts …\n"
    with View(Console(file=terminal, force_terminal=True)).waiting("Prefect starts …"):
        pass
    assert "Prefect starts … 0 s" in terminal.getvalue()


def test_a_repair_that_is_not_verified_has_no_time(watch: Watch, log: AgentLog) -> None:
    log.repair(result="not_recovered")
    wanted = frozenset({"market-predictor"})
    repair = watch.repair(wanted, broke_at=BEGAN.timestamp(), seconds=0.3)
    assert repair.seconds is None
    assert repair.report == ""


def test_an_agent_that_dies_ends_the_watching(
    watch: Watch, agent: Child, output: io.StringIO
) -> None:
    agent.process.kill()
    agent.process.wait()
    with pytest.raises(PermanentError, match="the agent ended with exit code -9"):
        watch.repair(frozenset({"x"}), broke_at=0, seconds=10)
    assert output.getvalue() == ""


def test_quiet_waits_for_a_run_without_drift(watch: Watch, log: AgentLog) -> None:
    log.write("drift_found", target=PREDICTOR, kind="Stopped")
    log.write("run_finished", result="converged", pending=0)
    assert not watch.quiet(seconds=0.2)
    log.write("run_finished", result="converged", pending=0)
    assert watch.quiet(seconds=5)


def test_half_a_line_is_kept_until_its_end_comes(agent: Child) -> None:
    feed = Feed(agent)
    log = AgentLog(agent.log)
    log.text('{"timestamp": "2026-11-22T10:00:00+00:00", "event": "run_')
    assert [event for event in feed.follow(seconds=0.1) if event] == []
    log.text('finished", "n": 1}\n')
    found = [event for event in feed.follow(seconds=0.1) if event]
    assert [(event.name, event.fields) for event in found] == [("run_finished", {"n": 1})]


@pytest.mark.parametrize(
    "line",
    [b"", b"Starting server", b"{", b"[]", b'{"event": "x"}', b'{"timestamp": 3, "event": "x"}'],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    ("fields", "quiet"),
    [
        ({"result": "converged", "pending": 0}, True),
        ({"result": "drift_remains", "pending": 0}, True),  # about other people's targets
        ({"result": "error"}, False),
        ({"result": "drift_remains", "pending": 1}, False),
        ({"result": "drift_remains", "unreachable": ["local-docker/prometheus"]}, False),
    ],
)
def test_a_quiet_run(fields: dict[str, Any], quiet: bool) -> None:
    moment = {"timestamp": BEGAN.isoformat(), "event": "run_finished"}
    assert is_quiet(Run([], parse(json.dumps({**moment, **fields}).encode()))) is quiet


def test_a_run_that_has_not_finished_is_not_quiet() -> None:
    assert not is_quiet(Run())


def test_the_final_table_names_what_failed(output: io.StringIO) -> None:
    view = View(Console(file=output, highlight=False))
    view.result(
        [
            Line("container killed", "Stopped", "runbook", "start", 3.21, "c" * 40, ()),
            Line("container removed", "Missing", "llm", "create", None, "", ("no recovery",)),
        ]
    )
    text = output.getvalue()
    assert "3.2 s" in text
    assert "ccccccc" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_container_is_made_again_with_one_variable_changed() -> None:
    document = {
        "Config": {"Image": "market-predictor:1.4.2", "Env": ["A=1", "LOG_LEVEL=info"]},
        "HostConfig": {
            "Memory": 67108864,
            "NanoCpus": 500_000_000,
            "NetworkMode": "market",
            "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18000"}]},
        },
    }
    arguments = run_arguments(document, changed={"LOG_LEVEL": "debug"})
    assert " ".join(arguments) == (
        "--memory 67108864 --network market --cpus 0.5 --env A=1 --env LOG_LEVEL=debug"
        " --publish 127.0.0.1:18000:8000/tcp market-predictor:1.4.2"
    )
