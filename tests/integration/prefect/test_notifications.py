"""Blocks and automations on a real server: made once, kept, removed; an event reaches people."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient

from flows.prefect_edge.notifications import Change, Done, Notifications, Write
from infrastructure.config_models import NotificationSettings
from infrastructure.errors import PermanentError
from tests.integration.prefect.service import Api, Service, wait_for

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(400),
    # Of apprise, which the blocks send by, with Python 3.11.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SECRET = "s3cr3t-of-the-channel"
TEXT = {"subject": "{{subject}}", "body": "{{body}}", "token": "{{token}}"}


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server as a chat would be; what it was sent."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            taken.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wanted(pool: str, *, url: str = "http://127.0.0.1:9/", **tell: list[str]) -> Notifications:
    channel = {
        "block": "custom-webhook",
        "settings": {
            "name": "chat",
            "url": url,
            "json_data": TEXT,
            "secrets": {"token": {"secret": "env:TOKEN"}},
        },
    }
    channels = {"chat": channel} if tell else {}
    settings = NotificationSettings.model_validate({"channels": channels, "tell": tell})
    return Notifications(settings, pool, {"env:TOKEN": SECRET}.__getitem__)


def apply(api: Api, each: Notifications, write: Write = Write.FOR_REAL) -> list[Done]:
    async def work() -> list[Done]:
        async with PrefectClient(api.url) as client:
            return list(await each.apply(client, write))

    return asyncio.run(work())


def changes(done: list[Done]) -> list[tuple[str, str]]:
    return sorted((each.change.value, each.kind) for each in done)


@pytest.fixture
def pool() -> str:
    return f"pool-{uuid.uuid4().hex[:8]}"


def automations(api: Api, pool: str) -> list[Any]:
    found = api.post("/automations/filter")
    return [each for each in found if f"({pool})" in each["name"]]


def test_what_config_names_is_made_once_updated_and_removed(prefect_api: Api, pool: str) -> None:
    theirs = prefect_api.post("/automations/filter")
    first = wanted(pool, escalated=["chat"], stalled=["chat"])

    dry = apply(prefect_api, first, Write.DRY_RUN)
    assert changes(dry) == [("made", "automation")] * 2 + [("made", "block")]
    assert automations(prefect_api, pool) == []

    assert changes(apply(prefect_api, first)) == changes(dry)
    assert len(automations(prefect_api, pool)) == 2
    again = apply(prefect_api, first)
    assert {each.change for each in again} == {Change.UNCHANGED}
    assert len(automations(prefect_api, pool)) == 2

    moved = wanted(pool, url="http://127.0.0.1:10/", escalated=["chat"])
    assert changes(apply(prefect_api, moved)) == [
        ("removed", "automation"),
        ("unchanged", "automation"),
        ("updated", "block"),
    ]

    gone = apply(prefect_api, wanted(pool))
    assert changes(gone) == [("removed", "automation"), ("removed", "block")]
    assert automations(prefect_api, pool) == []
    assert apply(prefect_api, wanted(pool)) == []
    left = {each["id"] for each in prefect_api.post("/automations/filter")}
    assert {each["id"] for each in theirs} <= left


def test_an_automation_that_a_person_switched_off_stays_off(prefect_api: Api, pool: str) -> None:
    each = wanted(pool, escalated=["chat"])
    apply(prefect_api, each)
    (made,) = automations(prefect_api, pool)
    prefect_api.patch(f"/automations/{made['id']}", enabled=False)

    assert {done.change for done in apply(prefect_api, each)} == {Change.UNCHANGED}
    apply(prefect_api, wanted(pool, url="http://127.0.0.1:10/", escalated=["chat"]))
    assert [each["enabled"] for each in automations(prefect_api, pool)] == [False]
    apply(prefect_api, wanted(pool))


def test_what_another_uici_and_people_made_is_left_alone(prefect_api: Api, pool: str) -> None:
    other = f"{pool}-other"
    apply(prefect_api, wanted(other, escalated=["chat"]))
    apply(prefect_api, wanted(pool, escalated=["chat"]))
    apply(prefect_api, wanted(pool))

    assert len(automations(prefect_api, other)) == 1
    again = apply(prefect_api, wanted(other, escalated=["chat"]))
    assert {done.change for done in again} == {Change.UNCHANGED}
    apply(prefect_api, wanted(other))


def test_two_calls_at_the_same_time_make_everything_once(prefect_api: Api, pool: str) -> None:
    each = wanted(pool, escalated=["chat"], stalled=["chat"], recovered=["chat"])

    async def both() -> None:
        async with PrefectClient(prefect_api.url) as one, PrefectClient(prefect_api.url) as two:
            await asyncio.gather(each.apply(one, Write.FOR_REAL), each.apply(two, Write.FOR_REAL))

    asyncio.run(both())
    names = [automation["name"] for automation in automations(prefect_api, pool)]
    assert len(names) == len(set(names)) == 3
    assert {done.change for done in apply(prefect_api, each)} == {Change.UNCHANGED}
    apply(prefect_api, wanted(pool))


def test_a_block_that_a_person_named_like_uicis_own_is_told_and_left(
    prefect_api: Api, pool: str
) -> None:
    own = CustomWebhookNotificationBlock(name="mine", url="http://127.0.0.1:11/")

    async def save() -> None:
        async with PrefectClient(prefect_api.url) as client:
            await cast("Awaitable[UUID]", own.asave(f"uici--{pool}--x", client=client))
            await cast("Awaitable[UUID]", own.asave(f"uici--{pool}--chat", client=client))

    asyncio.run(save())
    with pytest.raises(PermanentError, match=f"uici--{pool}--chat .* left alone"):
        apply(prefect_api, wanted(pool, escalated=["chat"]))
    left = apply(prefect_api, wanted(pool))
    assert {(done.change, done.name) for done in left} == {
        (Change.LEFT, f"uici--{pool}--x"),
        (Change.LEFT, f"uici--{pool}--chat"),
    }
    for name in ("x", "chat"):
        place = f"/block_types/slug/custom-webhook/block_documents/name/uici--{pool}--{name}"
        document = prefect_api.get(place)
        assert document["data"]["url"] == "http://127.0.0.1:11/"


def test_a_copy_of_an_automation_with_uicis_tags_is_a_persons(prefect_api: Api, pool: str) -> None:
    each = wanted(pool, escalated=["chat"])
    apply(prefect_api, each)
    (made,) = automations(prefect_api, pool)
    same = {key: made[key] for key in ("name", "description", "tags", "trigger", "actions")}
    copy = prefect_api.post("/automations/", **same, enabled=True)

    assert sorted(done.change for done in apply(prefect_api, each)) == [
        Change.LEFT,
        Change.UNCHANGED,
        Change.UNCHANGED,
    ]
    apply(prefect_api, wanted(pool))
    assert [one["id"] for one in automations(prefect_api, pool)] == [copy["id"]]


def test_blocks_of_two_kinds_under_one_name_are_two(prefect_api: Api, pool: str) -> None:
    first = wanted(pool, escalated=["chat"])
    apply(prefect_api, first)
    token = {"secret": "env:TOKEN"}
    mattermost = {"hostname": "chat.example", "token": token}
    settings = NotificationSettings.model_validate(
        {
            "channels": {"chat": {"block": "mattermost-webhook", "settings": mattermost}},
            "tell": {"escalated": ["chat"]},
        }
    )
    other = Notifications(settings, pool, first.resolve)
    assert changes(apply(prefect_api, other)) == [
        ("made", "block"),
        ("removed", "block"),
        ("updated", "automation"),
    ]
    assert {done.change for done in apply(prefect_api, other)} == {Change.UNCHANGED}
    apply(prefect_api, wanted(pool))


def test_what_an_earlier_version_made_without_a_mark_is_still_its_own(
    prefect_api: Api, pool: str
) -> None:
    each = wanted(pool, escalated=["chat"])
    apply(prefect_api, each)
    (made,) = automations(prefect_api, pool)
    block = made["actions"][0]["block_document_id"]
    same = {key: made[key] for key in ("name", "tags", "trigger", "actions", "enabled")}
    before = made["description"].partition(" Its id")[0]
    prefect_api.put(f"/automations/{made['id']}", **same, description=before)
    data = prefect_api.get(f"/block_documents/{block}?include_secrets=true")["data"]
    plain = {key: value for key, value in data.items() if key != "uici_managed"}
    assert plain != data
    prefect_api.patch(f"/block_documents/{block}", data=plain, merge_existing_data=False)

    assert {done.change for done in apply(prefect_api, each)} == {Change.UPDATED}
    assert {done.change for done in apply(prefect_api, each)} == {Change.UNCHANGED}
    apply(prefect_api, wanted(pool))
    assert automations(prefect_api, pool) == []


@pytest.mark.parametrize(
    ("block", "settings", "words"),
    [
        ("slack-webhook", {"url": "https://hooks.example.com/x"}, "url is kept secret"),
        ("slack-webhook", {"address": "x"}, "slack-webhook has no address"),
        ("custom-webhook", {"name": "x"}, "url: Field required"),
        ("slack-webhook", {"url": {"secret": "nothing"}}, "env:NAME"),
    ],
)
def test_settings_that_do_not_fit_the_block_are_one_clear_error(
    prefect_api: Api, pool: str, block: str, settings: dict[str, Any], words: str
) -> None:
    channel = {"block": block, "settings": settings}
    parsed = NotificationSettings.model_validate({"channels": {"chat": channel}})
    with pytest.raises(PermanentError, match=words):
        apply(prefect_api, Notifications(parsed, pool, lambda _: SECRET))


def test_an_escalation_reaches_the_channel_and_a_quiet_run_does_not(service: Service) -> None:
    with receiver() as (url, taken):
        service.run("quiet")
        each = wanted(service.pool, url=url, escalated=["chat"])
        apply(service.api, each)
        try:
            service.run("escalate")
            wait_for(lambda: taken, what="the notification", timeout=60)
        finally:
            apply(service.api, wanted(service.pool))
    assert taken[0]["token"] == SECRET
    assert taken[0]["subject"] == "UICI: local-docker/market-predictor needs a person"
    assert "a person has to look" in taken[0]["body"]
    assert len(taken) == 1
