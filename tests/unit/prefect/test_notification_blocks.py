"""What a notification's library says of a value that it refuses may be the value itself."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from prefect.client.orchestration import PrefectClient

from flows.prefect_edge.notifications import Notifications, Write
from infrastructure.config_models import NotificationSettings
from infrastructure.errors import PermanentError

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
