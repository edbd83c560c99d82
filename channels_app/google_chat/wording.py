"""The words that Google Chat gets within the response to an event.

Synchronous, for the database pool. Everything returned is in Chat's markup.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.urls import reverse

from channels_app.bots.incoming import Incoming
from channels_app.bots.senders import is_linked
from channels_app.google_chat import markup
from channels_app.models import Channel, ChannelRoom, InboundEvent
from personas.models import Message

WELCOME: Final = (
    "Hello, I am {name}. Write to me here, or mention me where others read too. "
    "I answer where my owner has allowed it; /help lists what I understand."
)
TOO_LATE: Final = "This takes longer than Google Chat waits. The answer will stand {on}"
TOO_LATE_FOR_GUESTS: Final = "This took too long for Google Chat. Please ask again."
MORE: Final = "This is not all: the rest stands {on}"
ON_PAGE: Final = "on <{address}|the web page>."
ROOM_FOR_MORE: Final = 1000
"""Bytes kept free for what is said below an answer that is too long."""


def welcome(channel_id: int, incoming: Incoming) -> str:
    """Return the words for whoever adds the app to a space, ``""`` for nobody's ears.

    Strangers are told nothing where the owner wants silence towards them.
    """
    channel = Channel.objects.select_related("persona").filter(pk=channel_id).first()
    if channel is None or channel.persona is None:
        return ""
    if channel.strangers == Channel.Strangers.SILENCE and not _is_known(
        channel, incoming
    ):
        return ""
    return WELCOME.format(name=markup.plain(channel.persona.display_name))


def too_late(event_id: int) -> str:
    """Return the words for an answer that is not ready in time."""
    event = InboundEvent.objects.filter(pk=event_id).first()
    if event is not None and event.guest:
        return TOO_LATE_FOR_GUESTS
    return TOO_LATE.format(on=_on_page(event))


def fitting(text: str, event_id: int) -> str:
    """Return an answer's Markdown as the one message that a response can hold."""
    parts = markup.split(text)
    if len(parts) > 1:
        parts = markup.split(text, markup.MAX_BYTES - ROOM_FOR_MORE)
    said = markup.to_chat(parts[0]) if parts else ""
    if len(parts) > 1:
        event = InboundEvent.objects.filter(pk=event_id).first()
        said += "\n\n" + MORE.format(on=_on_page(event))
    return said


def _is_known(channel: Channel, incoming: Incoming) -> bool:
    allowed = channel.rooms.filter(
        external_id=incoming.room_id, state=ChannelRoom.State.ALLOWED
    )
    return is_linked(channel, incoming.sender_id) or allowed.exists()


def _on_page(event: InboundEvent | None) -> str:
    """Return where the answer to an event is to be read."""
    path = "/"
    if event is not None and event.turn_id is not None:
        answer = Message.objects.filter(pk=event.turn_id).first()
        if answer is not None:
            path = reverse("conversation", args=[answer.conversation_id])
    return ON_PAGE.format(address=settings.CORTEX_PUBLIC_URL.rstrip("/") + path)
