"""Who is told by Prefect's notifications: channels, and which of them hears of what.

`flows.prefect_edge.notifications` makes Prefect's blocks and automations of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from infrastructure.service import PATTERN_WORDS, Document

_CHANNEL = r"^[a-z0-9]+(-[a-z0-9]+)*$"
PATTERN_WORDS |= {_CHANNEL: "be lower-case letters and digits, in words joined by one '-'"}

# It becomes part of a block's name, whose parts are separated by two dashes.
ChannelName = Annotated[str, StringConstraints(pattern=_CHANNEL, max_length=63)]
Channels = tuple[ChannelName, ...]
_Block = Literal[
    "custom-webhook",
    "discord-webhook",
    "mattermost-webhook",
    "ms-teams-webhook",
    "opsgenie-webhook",
    "pager-duty-webhook",
    "sendgrid-email",
    "slack-webhook",
    "twilio-sms",
]
BLOCKS: tuple[str, ...] = get_args(_Block)


class NotificationChannel(Document):
    """One of Prefect's notification blocks.

    A field that the block keeps secret is given by reference, {secret: "env:NAME"}.

    Attributes:
        block: its slug.
        settings: the block's own fields, checked by the block's own model.
    """

    block: _Block
    settings: dict[str, Any]


class Tell(Document):
    """Which channels hear of what. Empty: nobody is told of it by Prefect.

    Attributes:
        escalated: a person has to look.
        stalled: attempts are used up.
        approval_waiting: a plan waits for a person's yes.
        recovered: a repair was verified.
        run_failed: a run of the loop failed or crashed.
    """

    escalated: Channels = ()
    stalled: Channels = ()
    approval_waiting: Channels = ()
    recovered: Channels = ()
    run_failed: Channels = ()


class NotificationSettings(Document):
    """Who is told by Prefect's notifications.

    Attributes:
        channels: by name.
        tell: which of them hears of what.
    """

    channels: dict[ChannelName, NotificationChannel] = Field(default_factory=dict)
    tell: Tell = Tell()

    @model_validator(mode="after")
    def _channels_are_there(self) -> Self:
        for word in Tell.model_fields:
            for name in getattr(self.tell, word):
                if name not in self.channels:
                    raise ValueError(f"tell names the channel {name}, which is not in channels")
        return self
