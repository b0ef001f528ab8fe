"""What was asked of a model and what it cost, for reports: exact in JSON, brief in Markdown.

A text that stands in a report once is named by its digest from then on (incidents of one
environment share their instructions), and all of them together are bounded. Pure.
Neighbours: `flows.reporting.as_json`, `flows.reporting.markdown`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flows.plan import Exchange, LlmUsage, Plan, PlannerKind
from flows.reporting.text import count, seconds

# Characters of prompts and answers in one report; the rest is left out and said.
_ROOM = 200_000
_DIGEST = 12
_TOLD = ("rules", PlannerKind.LEARNED.value)
_SAID = 600  # of an answer, in Markdown
_SMALLEST = 0.01  # of a cent: less is not worth digits


class Exact(str):
    """Text that stands in JSON as it is: not shortened, not made one line."""

    __slots__ = ()


@dataclass(slots=True)
class ReportTexts:
    """What one report has told already."""

    room: int = _ROOM
    seen: set[str] = field(default_factory=set)

    def text(self, text: str) -> dict[str, Any]:
        """The text with its digest, or its digest alone."""
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_DIGEST]
        if digest in self.seen:
            return {"digest": digest}
        if len(text) > self.room:
            return {"digest": digest, "leftOut": f"{len(text)} characters"}
        self.seen.add(digest)
        self.room -= len(text)
        return {"digest": digest, "text": Exact(text)}

    def exchange(self, exchange: Exchange) -> dict[str, Any]:
        """One request and its answer."""
        return {
            "purpose": exchange.purpose,
            "model": exchange.model,
            "endpoint": exchange.endpoint,
            "seconds": exchange.seconds,
            "promptTokens": exchange.prompt_tokens,
            "outputTokens": exchange.output_tokens,
            "messages": [{"role": role, **self.text(text)} for role, text in exchange.messages],
            "answer": self.text(exchange.answer),
        }

    def planning(self, plan: Plan) -> dict[str, Any]:
        """Phases, cause, what was asked, and who declined at what cost."""
        return {
            "cause": plan.cause and {"kind": plan.cause.kind, "target": plan.cause.target},
            "phases": [
                {"phase": record.phase, "by": record.by, "finding": record.finding}
                for record in plan.phases
                if record.by not in _TOLD  # their findings are the plan's reason and diagnosis
            ],
            "usage": usage_to_dict(plan.usage),
            "exchanges": [self.exchange(exchange) for exchange in plan.exchanges],
            "declined": [
                {
                    "planner": declined.planner,
                    "reason": declined.reason,
                    "usage": usage_to_dict(declined.usage),
                    "exchanges": [self.exchange(exchange) for exchange in declined.exchanges],
                }
                for declined in plan.declined
                # What cost nothing, and stands in the plan's reason, is told.
                if declined.usage
                or declined.exchanges
                or declined.reason not in plan.planner_reason
            ],
        }


def usage_to_dict(usage: LlmUsage | None) -> dict[str, Any] | None:
    """What an asking has cost."""
    if usage is None:
        return None
    return {
        "model": usage.model,
        "endpoint": usage.endpoint,
        "requests": usage.requests,
        "promptTokens": usage.prompt_tokens,
        "outputTokens": usage.output_tokens,
        "dollars": usage.dollars,
        "seconds": usage.seconds,
        "promptVersion": usage.prompt_version,
    }


def usages(plans: Iterable[Plan]) -> list[LlmUsage]:
    """What each asking has cost, in vain or not."""
    return [
        usage
        for plan in plans
        for usage in (plan.usage, *(declined.usage for declined in plan.declined))
        if usage is not None
    ]


def run_cost(plans: Iterable[Plan]) -> str:
    """What asking models has cost a whole run, in one line."""
    found = usages(plans)
    if not found:
        return "no model asked"
    tokens = sum(usage.prompt_tokens + usage.output_tokens for usage in found)
    requests = count(sum(usage.requests for usage in found), "request")
    prices = [usage.dollars for usage in found if usage.dollars is not None]
    cost = f"{count(tokens, 'token')} in {requests}, {_money(sum(prices) if prices else None)}"
    return cost + (" and more of unknown price" if 0 < len(prices) < len(found) else "")


def _money(dollars: float | None) -> str:
    """As people read it: `0.02 ct`, `1.20 US dollars`; None: nobody has told the prices."""
    if dollars is None:
        return "price unknown"
    if dollars >= 1:
        return f"{dollars:,.2f} US dollars"
    cents = dollars * 100
    return f"{cents:.2f} ct" if cents >= _SMALLEST or not cents else f"less than {_SMALLEST} ct"


def cost_lines(plan: Plan, put: Callable[..., str]) -> Iterator[str]:
    """What asking has cost, a sentence each, in vain or not."""
    if plan.usage is not None:
        yield f"Asked {_cost(plan.usage, put)}"
    for declined in plan.declined:
        if declined.usage is not None:
            yield f"Asked in vain {_cost(declined.usage, put)}"


def _cost(usage: LlmUsage, put: Callable[..., str]) -> str:
    return (
        f"{put(usage.model)} (prompt {put(usage.prompt_version)}):"
        f" {count(usage.requests, 'request')}, {usage.prompt_tokens:,} + {usage.output_tokens:,}"
        f" tokens, {_money(usage.dollars)}, {seconds(usage.seconds)}."
    )


def planning_lines(plan: Plan, put: Callable[..., str]) -> Iterator[str]:
    """Phase by phase, and what a model answered; the exact messages are in the JSON report."""
    asked = [*(e for d in plan.declined for e in d.exchanges), *plan.exchanges]
    if not asked:
        return
    yield "<details><summary>How it was planned</summary>"
    yield ""
    for record in plan.phases:
        yield f"- {record.phase.value} (by {put(record.by)}): {put(record.finding, 300)}"
    for exchange in asked:
        tokens = f"{exchange.prompt_tokens or '?'} + {exchange.output_tokens or '?'} tokens"
        yield (
            f"- {put(exchange.model)} was asked ({put(exchange.purpose)}, {tokens},"
            f" {seconds(exchange.seconds)}) and said: {put(exchange.answer, _SAID)}"
        )
    yield "- The exact messages are in the JSON report beside this one."
    yield ""
    yield "</details>"
    yield ""
