"""What a missing price means: apart from `flows.llm.budget`, which `uici validate` needs not."""

from __future__ import annotations

from collections.abc import Sequence

from infrastructure.config_models import LlmPrice


def unpriced(model: str, prices: Sequence[LlmPrice]) -> str | None:
    """That no limit in dollars can hold, in words; None: the model has a price."""
    if any(price.model == model for price in prices):
        return None
    return f"{model} has no price: no limit in dollars holds, only those of requests and tokens"
