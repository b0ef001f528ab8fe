"""`uici serve` with a loop that only pretends: Prefect's side of it, alone, in a process.

    python -m tests.integration.prefect.stub PLATFORM_JSON

What the loop does is read from the file `behaviour` of the data directory at each run,
and each run's begin and end are lines of its file `runs`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.alert_inbox import Alerts, KnownServices
from flows.guard import Decision
from flows.listener import Listener, RunRequest
from flows.logging_setup import configure_logging
from flows.proposals.result import Proposal, Result, Writing
from flows.reporting.values import IncidentResult, RunReport, RunResult
from flows.serve import run_service
from infrastructure.config_loader import DEFAULT_DIRECTORY
from infrastructure.config_models import Platform
from infrastructure.errors import PermanentError, UiciError
from infrastructure.identity import AgentIdentity
from infrastructure.redaction import Redactor
from infrastructure.service import Service
from infrastructure.yaml_source import parse_yaml
from tests.builders import service
from tests.fakes.run_reports import (
    comparison,
    drift,
    healing_run,
    incident,
    plan,
    quiet_run,
    report,
    unresolved_run,
)

if TYPE_CHECKING:
    from flows.prefect_edge.flow import Loop

SECRET_PATTERN = r"sk-[a-z]{16,}"
LOOK_EVERY = 0.05


def platform_with(data: Path, **prefect: Any) -> Platform:
    """platform.yml as shipped, with this data directory and these Prefect settings."""
    path = DEFAULT_DIRECTORY / "platform.yml"
    (document,) = parse_yaml(path.read_bytes(), file=str(path), max_bytes=1_000_000)
    raw: dict[str, Any] = json.loads(json.dumps(document.data))
    raw["dataDirectory"] = str(data)
    # Several of them run side by side.
    raw["serve"] = {"http": prefect.pop("http", None), "webhook": prefect.pop("webhook", None)}
    raw["reconcile"]["interval"] = prefect.pop("interval", "2s")
    raw["log"] = {"level": "debug", "format": "json"}
    server = {**raw["prefect"]["server"], **prefect.pop("server", {})}
    raw["prefect"] = {**raw["prefect"], "pollInterval": "200ms", **prefect, "server": server}
    return Platform.model_validate(raw)


class Stub:
    """The pretended loop."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def run(self, request: RunRequest, listener: Listener) -> RunReport:
        word, _, argument = (self._data / "behaviour").read_text().partition(" ")
        self.note("begin", request)
        try:
            return self._behaviours(argument)[word](request, listener)
        finally:
            self.note("end", request)

    def _behaviours(
        self, argument: str
    ) -> Mapping[str, Callable[[RunRequest, Listener], RunReport]]:
        return {
            "quiet": quiet_run,
            "heal": healing_run,
            "wait": lambda r, ls: unresolved_run(
                r, ls, result=IncidentResult.WAITING, decision=Decision.NEEDS_APPROVAL
            ),
            "escalate": lambda r, ls: unresolved_run(
                r, ls, result=IncidentResult.ESCALATED, decision=Decision.DENIED
            ),
            "slow": lambda r, ls: self._slow(r, ls, float(argument)),
            "step": lambda _, ls: self._step_after_step(ls),
            "hang": lambda r, ls: self._slow(r, ls, 3600),
            "fail": lambda _, __: _fail(),
            "error": _error,
            "crash": lambda r, _: {}[r.run_id],
        }

    def _slow(self, request: RunRequest, listener: Listener, seconds: float) -> RunReport:
        time.sleep(seconds)
        return quiet_run(request, listener)

    def _step_after_step(self, listener: Listener) -> RunReport:
        """Operations without end, until the listener stops it."""
        broken = incident(drift())
        made = plan(broken)
        listener.planned(broken, made)
        while True:
            listener.operation_started(broken, made.steps[0].call)
            time.sleep(LOOK_EVERY)

    def note(self, word: str, request: RunRequest) -> None:
        with (self._data / "runs").open("a") as notes:
            notes.write(f"{word} {time.time()} {request.run_id} {request.mode}\n")
        if word == "begin":
            with (self._data / "targets").open("a") as notes:
                wanted = "all" if request.targets is None else ",".join(request.targets)
                notes.write(f"{time.time()} {wanted}\n")


def _error(request: RunRequest, listener: Listener) -> RunReport:
    errors = ["Git can't be read"]
    finished = report(request, comparison(), result=RunResult.ERROR, errors=errors)
    listener.run_finished(finished)
    return finished


def _fail() -> RunReport:
    raise PermanentError("the state repository is gone: set git.remote in platform.yml")


def watched() -> Mapping[str, Service]:
    """The services whose alerts the webhook knows."""
    made = [service(name, alerts=[{"matchers": {"service": name}}]) for name in ("web", "db")]
    return {each.target: each for each in made}


def main() -> int:
    platform = Platform.model_validate_json(Path(sys.argv[1]).read_text())
    data = Path(platform.data_directory)
    redactor = Redactor([SECRET_PATTERN])
    configure_logging(platform.log, redactor)
    try:
        alerts = Alerts(AgentIdentity("agent", frozenset({"agent"})), KnownServices(watched()))
        return run_service(platform, data, lambda: open_stub(data, redactor), alerts=alerts)
    except UiciError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


@contextlib.contextmanager
def open_stub(data: Path, redactor: Redactor) -> Iterator[Loop]:
    from flows.prefect_edge.flow import Loop  # noqa: PLC0415 - after Prefect's settings

    proposes = pretend if (data / "proposes").exists() else None
    yield Loop(run=Stub(data).run, render=markdown, redactor=redactor, propose=proposes)


def pretend(request: RunRequest, writing: Writing) -> tuple[Proposal, ...]:
    """What considering proposals might say."""
    if request.targets == ("nobody",):
        raise PermanentError("no target is named nobody")
    result = Result.WOULD_OPEN if writing is Writing.DRY_RUN else Result.OPENED
    return (Proposal("t", "b", result, f"for {', '.join(request.targets or ['all'])}"),)


def markdown(finished: RunReport) -> str:
    lines = [f"# Run {finished.run_id}", *(d.message for d in finished.comparison.drifts)]
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
