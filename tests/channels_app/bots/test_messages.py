"""What a bot says of its own accord: stored once, sent in order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from channels_app.bots import messages, outbox, reply_queue
from channels_app.bots.incoming import Incoming
from channels_app.models import Channel, ChannelRoom, InboundEvent, OutboundReply
from routing.db_pool import run_in_db_pool as now
from tests.support.bots import TestAdapter, make_room

pytestmark = pytest.mark.django_db(transaction=True)
State = OutboundReply.State


@pytest.fixture
def room(channel: Channel) -> ChannelRoom:
    """A room of alice's channel in which others read, too."""
    return make_room(channel, alone=False)


def due(channel: Channel) -> list[str]:
    """Return what may be sent at this moment."""
    with transaction.atomic():
        return [row.text for row in reply_queue.lock_due(channel.pk)]


def sent(text: str) -> None:
    OutboundReply.objects.filter(text=text).update(state=State.SENT)


def answer(channel: Channel, text: str) -> None:
    """Store the answer to a message in the room."""
    event = InboundEvent.objects.create(
        channel=channel, external_id=text, kind="message", room_id="room1"
    )
    came = Incoming(external_id=text, kind="message", room_id="room1")
    outbox.add(event, [text], incoming=came)


def test_a_message_is_stored_once_however_often(room: ChannelRoom) -> None:
    assert messages.add_message(room, "k", ["one", " ", "two"]) == 2
    assert messages.add_message(room, "k", ["one", " ", "two"]) == 0
    assert messages.add_message(room, "other", ["one"]) == 1

    rows = OutboundReply.objects.filter(text__in=["one", "two"]).order_by("part")
    assert [(row.part, row.room_id, row.event) for row in rows] == [
        (0, "room1", None),
        (0, "room1", None),
        (1, "room1", None),
    ]


def test_parts_and_messages_are_sent_in_order(room: ChannelRoom) -> None:
    messages.add_message(room, "k", ["one", "two"])
    messages.add_message(room, "l", ["three"])
    channel = room.channel

    for text in ("one", "two", "three"):
        assert due(channel) == [text]
        sent(text)


def test_rooms_and_channels_do_not_wait_for_each_other(room: ChannelRoom) -> None:
    other = make_room(room.channel, "room2")
    messages.add_message(room, "k", ["one", "two"])
    messages.add_message(other, "k2", ["elsewhere", "later"])

    assert set(due(room.channel)) == {"one", "elsewhere"}


def test_an_answer_waits_for_a_message_that_was_said_before_it(
    room: ChannelRoom,
) -> None:
    channel = room.channel
    messages.add_message(room, "k", ["of itself"])
    answer(channel, "asked")
    assert due(channel) == ["of itself"]

    sent("of itself")
    assert due(channel) == ["asked"]


def test_a_message_that_fails_holds_up_others_only_for_a_while(
    room: ChannelRoom,
) -> None:
    messages.add_message(room, "k", ["one", "two"])
    long_ago = timezone.now() - reply_queue.IN_ORDER_FOR - timedelta(seconds=1)
    OutboundReply.objects.update(created_at=long_ago)
    messages.add_message(room, "l", ["three"])

    # The rest of the same message waits all the same.
    assert set(due(room.channel)) == {"one", "three"}


async def test_without_its_beginning_the_rest_is_given_up(room: ChannelRoom) -> None:
    await now(messages.add_message, room, "k", ["one", "two"], alone=True)
    await now(messages.add_message, room, "l", ["three"])

    await outbox.deliver_due(room.channel_id)  # finds that others read there
    await outbox.deliver_due(room.channel_id)

    assert [each.text for each in TestAdapter.sent] == ["three"]
    rows = await now(lambda: list(OutboundReply.objects.order_by("created_at", "part")))
    assert [row.state for row in rows] == [State.FAILED, State.FAILED, State.SENT]
    assert rows[1].error == outbox.EARLIER_FAILED
