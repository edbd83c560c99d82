"""What people call the door by which a message came."""

from __future__ import annotations

from channels_app.models import Channel

WEB = "web"
_NAMES: dict[str, str] = {
    **{str(value): str(label) for value, label in Channel.Kind.choices},
    "api": "API",
    "openai": "OpenAI client",
    "schedule": "schedule",
    "queue": "queue",
}


def door_name(channel: str) -> str:
    """Return the name of a door other than the web page; empty for that.

    ``channel`` is what ``Message.channel`` holds.
    """
    return "" if channel in {WEB, ""} else _NAMES.get(channel, channel)
