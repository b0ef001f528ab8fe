"""Prefect's blocks and automations that tell people, made from platform.yml; never twice.

One block for each channel, one automation for each pair of what is told and who hears it.
They carry names of their own, with the work pool in them, and a mark that nobody copies by
accident: a block a field that no form shows, an automation its own id. What people have made,
copied or not, and what another UICI on the same server has made, is never touched.

Wanted and found are compared as values, so that a second call finds nothing to do. Two calls
at the same time, from any two machines, may both make an automation; each then looks again,
and all but the one with the lowest id go: whoever looks last sees all of them. Neighbours:
`flows.command_line.commands.notifying` (`uici notifications`), `flows.prefect_edge.listener`
(sends the events), `flows.prefect_edge.channel_blocks` (what a block is made of).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from pydantic import ValidationError

from flows.prefect_edge.channel_blocks import KINDS, Resolve, block_of, fields_of
from flows.prefect_edge.deployment import MANAGED_TAG
from flows.prefect_edge.occasions import OCCASIONS
from infrastructure.config_models import NotificationSettings
from infrastructure.errors import PermanentError, TemporaryError

_PAGE = 200  # of one answer of Prefect
_SEPARATOR = "--"  # no channel's name has two dashes
_RULE = "automation"
# In the data of blocks that UICI made: no field of any block, so that no form shows or sets it.
_MARK = "uici_managed"
_DESCRIPTION = "Made by uici notifications apply from platform.yml: change it there."


class Change(StrEnum):
    """What is done, or would be."""

    MADE = "made"
    UPDATED = "updated"
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    LEFT = "left alone"  # it looks like UICI's own, and a person made it


class Write(StrEnum):
    """Whether anything may be written."""

    FOR_REAL = "for real"
    DRY_RUN = "dry run"


@dataclass(frozen=True, slots=True)
class Done:
    """One block or automation, by its name."""

    change: Change
    kind: str  # block, automation
    name: str


@dataclass(frozen=True, slots=True)
class Notifications:
    """What is wanted on one Prefect server.

    Attributes:
        settings: channels, and who hears of what.
        work_pool: whose events count, and whose names these are.
        resolve: the value behind a secret reference.
    """

    settings: NotificationSettings
    work_pool: str
    resolve: Resolve

    async def apply(self, client: PrefectClient, write: Write) -> tuple[Done, ...]:
        """Bring the server to what is wanted; what was done, or would be.

        Raises:
            ChannelError: a channel's settings are not those of its block, or a secret is
                not there; nothing was written then.
            PermanentError: a block of a channel's name is somebody else's; the same.
        """
        wanted = {
            _Key(each.block, self._name(channel)): block_of(channel, each, self.resolve)
            for channel, each in self.settings.channels.items()
        }
        automations = await self._existing(client)
        heard = {action.block_document_id for each in automations for action in _sent_by(each)}
        found = await self._documents(client)
        own = {key: each for key, each in found.items() if each.marked or each.id in heard}
        foreign = found.keys() - own.keys()
        _refuse(foreign & wanted.keys())
        done: list[Done] = []
        ids: dict[str, UUID] = {}
        for key, block in wanted.items():
            change, ids[key.name] = await self._ensure_block(
                client, key, block, own.get(key), write
            )
            done.append(Done(change, "block", key.name))
        done += await self._ensure_automations(client, automations, ids, write)
        # A block that an automation still names would break it: the blocks go last.
        for key, document in own.items():
            if key not in wanted:
                if write is Write.FOR_REAL:
                    await _unless_gone(client.delete_block_document(document.id))
                done.append(Done(Change.REMOVED, "block", key.name))
        return (*done, *(Done(Change.LEFT, "block", key.name) for key in sorted(foreign)))

    def _name(self, channel: str) -> str:
        return f"uici{_SEPARATOR}{self.work_pool}{_SEPARATOR}{channel}"

    def _is_own(self, name: str) -> bool:
        return name.rpartition(_SEPARATOR)[0] == f"uici{_SEPARATOR}{self.work_pool}"

    @property
    def _tag(self) -> str:
        return f"uici:notifications:{self.work_pool}"

    @property
    def _prefix(self) -> str:
        return f"UICI ({self.work_pool}): "

    async def _documents(self, client: PrefectClient) -> dict[_Key, _Document]:
        """Blocks with names like this UICI's own. One name may stand for several kinds."""
        found: dict[_Key, _Document] = {}
        for slug in KINDS:
            documents: list[BlockDocument] = []
            while page := await client.read_block_documents_by_type(
                slug, offset=len(documents), limit=_PAGE, include_secrets=True
            ):
                documents += page
                if len(page) < _PAGE:
                    break
            for each in documents:
                if each.name is not None and self._is_own(each.name):
                    found[_Key(slug, each.name)] = _Document(each.id, each.data)
        return found

    async def _ensure_block(
        self, client: PrefectClient, key: _Key, block: Block, found: _Document | None, write: Write
    ) -> tuple[Change, UUID]:
        """The block's document; in a dry run an id that nobody has, where there is none."""
        if found is None and write is Write.DRY_RUN:
            return Change.MADE, UUID(int=0)
        if found is None:
            made = await _make_block(client, key, block)
            if made is not None:
                return Change.MADE, made
            # Somebody was faster, since the documents were read.
            found = (await self._documents(client)).get(key)
            if found is None or not found.marked:
                raise TemporaryError(f"the block {key.name} is being changed: run it again")
        if found.marked and _is_as(found, block):
            return Change.UNCHANGED, found.id
        if write is Write.FOR_REAL:
            update = BlockDocumentUpdate(data=_data(block), merge_existing_data=False)
            await client.update_block_document(found.id, update)
        return Change.UPDATED, found.id

    async def _ensure_automations(
        self,
        client: PrefectClient,
        found: Sequence[Automation],
        ids: Mapping[str, UUID],
        write: Write,
    ) -> list[Done]:
        wanted = {each.name: each for each in self._wanted(ids)}
        done = []
        kept, twice = _first_of_each(each for each in found if _is_of_uici(each))
        made = [each for name, each in wanted.items() if name not in kept]
        for name, existing in kept.items():
            done.append(Done(await _bring(client, existing, wanted.get(name), write), _RULE, name))
        done += [await _remove(client, each, write) for each in twice]
        for each in made:
            if write is Write.FOR_REAL:
                await self._make(client, each)
            done.append(Done(Change.MADE, _RULE, each.name))
        if made and write is Write.FOR_REAL:
            now = [each for each in await self._existing(client) if _is_of_uici(each)]
            for each in _first_of_each(now)[1]:
                await _remove(client, each, write)
        copies = (each.name for each in found if not _is_of_uici(each))
        return [*done, *(Done(Change.LEFT, _RULE, name) for name in sorted(copies))]

    async def _make(self, client: PrefectClient, wanted: AutomationCore) -> None:
        """Made, then marked with its id: a copy that a person makes says another's."""
        made = await client.create_automation(wanted)
        # Another call may have found it twice, and removed it.
        await _unless_gone(client.update_automation(made, _marked(wanted, made)))

    def _wanted(self, ids: Mapping[str, UUID]) -> list[AutomationCore]:
        return [
            self._automation(word, channel, ids[self._name(channel)])
            for word in OCCASIONS
            for channel in dict.fromkeys(getattr(self.settings.tell, word))
        ]

    def _automation(self, word: str, channel: str, block: UUID) -> AutomationCore:
        occasion = OCCASIONS[word]
        pool = {"prefect.resource.role": "work-pool", "prefect.resource.name": self.work_pool}
        return AutomationCore(
            name=f"{self._prefix}{occasion.title} → {channel}",
            description=_DESCRIPTION,
            tags=[MANAGED_TAG, self._tag],
            trigger=EventTrigger(
                expect=set(occasion.events),
                match_related=ResourceSpecification.model_validate(pool),
                for_each={"prefect.resource.id"},
                threshold=1,
            ),
            actions=[
                SendNotification(
                    block_document_id=block, subject=occasion.subject, body=occasion.body
                )
            ],
        )

    async def _existing(self, client: PrefectClient) -> list[Automation]:
        """Those that carry UICI's tag and name; a copy by a person may have both."""
        found: list[Automation] = []
        while page := await client.read_automations(limit=_PAGE, offset=len(found)):
            found += page
            if len(page) < _PAGE:
                break
        return [e for e in found if self._tag in e.tags and e.name.startswith(self._prefix)]


