"""One channel of platform.yml as one of Prefect's notification blocks, checked before it is saved.

What Prefect or its notification library would only stumble over when somebody has to be told
is refused here: an address that nothing can be sent to, a secret where Prefect shows the
field to everybody. No message holds a value. Neighbour: `flows.prefect_edge.notifications`,
which keeps the blocks on the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from prefect.blocks import notifications as blocks
from prefect.blocks.core import Block
from prefect.blocks.notifications import (
    AbstractAppriseNotificationBlock,
    CustomWebhookNotificationBlock,
)
from pydantic import ValidationError

from infrastructure.config_models import NotificationChannel
from infrastructure.config_models.notification_settings import BLOCKS
from infrastructure.errors import PermanentError
from infrastructure.service import SecretRef

Resolve = Callable[[str], str]

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")  # as Prefect's templates have them


class ChannelError(PermanentError):
    """A channel's settings are not those of its block. Nothing was written.

    Attributes:
        location: keys in platform.yml, down to the field that is meant.
        reason: what is wrong, without the place.
    """

    def __init__(self, channel: str, field: str | None, reason: str) -> None:
        settings = ("notifications", "channels", channel, "settings")
        self.location = settings if field is None else (*settings, field)
        self.reason = reason
        super().__init__(f"{'.'.join(settings)} in platform.yml: {reason}")


def _kinds() -> Mapping[str, type[Block]]:
    """The notification blocks that Prefect ships and platform.yml may name, by slug."""
    shipped = {
        each.get_block_type_slug(): each
        for each in vars(blocks).values()
        if isinstance(each, type) and issubclass(each, Block)
    }
    return {slug: shipped[slug] for slug in BLOCKS}


KINDS = _kinds()


def block_of(channel: str, each: NotificationChannel, resolve: Resolve) -> Block:
    """The block, not saved.

    Args:
        channel: its name in platform.yml.
        each: its settings.
        resolve: the value behind a secret reference.

    Raises:
        ChannelError: the block has no such field, its own checks or its library refuse the
            values, a secret is given where it would be shown, or is not there.
    """
    kind = KINDS[each.block]
    for key, value in each.settings.items():
        if (wrong := _misplaced(each.block, kind, key, value)) is not None:
            raise ChannelError(channel, key, wrong)
    try:
        block = kind.model_validate(
            {
                key: _resolved(channel, key, value, resolve) if keeps_secret(kind, key) else value
                for key, value in each.settings.items()
            }
        )
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        field = str(first["loc"][0]) if first["loc"] else None
        # What a block's own check says may quote the secret; what pydantic says does not.
        own = first["type"] in {"value_error", "assertion_error"}
        why = f"{each.block} refuses it" if own else first["msg"]
        raise ChannelError(channel, field, f"{where}: {why}") from None
    except (KeyError, TypeError, ValueError) as exc:  # their words may quote the secret
        reason = f"{each.block} refuses it ({type(exc).__name__}): see Prefect's page of this block"
        raise ChannelError(channel, None, reason) from None
    if (wrong := _unreachable(each.block, block)) is not None:
        raise ChannelError(channel, "url" if "url" in each.settings else None, wrong)
    return block


def fields_of(block: Block) -> dict[str, Any]:
    """A block's fields as the server keeps them, secrets included."""
    names = set(type(block).model_fields)
    secrets = {"include_secrets": True}
    return block.model_dump(mode="json", by_alias=True, include=names, context=secrets)


def keeps_secret(kind: type[Block], key: str) -> bool:
    """Whether Prefect never shows the field again."""
    return "Secret" in str(kind.model_fields[key].annotation)


def _misplaced(slug: str, kind: type[Block], key: str, value: Any) -> str | None:
    """Why this field can't be given, or not like this."""
    if key not in kind.model_fields:
        return f"{slug} has no {key}: it has {', '.join(sorted(kind.model_fields))}"
    if keeps_secret(kind, key):
        if _by_reference(value):
            return None
        return f'{key} is kept secret: write {{secret: "env:NAME"}} instead of it'
    if any(_references(value)):
        kept = ", ".join(name for name in sorted(kind.model_fields) if keeps_secret(kind, name))
        hint = ""
        if kind is CustomWebhookNotificationBlock:
            hint = f": write secrets: {{NAME: {{secret: …}}}}, and {{{{NAME}}}} in {key}"
        return f"Prefect shows {key} to everybody; {slug} keeps secret: {kept}{hint}"
    return None


def _by_reference(value: Any) -> bool:
    """Whether it is a reference, or a table of nothing but references."""
    if isinstance(value, Mapping):
        return _is_one(value) or all(_by_reference(each) for each in value.values())
    return False


def _is_one(value: Mapping[str, Any]) -> bool:
    """Whether it is meant as a reference; a table may have an entry of that name, too."""
    return set(value) == {"secret"} and not isinstance(value["secret"], Mapping)


def _references(value: Any) -> Iterator[SecretRef]:
    """Every secret reference in it. `{secret: …}` with other words is text of a person's own."""
    if isinstance(value, Mapping):
        try:
            yield SecretRef.model_validate(value)
        except ValidationError:
            for each in value.values():
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _resolved(channel: str, key: str, value: Any, resolve: Resolve) -> Any:
    if not _is_one(value):
        return {name: _resolved(channel, key, each, resolve) for name, each in value.items()}
    try:
        reference = SecretRef.model_validate(value)
    except ValidationError:
        reason = f"{key}: a secret reference has to be env:NAME, file:/path or prefect:block-name"
        raise ChannelError(channel, key, reason) from None
    try:
        return resolve(reference.secret)
    except PermanentError as exc:
        raise ChannelError(channel, key, f"{key}: {exc}") from exc


def _unreachable(slug: str, block: Block) -> str | None:
    """Why nothing could ever be sent by it. Prefect itself finds out when it has to send."""
    if isinstance(block, AbstractAppriseNotificationBlock):
        # The library takes an address that it does not understand, and sends to nobody.
        if len(block._apprise_client) > 0:  # noqa: SLF001 - Prefect tells it no other way
            return None
        return f"{slug} can't be sent to with these values: is the address whole?"
    if isinstance(block, CustomWebhookNotificationBlock) and not _is_address(block):
        return "url: not an http:// or https:// address"
    return None


def _is_address(block: CustomWebhookNotificationBlock) -> bool:
    secrets = block.secrets.get_secret_value()
    # What is no secret is Prefect's own, such as the subject: it has refused all other names.
    url = _PLACEHOLDER.sub(lambda found: str(secrets.get(found[1], "x")), block.url)
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket too many
        return False
