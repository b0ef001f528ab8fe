"""Which value to propose for a cause, and the bounds that nobody's suggestion may leave. Pure.

The rule alone always has an answer or says why not; a model may only choose another value
within the same bounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from flows.proposals.cause import IMAGE, MEMORY, REPLICAS, Cause
from infrastructure.config_models import ProposalSettings
from infrastructure.quantities import format_memory, parse_memory
from infrastructure.service import Service

_MI = 1024 * 1024
_SMALLEST_STEP = 16 * _MI  # below that a limit is noise
_STEPS_PER_DOUBLING = 8
# What an image reference is made of; nothing else may come into a file by a proposal.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")


@dataclass(frozen=True, slots=True)
class Value:
    """A field's text now and as proposed. `how`: the reckoning, in one sentence."""

    old: str
    new: str
    how: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked up for a cause.

    `earlier_image`: the image before the declared one in Git's history, if it did run.
    """

    earlier_image: str | None = None


def rule_value(
    cause: Cause, service: Service, settings: ProposalSettings, seen: Seen
) -> Value | str:
    """The rule's own value, or one line that says why there is none."""
    match cause.pointer:
        case "/resources/memory":
            return _memory(service, settings)
        case "/replicas":
            return _replicas(service, settings)
        case "/image":
            return _image(service, seen.earlier_image)
        case other:
            raise AssertionError(f"no rule for {other}")


def within_bounds(
    pointer: str, text: str, service: Service, settings: ProposalSettings, seen: Seen
) -> str | None:
    """A suggested value as it is written in YAML, or None: it leaves the bounds."""
    if pointer == MEMORY:
        return _bounded_memory(text, service, settings)
    if pointer == REPLICAS:
        fits = re.fullmatch(r"[0-9]{1,4}", text) is not None
        inside = fits and service.spec.replicas < int(text) <= settings.limits.replicas
        return str(int(text)) if inside else None
    if pointer == IMAGE:
        return text if text == seen.earlier_image and _IMAGE.fullmatch(text) else None
    return None


def _bounded_memory(text: str, service: Service, settings: ProposalSettings) -> str | None:
    limit = service.spec.resources.memory
    try:
        value = parse_memory(text)
    except ValueError:
        return None
    inside = limit is not None and limit < value <= settings.limits.memory
    return format_memory(value) if inside else None


def _memory(service: Service, settings: ProposalSettings) -> Value | str:
    """The limit was reached, so it is the highest use seen: no process is let beyond it."""
    limit = service.spec.resources.memory
    most = settings.limits.memory
    if not limit:
        return "it declares no memory limit that could be raised"
    if limit >= most:
        return f"its limit {format_memory(limit)} is the most that proposals.limits.memory allows"
    wanted = Decimal(limit) * Decimal(str(settings.headroom))
    new = min(_rounded_up(int(wanted.to_integral_value(ROUND_CEILING))), most)
    how = f"the limit that was reached, times {settings.headroom:g}, rounded up"
    return Value(format_memory(limit), format_memory(new), how)


def _rounded_up(size: int) -> int:
    """To an eighth of the power of two below, so that the figure stays short at any size."""
    step = max(_SMALLEST_STEP, (1 << (size.bit_length() - 1)) // _STEPS_PER_DOUBLING)
    return -(-size // step) * step


def _replicas(service: Service, settings: ProposalSettings) -> Value | str:
    now = service.spec.replicas
    if now == 0:
        return "it is declared with no replica"
    if now >= settings.limits.replicas:
        return f"its {now} replicas are the most that proposals.limits.replicas allows"
    return Value(str(now), str(now + 1), "one replica more")


def _image(service: Service, earlier: str | None) -> Value | str:
    if earlier is None:
        return "no earlier image of it is known to have run"
    if not _IMAGE.fullmatch(earlier):
        return "the image before it is written in a way that is not proposed"
    how = "the image before it in Git's history, which did run"
    return Value(service.spec.image, earlier, how)
