"""The `approve` flow: one run for each request, suspended until a person fills in its form.

Suspended it costs no process and no slot, and outlives the agent and the machine: resumed, it
is scheduled again and taken by whoever works then. What the person says is written as the
same decision as `uici approve` writes; whether it counts is decided there. Prefect checks the
form before it resumes a run. Neighbours: `flows.prefect_edge.approve_runs` (makes the runs),
`flows.prefect_edge.flow` (how a loop is opened and a thread is waited for).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import structlog
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows.approvals.decision import MAX_REASON, Answer, Way
from flows.approvals.desk import Said
from flows.approvals.request import ApprovalRequest
from flows.approvals.standing import Standing
from flows.logging_setup import LOGGER_NAME
from flows.prefect_edge.approve_form import form_text
from flows.prefect_edge.flow import Loop, OpenLoop, in_thread, open_default_loop
from infrastructure.errors import UiciError

FLOW_NAME = "approve"
_KEY = "decision"  # of the suspension: a run that begins again finds its answer by it
_NAME = 100


class Choice(StrEnum):
    """What the form offers."""

    APPROVE = "approve"
    REJECT = "reject"


class ApprovalForm(RunInput):
    """What a person fills in. Nothing is chosen beforehand."""

    decision: Choice = Field(description="approve: exactly this plan, once; reject: not this one")
    your_name: str = Field(min_length=1, max_length=_NAME, description="Stands in Git's history.")
    reason: str = Field(default="", max_length=MAX_REASON)


def build_approve_flow(open_loop: OpenLoop) -> Flow[..., Any]:
    """The `approve` flow around a loop that has a desk."""

    async def approve(request: str) -> State[None]:
        """Ask a person whether a plan that waits may be carried out.

        Args:
            request: Id of the request; see `uici approve`.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("the approve flow runs inside of a Prefect flow run only")
        asked = await _outermost(open_loop, lambda loop: _opened(loop, request))
        if isinstance(asked, State):
            return asked
        seconds, form = asked
        answer = await asuspend_flow_run(wait_for_input=form, timeout=seconds, key=_KEY)
        assert answer is not None  # noqa: S101  # Prefect gives what it was asked for
        said = Said(Answer(answer.decision.value), answer.your_name, Way.PREFECT, answer.reason)
        written = await _outermost(open_loop, lambda loop: _written(loop, request, said))
        assert isinstance(written, State)  # noqa: S101  # a decision opens no form
        return written

    return Flow(
        approve,
        name=FLOW_NAME,
        description="Asks a person about a plan that waits. Made by UICI; see `uici approve`.",
        persist_result=False,
        validate_parameters=True,
    )


Ask = tuple[int, type[ApprovalForm]]  # seconds until it expires, the form with its text


async def _outermost(
    open_loop: OpenLoop, work: Callable[[Loop], Ask | State[None]]
) -> Ask | State[None]:
    """The outermost boundary: whatever happens becomes a state with one clear message."""

    def body_of_thread() -> Ask | State[None]:
        with open_loop() as loop:
            try:
                return work(loop)
            except UiciError as exc:
                return Failed(message=loop.redactor.text(str(exc)))

    try:
        return await in_thread(body_of_thread)
    except UiciError as exc:  # the loop could not be opened; such messages hold no secret
        return Failed(message=str(exc))
    except Exception as exc:  # noqa: BLE001 - the flow's outermost boundary; reported here
        structlog.get_logger(LOGGER_NAME).exception("approve_crashed")
        return Failed(message=f"a mistake in UICI ({type(exc).__name__}): its log says where")


def _opened(loop: Loop, request: str) -> Ask | State[None]:
    """The form of a request that waits; the end of the run where it waits no more."""
    assert loop.desk is not None  # noqa: S101  # only such a loop has this deployment
    shown = loop.desk.one(request)
    if shown.stands.standing is not Standing.WAITING:
        return Cancelled(message=f"{shown.stands.standing.value}: {shown.stands.reason}")
    left = shown.request.expires_at - loop.desk.now()
    return max(1, int(left.total_seconds())), form_of(shown.request)


def form_of(request: ApprovalRequest) -> type[ApprovalForm]:
    """The form with all that a person has to know, in Markdown."""
    return ApprovalForm.with_initial_data(description=form_text(request))


def _written(loop: Loop, request: str, said: Said) -> State[None]:
    assert loop.desk is not None  # noqa: S101  # as above
    about, told = loop.desk.say(request, said)
    loop.decided(about.target)
    return Completed(message=loop.redactor.text(told))


approve = build_approve_flow(open_default_loop)
