"""How many guests are answered a day, and what stops a loop."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels_app.bots import guards
from channels_app.models import Channel, ChannelRoom, InboundEvent
from routing.db_pool import run_in_db_pool
from tests.channels_app.bots.test_rooms import SHARED, by_guest, here
from tests.support.bots import Platform, make_room

State = InboundEvent.State


@pytest.fixture
def shared(platform: Platform) -> ChannelRoom:
    """A room of alice's where others read."""
    return make_room(platform.channel, SHARED, alone=False)


# --- guests -------------------------------------------------------------------------


async def test_guests_have_a_daily_number_and_are_told_once(
    platform: Platform, shared: ChannelRoom
) -> None:
    await run_in_db_pool(lambda: Channel.objects.update(guest_daily_messages=2))
    events = [await platform.say("hi", **by_guest()) for _ in range(4)]
    assert [event.guest for event in events] == [True, True, False, False]
    assert [event.reason for event in events[2:]] == [guards.GUESTS] * 2
    texts = platform.texts()
    assert len(texts) == 3
    assert texts[2].startswith("I have answered as many guests")
    await platform.say("hi", **here(names_bot=True))
    assert len(platform.texts()) == 4

    def yesterday() -> None:
        past = timezone.now() - timedelta(days=1)
        InboundEvent.objects.update(received_at=past)

    await run_in_db_pool(yesterday)
    await platform.say("hi", **by_guest())
    assert len(platform.texts()) == 5


async def test_guests_who_write_at_once_share_the_last_place(
    platform: Platform,
) -> None:
    """However the threads meet, each sees what the others have counted."""
    await run_in_db_pool(lambda: Channel.objects.update(guest_daily_messages=3))
    channel = await run_in_db_pool(Channel.objects.get)
    together = threading.Barrier(4)

    def store(number: int) -> InboundEvent:
        return InboundEvent.objects.create(
            channel=channel, external_id=f"g{number}", room_id=f"g{number}"
        )

    def admit(event: InboundEvent) -> bool:
        together.wait(10)
        return guards.admit_guest(channel, event)

    events = [await run_in_db_pool(store, number) for number in range(12)]
    admitted = []
    for start in range(0, len(events), 4):
        some = [run_in_db_pool(admit, event) for event in events[start : start + 4]]
        admitted += await asyncio.gather(*some)
    assert admitted.count(True) == 3
    counted = InboundEvent.objects.filter(guest=True).count
    assert await run_in_db_pool(counted) == 3
    first = next(event for event in events if event.guest)
    assert await run_in_db_pool(guards.admit_guest, channel, first), "counted before"


def test_guests_are_counted_from_their_own_index(platform: Platform) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL decides by its statistics, which a test has not")
    event = InboundEvent.objects.create(channel=platform.channel, external_id="g")
    with CaptureQueriesContext(connection) as queries:
        guards.admit_guest(platform.channel, event)
    (counting,) = [each["sql"] for each in queries if "COUNT(" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {counting}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "channels_event_guest" in plan


# --- loops --------------------------------------------------------------------------


async def test_a_loop_is_stopped_and_told_once(platform: Platform) -> None:
    for number in range(guards.LOOP_MESSAGES + 3):
        await platform.say(f"number {number}")
    texts = platform.texts()
    assert len(texts) == guards.LOOP_MESSAGES + 1
    assert "in a minute" in texts[-1]
    await platform.say("hello", sender_id="users/bob", names_bot=True)
    assert len(platform.texts()) == guards.LOOP_MESSAGES + 2

    def later() -> None:
        past = timezone.now() - timedelta(minutes=2)
        InboundEvent.objects.update(received_at=past)

    await run_in_db_pool(later)
    await platform.say("hello again", names_bot=True)
    assert "hello again" in platform.texts()[-1]


async def test_people_who_talk_fast_among_themselves_are_left_alone(
    platform: Platform, shared: ChannelRoom
) -> None:
    for number in range(guards.LOOP_MESSAGES + 2):
        event = await platform.say(f"number {number}", **here())
    assert (event.state, event.reason) == (State.IGNORED, guards.QUIET_LOOP)
    assert platform.texts() == []
    for text in ("Inara, what do you say?", "Inara?"):
        event = await platform.say(text, **here())
        assert event.reason == guards.LOOP
    (text,) = platform.texts()
    assert "in a minute" in text
