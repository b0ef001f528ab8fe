"""Requests to a model, each kept word for word, redacted, whichever way it ended.

What the planner's conversation and the coding agent do alike: ask, take the time, keep what
was sent and said. Neighbours: `flows.llm.client` (asks), `flows.plan.Exchange` (what is kept),
`flows.llm.conversation` and `flows.proposals.advice` (who ask).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flows.llm.budget import IncidentMeter
from flows.llm.client import LlmClient
from flows.llm.contract import LlmAnswer
from flows.llm.protocol import ChatRequest
from flows.plan import Exchange
from infrastructure.errors import UiciError

# What is kept of an answer that is of no use: enough to see what it was.
_MAX_KEPT_ANSWER = 20_000


@dataclass(slots=True)
class Exchanges:
    """What was asked and answered about one matter, oldest first. One thread.

    `timeout`: seconds of one request; `seconds`: how long the endpoint has been waited for.
    """

    client: LlmClient
    meter: IncidentMeter
    redact: Callable[[str], str]
    timeout: float
    done: list[Exchange] = field(default_factory=list)
    seconds: float = 0.0

    def ask(self, request: ChatRequest, *, purpose: str, prompt_tokens: int) -> LlmAnswer:
        """Ask once.

        Args:
            request: what is sent.
            purpose: a word for the report.
            prompt_tokens: the most that it can have, set aside in the budgets.

        Raises:
            UiciError: the endpoint could not be asked, or the budget is spent.
        """
        self.meter.expect(prompt_tokens=prompt_tokens)
        started, requests = time.monotonic(), self.meter.requests
        try:
            answer = self.client.ask(request, timeout=self.timeout, meter=self.meter)
        except UiciError as exc:
            seconds = time.monotonic() - started
            self.seconds += seconds
            if self.meter.requests > requests:  # else nothing was sent
                self._keep(request, purpose, f"[no answer: {exc}]", seconds)
            raise
        self.seconds += answer.seconds
        told = answer.text or json.dumps([[call.name, call.arguments] for call in answer.calls])
        self._keep(request, purpose, told, answer.seconds, answer)
        return answer

    def known(self, request: ChatRequest, text: str, *, purpose: str) -> LlmAnswer:
        """An answer that is known already, kept like one that was asked for; it costs nothing."""
        self._keep(request, purpose, text, 0.0)
        return LlmAnswer(text, 0, 0, 0.0, 0, request.model)

    def _keep(
        self,
        request: ChatRequest,
        purpose: str,
        told: str,
        seconds: float,
        answer: LlmAnswer | None = None,
    ) -> None:
        messages = request.told(self.client.dialect)
        self.done.append(
            Exchange(
                purpose=purpose,
                model=request.model,
                endpoint=self.client.endpoint,
                messages=tuple((role, self.redact(text)) for role, text in messages),
                answer=self.redact(told)[:_MAX_KEPT_ANSWER],
                seconds=round(seconds, 3),
                prompt_tokens=(answer.prompt_tokens or None) if answer else None,
                output_tokens=(answer.output_tokens or None) if answer else None,
            )
        )
