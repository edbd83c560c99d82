"""What a bot says of its own accord, such as the answer of a brief.

It waits in the outbox like the answers to events, and goes out with them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.utils import timezone

from channels_app.bots.outbox import KEYS
from channels_app.models import ChannelRoom, OutboundReply


def add_message(
    room: ChannelRoom, key: str, parts: Sequence[str], *, alone: bool = False
) -> int:
    """Store a message that answers nothing; return how many parts were new.

    Takes part in the caller's transaction, and doing it again changes nothing. The
    worker sends it soon where nobody calls ``outbox.wake`` after the commit.

    Args:
        room: Where it is said, by the bot of the room's channel.
        key: What the message is about, the same for the same message of the channel.
        parts: Texts as the adapter's ``split`` cut them; empty ones are left out.
        alone: It is sent only while nobody but the owner reads in the room.
    """
    texts = [text for text in parts if text.strip()]
    ids = [
        uuid.uuid5(KEYS, f"{room.channel_id} message {key} {number}")
        for number in range(len(texts))
    ]
    known = set(OutboundReply.objects.filter(pk__in=ids).values_list("pk", flat=True))
    # The same moment in all parts is what tells their order from other messages.
    now = timezone.now()
    rows = [
        OutboundReply(
            id=id,
            channel_id=room.channel_id,
            part=number,
            room_id=room.external_id,
            text=text,
            alone=alone,
            created_at=now,
        )
        for number, (id, text) in enumerate(zip(ids, texts, strict=True))
        if id not in known
    ]
    OutboundReply.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)