class _Key(NamedTuple):
    """What Prefect keeps apart blocks by."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class _Document:
    """A block as the server holds it, secrets included."""

    id: UUID
    data: Mapping[str, Any]

    @property
    def marked(self) -> bool:
        """Whether UICI made it."""
        return _MARK in self.data


def _refuse(foreign: Iterable[_Key]) -> None:
    for key in sorted(foreign):
        raise PermanentError(
            f"the block {key.name} ({key.slug}) in Prefect was not made by UICI, and is "
            "left alone: delete it there, or give the channel another name in "
            "platform.yml"
        )


def _data(block: Block) -> dict[str, Any]:
    return {**fields_of(block), _MARK: True}


def _is_as(found: _Document, wanted: Block) -> bool:
    """Whether the server holds just this; what it holds may be of an earlier Prefect."""
    held = {key: value for key, value in found.data.items() if key != _MARK}
    try:
        return fields_of(type(wanted).model_validate(held)) == fields_of(wanted)
    except (ValidationError, KeyError, TypeError, ValueError):
        return False


async def _make_block(client: PrefectClient, key: _Key, block: Block) -> UUID | None:
    """Not by the block's own `save`, which drops the mark. None: the name is taken."""
    kind = type(block)
    registering: Any = kind.aregister_type_and_schema(client=client)
    await registering
    block_type = await client.read_block_type_by_slug(key.slug)
    schema = await client.read_block_schema_by_checksum(kind._calculate_schema_checksum())  # noqa: SLF001 - as `save` asks for it
    document = BlockDocumentCreate(
        name=key.name,
        data=_data(block),
        block_schema_id=schema.id,
        block_type_id=block_type.id,
    )
    try:
        return (await client.create_block_document(document)).id
    except ObjectAlreadyExists:
        return None


