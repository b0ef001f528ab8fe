"""The `propose` flow: proposals considered by hand, from Prefect's UI.

The same as `uici propose`; every run of `reconcile` considers them, too. Neighbours:
`flows.prefect_edge.flow` (how a loop is opened and a thread is waited for),
`flows.prefect_edge.deployment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from flows.listener import RunRequest
from flows.logging_setup import LOGGER_NAME
from flows.prefect_edge.flow import Loop, OpenLoop, in_thread, open_default_loop
from flows.proposals.result import Proposal, Result, Writing
from infrastructure.errors import UiciError

FLOW_NAME = "propose"
_LIMIT = 2000  # characters of a state's message


def build_propose_flow(open_loop: OpenLoop) -> Flow[..., Any]:
    """The `propose` flow around a loop that can propose."""

    async def propose(targets: list[str] | None = None, dry_run: bool = False) -> State[None]:
        """Look for recurring drift that only another desired state ends; propose that.

        Args:
            targets: Only these services, as `environment/name`. Empty: all.
            dry_run: Say what would be proposed; write nothing, ask no model.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("the propose flow runs inside of a Prefect flow run only")
        request = RunRequest(
            environments=None,
            targets=tuple(targets) if targets else None,
            mode=None,
            run_id=str(context.flow_run.id),
        )
        writing = Writing.DRY_RUN if dry_run else Writing.FOR_REAL
        return await _guarded(open_loop, request, writing)

    return Flow(
        propose,
        name=FLOW_NAME,
        description="Proposes another desired state where the same drift recurs.",
        persist_result=False,
        validate_parameters=True,
    )


async def _guarded(open_loop: OpenLoop, request: RunRequest, writing: Writing) -> State[None]:
    """The outermost boundary: whatever happens becomes a state with one clear message."""

    def work() -> State[None]:
        with open_loop() as loop:
            try:
                return proposals_state(_proposals(loop, request, writing), loop)
            except UiciError as exc:
                return Failed(message=loop.redactor.text(str(exc)))

    try:
        return await in_thread(work)
    except UiciError as exc:  # the loop could not be opened; such messages hold no secret
        return Failed(message=str(exc))
    except Exception as exc:  # noqa: BLE001 - the flow's outermost boundary; reported here
        structlog.get_logger(LOGGER_NAME).exception("propose_crashed", run_id=request.run_id)
        return Failed(message=f"a mistake in UICI ({type(exc).__name__}): its log says where")


def _proposals(loop: Loop, request: RunRequest, writing: Writing) -> Sequence[Proposal]:
    assert loop.propose is not None  # noqa: S101  # only such a loop has this deployment
    return loop.propose(request, writing)


def proposals_state(found: Sequence[Proposal], loop: Loop) -> State[None]:
    """The Prefect state: what has become of each; failed if something is to be tried again."""
    told = "\n".join(f"{each.result.value} {each.branch}: {each.told}" for each in found)
    message = loop.redactor.text(told)[:_LIMIT] or "nothing recurs"
    if any(each.result is Result.FAILED for each in found):
        return Failed(message=message)
    return Completed(message=message)


propose = build_propose_flow(open_default_loop)
