"""Which of the bots in a room is this channel's own.

Nextcloud names a bot after the address it was installed with, as Nextcloud writes it.
That name comes with the event of the bot being enabled in a room, whose actor is the
bot itself; from then on a reply to another bot is not taken for one to this one.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/ (bot added to a chat)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from django.db import DatabaseError, transaction

from channels_app.bots.incoming import Incoming
from channels_app.models import Channel
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

SETTING: Final = "bot_actor"
BOTS: Final = "bots/"
_ACTOR: Final = re.compile(r"bots/bot-[0-9a-f]{40}")
"""The name of a bot that was installed; the one of a self-test is none."""


def own_actor(settings: Mapping[str, Any]) -> str:
    """Return the bot's name in Nextcloud, ``""`` while it is not known."""
    return str(settings.get(SETTING) or "")


def is_own(actor: str, own: str) -> bool:
    """Say whether an actor is this bot; any bot may be while its name is not known."""
    return actor == own if own else actor.startswith(BOTS)


async def learn(channel_id: int, incoming: Incoming, known: str) -> None:
    """Remember the bot's name where a verified event tells a new one; never raises."""
    actor = incoming.sender_id
    if incoming.kind != "joined" or actor == known or not _ACTOR.fullmatch(actor):
        return
    try:
        await run_in_db_pool(_remember, channel_id, actor)
    except DatabaseError as error:
        logger.warning("a bot's own name is not kept: %s", type(error).__name__)


def _remember(channel_id: int, actor: str) -> None:
    with transaction.atomic():
        channel = Channel.objects.select_for_update().filter(pk=channel_id).first()
        if channel is not None:
            channel.settings = {**channel.settings, SETTING: actor}
            channel.save(update_fields=["settings"])
