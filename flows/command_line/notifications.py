"""What `uici notifications apply` does: connect, compare, write, tell.

Neighbour: `flows.prefect_edge.notifications`, which is imported after Prefect's settings are
in the environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flows.prefect_edge.server import client_environment
from infrastructure.errors import InvalidInputError, Problem, TemporaryError
from infrastructure.secret_references import SecretResolver
from infrastructure.yaml_source import Location, parse_yaml

if TYPE_CHECKING:
    from flows.prefect_edge.notifications import Done
    from infrastructure.config_loader import UniversalConfig


_SECONDS = 60.0  # for all of it: a handful of requests


def apply(config: UniversalConfig, *, for_real: bool) -> tuple[Done, ...]:
    """Bring Prefect to what platform.yml says; what was done, or would be.

    Raises:
        InvalidInputError: a channel's settings are not valid, or a secret is not there.
        PermanentError: a block of a channel's name is a person's own.
        TemporaryError: Prefect does not answer.
    """
    settings = config.platform.prefect
    os.environ.update(client_environment(settings.api_url, config.data_directory / "prefect"))
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings

    from flows.prefect_edge.channel_blocks import ChannelError  # noqa: PLC0415 - the same
    from flows.prefect_edge.listener import API_ERRORS  # noqa: PLC0415 - the same
    from flows.prefect_edge.notifications import Notifications, Write  # noqa: PLC0415 - the same
    from flows.prefect_edge.secret_block import read_prefect_block  # noqa: PLC0415 - the same

    wanted = Notifications(
        config.platform.notifications,
        settings.work_pool,
        SecretResolver(read_block=read_prefect_block),
    )

    async def work() -> tuple[Done, ...]:
        async with asyncio.timeout(_SECONDS), get_client() as client:
            return await wanted.apply(client, Write.FOR_REAL if for_real else Write.DRY_RUN)

    # What it says of an address that it refuses quotes the address, which is the secret.
    logging.getLogger("apprise").disabled = True
    try:
        return asyncio.run(work())
    except ChannelError as exc:
        raise InvalidInputError([_placed(config, exc.location, exc.reason)]) from exc
    except (*API_ERRORS, RuntimeError) as exc:
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        raise TemporaryError(
            f"the Prefect API at {settings.api_url} does not do it ({reason}): start uici serve, "
            "or correct prefect.apiUrl in platform.yml, then run it again"
        ) from exc


def _placed(config: UniversalConfig, location: Location, reason: str) -> Problem:
    """With the line of platform.yml, which was valid when it was read."""
    path = config.directory / "platform.yml"
    try:
        content = path.read_bytes()
        (document,) = parse_yaml(content, file=str(path), max_bytes=len(content))
    except (OSError, ValueError, InvalidInputError):  # changed since then
        return Problem(str(path), 0, 0, f"{'.'.join(map(str, location))}: {reason}")
    return document.problem(location, reason)


def as_data(done: Sequence[Done]) -> dict[str, Any]:
    """As JSON."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Notifications",
        "changes": [
            {"change": each.change.value, "kind": each.kind, "name": each.name} for each in done
        ],
    }


def lines(done: Sequence[Done], *, for_real: bool) -> Iterator[str]:
    """For people: what changes, one a line; then how much does not."""
    unchanged = sum(each.change.value == "unchanged" for each in done)
    for each in done:
        match each.change.value:
            case "unchanged":
                continue
            case "left alone":
                yield f"left alone: {each.kind} {each.name}, which uici did not make"
            case change:
                yield f"{'' if for_real else 'would be '}{change}: {each.kind} {each.name}"
    if not done:
        yield "platform.yml names no channel, and there is nothing to remove"
    elif unchanged:
        yield f"{unchanged} as they should be"
