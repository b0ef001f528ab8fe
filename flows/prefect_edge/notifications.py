"""Prefect's blocks and automations that tell people, made from platform.yml; never twice.

One block for each channel, one automation for each pair of what is told and who hears it.
They carry names of their own, with the work pool in them: what people have made, and what
another UICI on the same server has made, is never touched. Wanted and found are compared as
values, so that a second call finds nothing to do. Neighbours:
`flows.command_line.commands.notifying` (`uici notifications`), `flows.prefect_edge.listener`
(sends the events).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect.blocks import notifications as blocks
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr, ValidationError

from flows.prefect_edge.deployment import MANAGED_TAG
from infrastructure.config_models import NotificationChannel, NotificationSettings
from infrastructure.config_models.notification_settings import BLOCKS
from infrastructure.errors import PermanentError
from infrastructure.service import SecretRef

_PAGE = 200  # of one answer of Prefect
_SEPARATOR = "--"  # no channel's name has two dashes


class Change(StrEnum):
    """What is done, or would be."""

    MADE = "made"
    UPDATED = "updated"
    REMOVED = "removed"
    UNCHANGED = "unchanged"


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
class _Occasion:
    """What is told: the events, and the words."""

    events: frozenset[str]
    title: str
    subject: str
    body: str


_RUN = "{% if flow_run is defined and flow_run %}\n\nRun: {{ flow_run|ui_url }}{% endif %}"
_ABOUT = "{{ event.resource['prefect.resource.name'] }}"
_OCCASIONS: Mapping[str, _Occasion] = {
    "escalated": _Occasion(
        frozenset({"uici.escalated"}),
        "a person has to look",
        f"UICI: {_ABOUT} needs a person",
        "{{ event.payload.summary }}" + _RUN,
    ),
    "stalled": _Occasion(
        frozenset({"uici.target.stalled"}),
        "attempts are used up",
        f"UICI: {_ABOUT} is stalled",
        "{{ event.payload.summary }}" + _RUN,
    ),
    "approval_waiting": _Occasion(
        frozenset({"uici.approval.requested"}),
        "a plan waits for a yes",
        f"UICI: {_ABOUT} waits for an approval",
        "{{ event.payload.operations|join(', ') }} (risk {{ event.payload.risk }}), until "
        "{{ event.payload.expires_at }}: {{ event.payload.diagnosis }}\n\n"
        "Approve it in Prefect, or with: {{ event.payload.approve }}" + _RUN,
    ),
    "recovered": _Occasion(
        frozenset({"uici.target.recovered"}),
        "a repair was verified",
        f"UICI: {_ABOUT} has recovered",
        "Verified after {{ event.payload.seconds|round(1) }} s." + _RUN,
    ),
    "run_failed": _Occasion(
        frozenset({"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}),
        "a run of the loop failed",
        f"UICI: the run {_ABOUT} failed",
        "{{ event.payload.validated_state.message }}" + _RUN,
    ),
}


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
    resolve: Callable[[str], str]

    async def apply(self, client: PrefectClient, write: Write) -> tuple[Done, ...]:
        """Bring the server to what is wanted; what was done, or would be.

        Raises:
            PermanentError: a channel's settings are not those of its block, or a secret is
                not there; nothing was written then.
        """
        wanted = {
            self._name(channel): self._block(channel, each)
            for channel, each in self.settings.channels.items()
        }
        done: list[Done] = []
        ids: dict[str, UUID] = {}
        found = await self._documents(client)
        for name, block in wanted.items():
            change, ids[name] = await _ensure_block(client, name, block, found.get(name), write)
            done.append(Done(change, "block", name))
        done += await self._automations(client, ids, write)
        # A block that an automation still names would break it: the blocks go last.
        for name, document in found.items():
            same = name in wanted and document.block_type_name == wanted[name].get_block_type_name()
            if not same:
                if write is Write.FOR_REAL:
                    await client.delete_block_document(document.id)
                done.append(Done(Change.REMOVED, "block", name))
        return tuple(done)

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

    def _block(self, channel: str, each: NotificationChannel) -> Block:
        kind = _KINDS[each.block]
        place = f"notifications.channels.{channel}.settings in platform.yml"
        for key, value in each.settings.items():
            if key not in kind.model_fields:
                known = ", ".join(_own_fields(kind))
                raise PermanentError(f"{place}: {each.block} has no {key}: it has {known}")
            if _keeps_secret(kind, key) and not _by_reference(value):
                raise PermanentError(
                    f'{place}: {key} is kept secret: write {{secret: "env:NAME"}} instead of it'
                )
        try:
            return kind.model_validate(_resolved(each.settings, self.resolve))
        except ValidationError as exc:
            wrong = exc.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise PermanentError(f"{place}: {where}: {wrong['msg']}") from None
        except (KeyError, TypeError, ValueError) as exc:  # their words may quote the secret
            raise PermanentError(
                f"{place}: {each.block} refuses it ({type(exc).__name__}): see Prefect's page of "
                "this block"
            ) from None

    async def _documents(self, client: PrefectClient) -> dict[str, _Document]:
        """Own blocks by name. One of an earlier kind goes under the name of its kind."""
        found: dict[str, _Document] = {}
        for kind in _KINDS.values():
            slug = kind.get_block_type_slug()
            documents: list[BlockDocument] = []
            while page := await client.read_block_documents_by_type(
                slug, offset=len(documents), limit=_PAGE, include_secrets=True
            ):
                documents += page
                if len(page) < _PAGE:
                    break
            for each in documents:
                if each.name is not None and self._is_own(each.name):
                    document = _Document(each.id, kind.get_block_type_name(), each.data)
                    found[each.name] = document
        return found

    async def _automations(
        self, client: PrefectClient, ids: Mapping[str, UUID], write: Write
    ) -> list[Done]:
        wanted = {each.name: each for each in self._wanted(ids)}
        done: list[Done] = []
        for existing in await self._existing(client):
            same = wanted.pop(existing.name, None)
            if same is None:
                change = Change.REMOVED
            else:
                same = same.model_copy(update={"enabled": existing.enabled})  # a person's word
                change = Change.UNCHANGED if _same(existing, same) else Change.UPDATED
            if write is Write.FOR_REAL and change is Change.REMOVED:
                await client.delete_automation(existing.id)
            elif write is Write.FOR_REAL and change is Change.UPDATED and same is not None:
                await client.update_automation(existing.id, same)
            done.append(Done(change, "automation", existing.name))
        for each in wanted.values():
            if write is Write.FOR_REAL:
                await client.create_automation(each)
            done.append(Done(Change.MADE, "automation", each.name))
        return done

    def _wanted(self, ids: Mapping[str, UUID]) -> list[AutomationCore]:
        return [
            self._automation(word, channel, ids[self._name(channel)])
            for word in _OCCASIONS
            for channel in dict.fromkeys(getattr(self.settings.tell, word))
        ]

    def _automation(self, word: str, channel: str, block: UUID) -> AutomationCore:
        occasion = _OCCASIONS[word]
        pool = {"prefect.resource.role": "work-pool", "prefect.resource.name": self.work_pool}
        return AutomationCore(
            name=f"{self._prefix}{occasion.title} → {channel}",
            description="Made by uici notifications apply from platform.yml: change it there.",
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
        """Those that carry UICI's marks."""
        found: list[Automation] = []
        while page := await client.read_automations(limit=_PAGE, offset=len(found)):
            found += page
            if len(page) < _PAGE:
                break
        # By name, too: a copy that a person made has the tags.
        return [e for e in found if self._tag in e.tags and e.name.startswith(self._prefix)]