def _sent_by(each: Automation) -> list[SendNotification]:
    """What one of UICI's own sends by; nothing for a copy of it."""
    if not _is_of_uici(each):
        return []
    return [action for action in each.actions if isinstance(action, SendNotification)]


def _is_of_uici(each: Automation) -> bool:
    """Whether it says its own id; one without any was left by a call that was cut short."""
    return each.description in {_DESCRIPTION, _described(each.id)}


def _described(automation: UUID) -> str:
    return f"{_DESCRIPTION} Its id: {automation}."


def _marked(wanted: AutomationCore, automation: UUID) -> AutomationCore:
    marked = wanted.model_copy(update={"description": _described(automation)})
    # An update sends what is set, and the server refuses a trigger without its defaults, and
    # an owner.
    return AutomationCore.model_validate(marked.model_dump(mode="json", exclude={"owner_resource"}))


def _first_of_each(
    found: Iterable[Automation],
) -> tuple[dict[str, Automation], list[Automation]]:
    """One for each name, the same for whoever looks; and the others."""
    kept: dict[str, Automation] = {}
    twice = []
    for each in sorted(found, key=lambda one: one.id):
        if each.name in kept:
            twice.append(each)
        else:
            kept[each.name] = each
    return kept, twice


async def _bring(
    client: PrefectClient, existing: Automation, wanted: AutomationCore | None, write: Write
) -> Change:
    if wanted is None:
        return (await _remove(client, existing, write)).change
    # Whether it is switched on is a person's word.
    same = _marked(wanted, existing.id).model_copy(update={"enabled": existing.enabled})
    if _same(existing, same):
        return Change.UNCHANGED
    if write is Write.FOR_REAL:
        await _unless_gone(client.update_automation(existing.id, same))
    return Change.UPDATED


async def _remove(client: PrefectClient, each: Automation, write: Write) -> Done:
    if write is Write.FOR_REAL:
        await _unless_gone(client.delete_automation(each.id))
    return Done(Change.REMOVED, _RULE, each.name)


async def _unless_gone(request: Awaitable[object]) -> None:
    """Another call may have removed it since it was read: nothing is left to do then."""
    try:
        await request
    except ObjectNotFound:
        pass
    except httpx.HTTPStatusError as exc:  # not every call of Prefect's client makes one of it
        if exc.response.status_code != httpx.codes.NOT_FOUND:
            raise


def _same(existing: AutomationCore, wanted: AutomationCore) -> bool:
    def seen(each: AutomationCore) -> Any:
        fields = {"name", "description", "trigger", "actions", "tags"}
        return _without_ids(each.model_dump(mode="json", include=fields))

    return bool(seen(existing) == seen(wanted))


def _without_ids(value: Any) -> Any:
    """Without the identities that the server gives to triggers, and with sets in order."""
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "id"}
    if isinstance(value, list):
        found = [_without_ids(each) for each in value]
        return sorted(found) if all(isinstance(each, str) for each in found) else found
    return value
