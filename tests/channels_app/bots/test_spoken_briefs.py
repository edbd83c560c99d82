"""Briefs asked for in a room: its owner's yes sets them up, nobody else's does."""

from __future__ import annotations

from channels_app.models import ChannelRoom, Schedule
from routing.db_pool import run_in_db_pool
from tests.support.bots import Platform

WISH = "Every Friday at noon, send me a poem"


def the_briefs() -> list[tuple[str, str, bool]]:
    """Return expression, delivery, and whether it waits, of all briefs."""
    return [
        (each.cron, each.delivery, each.proposed_until is not None)
        for each in Schedule.objects.all()
    ]


async def test_a_wish_and_a_yes_in_a_room_where_only_the_owner_reads(
    platform: Platform,
) -> None:
    kind = platform.channel.kind
    await platform.say(WISH)
    assert "Every Friday at 12:00" in "".join(platform.texts())
    assert await run_in_db_pool(the_briefs) == [("0 12 * * 5", kind, True)]
    await platform.say("Yes")
    assert "Done: “Send me a poem” comes every Friday" in platform.texts()[-1]
    assert await run_in_db_pool(the_briefs) == [("0 12 * * 5", kind, False)]


async def test_a_yes_is_a_message_where_nothing_waits(platform: Platform) -> None:
    event = await platform.say("yes")
    assert event.turn_id is not None


async def test_a_wish_where_others_read_is_a_message(platform: Platform) -> None:
    await run_in_db_pool(ChannelRoom.objects.update, alone=False)
    event = await platform.say(f"Inara, {WISH}")
    assert event.turn_id is not None
    assert await run_in_db_pool(the_briefs) == []


async def test_a_guest_s_words_set_nothing_up(platform: Platform) -> None:
    await platform.say(WISH)
    await run_in_db_pool(ChannelRoom.objects.update, alone=False)
    await platform.say("Inara, yes", sender_id="users/greta", sender_name="Greta")
    assert [waits for _, _, waits in await run_in_db_pool(the_briefs)] == [True]