@dataclass(frozen=True, slots=True)
class _Document:
    """A block as the server holds it, secrets included."""

    id: UUID
    block_type_name: str
    data: Mapping[str, Any]


async def _ensure_block(
    client: PrefectClient, name: str, block: Block, found: _Document | None, write: Write
) -> tuple[Change, UUID]:
    """The block's document; in a dry run an id that nobody has, where there is none."""
    if found is not None and found.block_type_name == block.get_block_type_name():
        if _is_as(found, block):
            return Change.UNCHANGED, found.id
        if write is Write.FOR_REAL:
            update = BlockDocumentUpdate(data=_fields(block), merge_existing_data=False)
            await client.update_block_document(found.id, update)
        return Change.UPDATED, found.id
    if write is Write.DRY_RUN:
        return Change.MADE, UUID(int=0)
    saving: Any = block.asave(name, client=client)
    return Change.MADE, await saving


def _fields(block: Block) -> dict[str, Any]:
    """A block's fields as the server keeps them, secrets included."""
    names = set(type(block).model_fields)
    secrets = {"include_secrets": True}
    return block.model_dump(mode="json", by_alias=True, include=names, context=secrets)


def _is_as(found: _Document, wanted: Block) -> bool:
    """Whether the server holds just this; what it holds may be of an earlier Prefect."""
    try:
        return _fields(type(wanted).model_validate(dict(found.data))) == _fields(wanted)
    except (ValidationError, KeyError, TypeError, ValueError):
        return False


def _kinds() -> Mapping[str, type[Block]]:
    """The notification blocks that Prefect ships and platform.yml may name, by slug."""
    shipped = {
        each.get_block_type_slug(): each
        for each in vars(blocks).values()
        if isinstance(each, type) and issubclass(each, Block)
    }
    return {slug: shipped[slug] for slug in BLOCKS}


_KINDS = _kinds()


def _own_fields(kind: type[Block]) -> list[str]:
    return sorted(kind.model_fields)


def _keeps_secret(kind: type[Block], key: str) -> bool:
    """Whether Prefect never shows the field again."""
    annotation = kind.model_fields[key].annotation
    return "Secret" in str(annotation) or annotation is SecretStr


def _by_reference(value: Any) -> bool:
    """Whether it is a reference, or a table of nothing but references."""
    if isinstance(value, Mapping):
        return set(value) == {"secret"} or all(_by_reference(each) for each in value.values())
    return False


def _resolved(value: Any, resolve: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"secret"}:
            try:
                reference = SecretRef.model_validate(value)
            except ValidationError:
                raise PermanentError(
                    "a secret reference in notifications.channels in platform.yml has to be "
                    "env:NAME, file:/path or prefect:block-name"
                ) from None
            return resolve(reference.secret)
        return {key: _resolved(each, resolve) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(each, resolve) for each in value]
    return value


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
