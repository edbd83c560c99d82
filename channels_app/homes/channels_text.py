"""A person's channels as the text of a ``channels.json``."""

from __future__ import annotations

import json
from typing import Any

from accounts.models import User
from channels_app.bots.channels import channels_visible_to, secret
from channels_app.models import Channel, ChannelRoom


def channels_text(user: User, *, with_secrets: bool) -> str:
    """Return the channels in the form that ``channel_file`` reads.

    Raises:
        Undecryptable: A secret is asked for and cannot be read.
    """
    channels = channels_visible_to(user).order_by("kind")
    value = {channel.kind: _channel(channel, with_secrets) for channel in channels}
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _channel(channel: Channel, with_secrets: bool) -> dict[str, Any]:
    rooms = channel.rooms.filter(state=ChannelRoom.State.ALLOWED)
    return {
        "persona": channel.persona.name if channel.persona else "",
        "enabled": channel.enabled,
        **channel.settings,
        **{
            name: secret(channel, name) if with_secrets else ""
            for name in sorted(channel.secrets)
        },
        "rooms": list(
            rooms.order_by("external_id").values_list("external_id", flat=True)
        ),
        "users": list(
            channel.identities.order_by("external_id").values_list(
                "external_id", flat=True
            )
        ),
    }
