"""The product: runs of the loop in this warm process, and what it says that it did.

What is counted here (operations, tokens) is shown; nothing is judged by it. A run that raises
is a fault of the product, and told as one.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.comparison.drift import Incident
from flows.listener import NullListener, RunRequest
from flows.llm.protocol import TokenUsage
from flows.reconcile import reconcile
from flows.report import RunReport
from flows.runtime import Runtime, open_runtime
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.operations import OperationOutcome


@dataclass
class Agent(NullListener):
    """One process of the agent. `operations`: those it has begun since they were last taken."""

    runtime: Runtime
    tokens: list[TokenUsage]
    operations: list[str] = field(default_factory=list)
    last: RunReport | None = None
    runs: int = 0

    def run(self) -> RunReport:
        """One run, now."""
        request = RunRequest(environments=None, targets=None, mode=None, run_id=str(uuid.uuid4()))
        self.last = reconcile(request, self.runtime, self)
        self.runs += 1
        return self.last

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:  # noqa: ARG002 - the protocol's
        failed = f" ({outcome.status.value}: {outcome.error})" if outcome.error else ""
        name = outcome.call.target.rpartition("/")[2]
        self.operations.append(f"{outcome.call.operation} {name}{failed}")

    def taken(self) -> tuple[list[str], int]:
        """Operations and tokens since the last call."""
        done, self.operations = self.operations, []
        spent = sum(used.prompt + used.output for used in self.tokens)
        self.tokens.clear()
        return done, spent

    def said(self) -> str:
        """What the last run says of itself, for a person who looks for the cause."""
        if self.last is None:
            return "no run"
        told = [f"{i.result.value}: {i.summary}" for i in self.last.incidents]
        told += [f"{t} left alone: {why}" for t, why in self.last.left_alone.items()]
        told += [
            f"{d.target} {d.kind.value} {d.message} (pending)" for d in self.last.comparison.pending
        ]
        return "; ".join([self.last.result.value, *told, *self.last.errors])


@contextlib.contextmanager
def agent(config: Path) -> Iterator[Agent]:
    """The agent with this configuration, until the end of the context."""
    tokens: list[TokenUsage] = []

    def note(_: str, usage: TokenUsage | None, __: float | None) -> None:
        if usage is not None:
            tokens.append(usage)

    with open_runtime(UniversalConfigLoader(config).load(), on_llm_request=note) as runtime:
        yield Agent(runtime, tokens)
