"""A platform that exists only in memory, for tests of what all platforms share.

``TestAdapter`` keeps what is sent, in order; ``Platform`` makes events as a verified
webhook would hand them over and waits for what comes back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from channels_app.bots import answering, inbox
from channels_app.bots.adapters import ChannelInfo, Outgoing, TestStep
from channels_app.bots.channels import set_secrets
from channels_app.bots.inbox import Receipt
from channels_app.bots.incoming import Incoming
from channels_app.models import (
    Channel,
    ChannelRoom,
    InboundEvent,
    LinkedIdentity,
    OutboundReply,
)
from channels_app.streams import TurnStream
from personas.models import Persona
from routing.db_pool import run_in_db_pool

ADAPTER = "tests.support.bots.TestAdapter"
OWNER = "users/alice"
GUEST = "users/greta"
ROOM = "room1"
PART_CHARS = 200
WAIT_S = 10.0


class Sign:
    """Shows work by reading along."""

    external_id = ""

    async def follow(self, stream: TurnStream) -> None:
        """Read to the end; then it is known what stands for the answer."""
        async for _ in stream.read():
            pass
        self.external_id = TestAdapter.stands_for

    async def withdraw(self) -> None:
        """Note that nothing stands for the answer any more."""
        TestAdapter.withdrawn += 1


class TestAdapter:
    """Keeps what is sent; what it has is shared by all its instances."""

    __test__ = False
    idempotent = True
    sent: list[Outgoing] = []
    shown: list[UUID] = []
    on_show: Callable[[], None] | None = None
    stands_for = ""
    """Id of the message that a sign of work is."""
    withdrawn = 0
    showing = 0
    """Signs of work that are seen now."""

    def split(self, text: str) -> list[str]:
        """Cut by length alone."""
        starts = range(0, len(text), PART_CHARS)
        return [text[start : start + PART_CHARS] for start in starts]

    async def send(self, channel: ChannelInfo, message: Outgoing) -> str:
        """Keep a message."""
        TestAdapter.sent.append(message)
        return f"sent-{len(TestAdapter.sent)}"

    @asynccontextmanager
    async def showing_work(
        self, channel: ChannelInfo, event: Incoming, key: UUID
    ) -> AsyncIterator[Sign]:
        """Note that work was shown."""
        TestAdapter.shown.append(key)
        if TestAdapter.on_show is not None:
            TestAdapter.on_show()
        TestAdapter.showing += 1
        try:
            yield Sign()
        finally:
            TestAdapter.showing -= 1

    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        """There is nothing to test."""
        return [TestStep("nothing", ok=True)]


def make_channel(
    persona: Persona,
    *,
    kind: str = Channel.Kind.NEXTCLOUD_TALK,
    linked: str = OWNER,
    **fields: Any,
) -> Channel:
    """Set up a channel of the persona's owner with one linked identity."""
    channel = Channel(owner=persona.owner, kind=kind, persona=persona, **fields)
    channel.settings = {"url": "https://cloud.example.org"}
    set_secrets(channel, {"secret": "k" * 40})
    channel.save()
    if linked:
        LinkedIdentity.objects.create(channel=channel, external_id=linked, name="Alice")
    return channel


def make_room(
    channel: Channel,
    external_id: str = ROOM,
    *,
    alone: bool = True,
    state: str = ChannelRoom.State.ALLOWED,
) -> ChannelRoom:
    """Make a room that its owner has dealt with."""
    return ChannelRoom.objects.create(
        channel=channel, external_id=external_id, state=state, alone=alone
    )


class Platform:
    """The other side of one channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._numbers = itertools.count(1)

    def message(self, text: str, **fields: Any) -> Incoming:
        """Return an event: a message of the owner in ``ROOM`` unless told otherwise."""
        number = next(self._numbers)
        incoming = Incoming(
            external_id=f"m{number}",
            kind="message",
            room_id=ROOM,
            room_name="Room One",
            sender_id=OWNER,
            sender_name="Alice",
            text=text,
            nonce=f"n{number}",
            reply_to=str(number),
        )
        return replace(incoming, **fields)

    async def receive(self, incoming: Incoming) -> Receipt:
        """Do what a webhook does with a verified event."""
        receipt = await inbox.receive(self.channel.pk, incoming)
        if receipt.is_new:
            answering.wake(self.channel.pk)
        return receipt

    async def say(self, text: str, **fields: Any) -> InboundEvent:
        """Send a message and return its event when that is over."""
        receipt = await self.receive(self.message(text, **fields))
        assert receipt.event_id is not None
        return await self.over(receipt.event_id)

    async def over(self, event_id: int, within_s: float = WAIT_S) -> InboundEvent:
        """Wait until an event is over and its words were sent."""
        async with asyncio.timeout(within_s):
            while True:
                event = await run_in_db_pool(_over, event_id)
                if event is not None:
                    return event
                await asyncio.sleep(0.02)

    def texts(self) -> list[str]:
        """Return what was sent, in its order."""
        return [message.text for message in TestAdapter.sent]


def _over(event_id: int) -> InboundEvent | None:
    event = InboundEvent.objects.get(pk=event_id)
    if event.state in {InboundEvent.State.RECEIVED, InboundEvent.State.PROCESSING}:
        return None
    waiting = OutboundReply.objects.filter(
        event=event, state__in=["pending", "sending"]
    )
    return None if waiting.exists() else event
