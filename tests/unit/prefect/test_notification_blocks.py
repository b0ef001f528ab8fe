"""What a notification's library says of a value that it refuses may be the value itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient

from flows.command_line import notifications
from flows.prefect_edge.channel_blocks import ChannelError, block_of, fields_of
from flows.prefect_edge.notifications import Notifications, Write
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.config_models import NotificationChannel, NotificationSettings
from infrastructure.errors import PermanentError
from tests.fakes.loop import write_config

# Of apprise, which the blocks send by, with Python 3.11.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "S3CR3T-tok-Zq9!xyz value"
CHANNELS = {
    "twilio-sms": {
        "account_sid": "AC" + "a" * 32,
        "auth_token": {"secret": "env:TOKEN"},
        "from_phone_number": "+15555555555",
        "to_phone_numbers": ["+15555555556"],
    },
    "sendgrid-email": {
        "api_key": {"secret": "env:TOKEN"},
        "sender_email": "a@b.example",
        "to_emails": ["x@b.example"],
    },
}


@pytest.mark.parametrize("block", CHANNELS)
def test_a_value_that_is_refused_is_not_told(block: str) -> None:
    settings = NotificationSettings.model_validate(
        {"channels": {"chat": {"block": block, "settings": CHANNELS[block]}}}
    )
    wanted = Notifications(settings, "pool", lambda _: SECRET)
    nobody = cast("PrefectClient", object())  # it is refused before anybody is asked
    with pytest.raises(
        PermanentError, match=f"channels.chat.settings.*: {block} refuses it"
    ) as told:
        asyncio.run(wanted.apply(nobody, Write.DRY_RUN))
    assert SECRET.split(maxsplit=1)[0] not in str(told.value)
    assert told.value.__cause__ is None


def refusal(block: str, given: dict[str, Any], secret: str = SECRET) -> str:
    channel = NotificationChannel.model_validate({"block": block, "settings": given})
    with pytest.raises(ChannelError) as told:
        block_of("chat", channel, lambda _: secret)
    assert f" {secret}" not in str(told.value)
    assert told.value.location[:4] == ("notifications", "channels", "chat", "settings")
    return told.value.reason


BY_REFERENCE = {"secret": "env:TOKEN"}
WHOLE = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


@pytest.mark.parametrize("url", ["garbage", "https://hooks.slack.com/x", "http://", "slack://"])
def test_an_address_that_nothing_can_be_sent_to_is_refused(url: str) -> None:
    reason = refusal("slack-webhook", {"url": BY_REFERENCE}, url)
    assert "slack-webhook can't be sent to" in reason


def test_a_whole_address_is_taken() -> None:
    channel = NotificationChannel(block="slack-webhook", settings={"url": BY_REFERENCE})
    assert fields_of(block_of("chat", channel, lambda _: WHOLE))["url"] == WHOLE


@pytest.mark.parametrize("url", ["nonsense", "ftp://chat/x", "http://", "http://[", "http://h:x/"])
def test_a_custom_webhook_needs_an_address_of_http(url: str) -> None:
    assert "http://" in refusal("custom-webhook", {"name": "chat", "url": url})


@pytest.mark.parametrize("url", ["https://chat/{{token}}", "{{ token }}/x"])
def test_a_secret_part_of_an_address_is_filled_in_when_it_is_judged(url: str) -> None:
    given = {"name": "chat", "url": url, "secrets": {"token": BY_REFERENCE}}
    channel = NotificationChannel(block="custom-webhook", settings=given)
    block = block_of("chat", channel, lambda _: "https://chat/s3cr3t")
    assert fields_of(block)["url"] == url  # as written: Prefect shows it


@pytest.mark.parametrize(
    "given",
    [
        {"url": BY_REFERENCE},
        {"url": "http://chat/", "json_data": {"auth": {"token": BY_REFERENCE}}},
        {"url": "http://chat/", "headers": {"Authorization": BY_REFERENCE}},
    ],
)
def test_a_secret_where_prefect_shows_the_field_is_refused(given: dict[str, Any]) -> None:
    reason = refusal("custom-webhook", {"name": "chat", **given})
    assert f"Prefect shows {list(given)[-1]} to everybody" in reason
    assert "keeps secret: secrets" in reason


def webhook(url: str, secrets: dict[str, Any]) -> dict[str, Any]:
    return {"name": "hook", "url": url, "secrets": secrets}


def test_a_name_that_is_no_secret_is_refused_in_an_address() -> None:
    given = webhook("https://hooks.test/{{TOKN}}", {"TOKEN": BY_REFERENCE})
    assert refusal("custom-webhook", given).startswith("custom-webhook refuses it (KeyError)")


def test_a_secret_may_be_called_secret() -> None:
    given = webhook("https://hooks.test/{{secret}}?to={{subject}}", {"secret": BY_REFERENCE})
    channel = NotificationChannel(block="custom-webhook", settings=given)
    made = fields_of(block_of("chat", channel, lambda _: "word"))
    assert made["secrets"] == {"secret": "word"}


def test_a_persons_own_word_secret_in_a_body_is_no_reference() -> None:
    body = {"secret": "{{token}}", "text": "{{body}}"}
    given = {
        "name": "chat",
        "url": "http://chat/",
        "json_data": body,
        "secrets": {"token": BY_REFERENCE},
    }
    channel = NotificationChannel(block="custom-webhook", settings=given)
    assert fields_of(block_of("chat", channel, lambda _: "x"))["json_data"] == body


def test_what_is_refused_names_the_line_of_the_file(tmp_path: Path) -> None:
    channels = {"chat": {"block": "slack-webhook", "settings": {"url": {"secret": "env:UICI_NO"}}}}
    directory = write_config(
        tmp_path / "config",
        platform={"git": {"remote": str(tmp_path)}, "notifications": {"channels": channels}},
        environments={"environments": {}},
    )
    config = UniversalConfigLoader(directory).load()
    location = ("notifications", "channels", "chat", "settings", "url")
    problem = notifications._placed(config, location, "url: not there")
    lines = (directory / "platform.yml").read_text().splitlines()
    assert "url" in lines[problem.line - 1] or "UICI_NO" in lines[problem.line - 1]
    assert str(problem).startswith(f"{directory / 'platform.yml'}:{problem.line}:")
