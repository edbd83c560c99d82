"""Nothing is sent to a room that its owner has thought better of."""

from __future__ import annotations

from typing import Any

import pytest

from channels_app.bots import endings, outbox, readers, resend
from channels_app.models import ChannelRoom, InboundEvent, OutboundReply
from routing.db_pool import run_in_db_pool
from tests.support.bots import Platform

State = OutboundReply.State


async def _waiting(platform: Platform, *, alone: bool, **fields: Any) -> OutboundReply:
    """Let an answer wait in the outbox, as while the platform is away."""
    incoming = platform.message("hello", **fields)

    def store() -> OutboundReply:
        event = InboundEvent.objects.create(
            channel=platform.channel,
            external_id=incoming.external_id,
            kind="message",
            room_id=incoming.room_id,
            state=InboundEvent.State.PROCESSING,
        )
        done = InboundEvent.State.DONE
        endings.close(event, incoming, done, text="a secret", alone=alone)
        return OutboundReply.objects.get(event=event)

    return await run_in_db_pool(store)


async def _delivered(platform: Platform, reply: OutboundReply) -> OutboundReply:
    await outbox.deliver_due(platform.channel.pk)
    return await run_in_db_pool(OutboundReply.objects.get, pk=reply.pk)


async def _change(**fields: Any) -> None:
    await run_in_db_pool(lambda: ChannelRoom.objects.update(**fields))


@pytest.mark.parametrize(
    ("alone", "change", "error"),
    [
        (True, {"alone": False}, readers.NOT_ALONE),
        (True, {"state": "refused"}, readers.NOT_ALLOWED),
        (False, {"state": "refused"}, readers.NOT_ALLOWED),
        (False, {"state": "waiting"}, readers.NOT_ALLOWED),
    ],
)
async def test_a_reply_is_given_up_when_its_room_may_not_read_it_any_more(
    platform: Platform, alone: bool, change: dict[str, Any], error: str
) -> None:
    reply = await _waiting(platform, alone=alone)
    await _change(**change)
    given_up = await _delivered(platform, reply)
    assert (given_up.state, given_up.error) == (State.FAILED, error)
    assert platform.texts() == []
    assert not await run_in_db_pool(resend.send_again, given_up)
    assert await run_in_db_pool(resend.objection_to, given_up) == error
    await _change(alone=True, state="allowed")
    assert await run_in_db_pool(resend.send_again, given_up)
    assert (await _delivered(platform, reply)).state == State.SENT
    assert platform.texts() == ["a secret"]


async def test_what_all_may_read_is_sent_where_others_read_by_then(
    platform: Platform,
) -> None:
    reply = await _waiting(platform, alone=False)
    await _change(alone=False)
    assert (await _delivered(platform, reply)).state == State.SENT


async def test_a_direct_chat_stays_its_owners(platform: Platform) -> None:
    """The platform vouches for it; nobody need tick anything."""
    await _change(alone=False)
    reply = await _waiting(platform, alone=True, is_direct=True)
    assert (await _delivered(platform, reply)).state == State.SENT


async def test_what_a_command_tells_the_owner_alone_is_kept_from_others(
    platform: Platform,
) -> None:
    event = await platform.say("/cost")
    reply = await run_in_db_pool(OutboundReply.objects.get, event=event)
    assert reply.alone
