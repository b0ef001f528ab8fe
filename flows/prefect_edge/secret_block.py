"""Prefect Secret blocks, for `prefect:NAME` references of desired state.

`infrastructure.secret_references` resolves references and is given this reader by
`flows.runtime`: it knows no Prefect.
"""

from __future__ import annotations

from typing import Any

from infrastructure.errors import PermanentError


def read_prefect_block(name: str) -> str:
    """The value of a Prefect Secret block, from the Prefect API.

    Raises:
        PermanentError: Prefect or the block can't be reached, or holds no text.
    """
    # Its import costs over a second that only users of `prefect:` references should pay.
    from httpx import HTTPError  # noqa: PLC0415  # see above
    from prefect.blocks.system import Secret  # noqa: PLC0415  # see above
    from prefect.exceptions import PrefectException  # noqa: PLC0415  # see above

    secret: Any = Secret  # Prefect's decorator hides `_sync` from type checkers
    try:
        value = secret.load(name, _sync=True).get()
    # ValueError: no such block. The others: the API is not there, or refuses.
    except (ValueError, RuntimeError, OSError, PrefectException, HTTPError) as exc:
        # Its text is not repeated: it may hold an address with credentials.
        raise PermanentError(
            f"the Prefect Secret block {name} can't be read ({type(exc).__name__}): "
            "create it, or check prefect.apiUrl in platform.yml"
        ) from exc
    if not isinstance(value, str):
        raise PermanentError(f"the Prefect Secret block {name} holds no text: store it as text")
    return value
