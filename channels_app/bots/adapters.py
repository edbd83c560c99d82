"""What a platform must be able to do, and which module does it for which kind.

An adapter is stateless: everything about a channel is handed to it. Its HTTP goes
through ``routing.net``.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from django.utils.module_loading import import_string

from channels_app.bots.incoming import Incoming
from channels_app.models import Channel
from channels_app.streams import TurnStream

ADAPTERS = {
    Channel.Kind.NEXTCLOUD_TALK: "channels_app.nextcloud_talk.adapter.TalkAdapter",
    Channel.Kind.GOOGLE_CHAT: "channels_app.google_chat.adapter.GoogleChatAdapter",
}


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel in plain values, with its secrets readable; never stored or logged."""

    id: int
    owner_id: int
    owner_name: str
    persona_name: str
    """Display name of the channel's persona."""
    settings: dict[str, Any]
    secrets: dict[str, str] = field(repr=False)
    trusted_origins: frozenset[str] = frozenset()
    """Origins that may be called although they are not public."""
    address: str = ""
    """Where the other side must call."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent."""

    id: UUID
    """Idempotency key: the same for every attempt."""
    room_id: str
    text: str
    """Markdown of the model, one part that ``split`` gave."""
    thread: str = ""
    reply_to: str = ""
    part: int = 0
    repeated: bool = False
    """An earlier attempt may have arrived; the reader must be able to see that."""
    external_id: str = ""
    """The message that stands for it already, such as a placeholder."""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TestStep:
    """One step of a self-test, in the order in which they were tried."""

    __test__ = False
    name: str
    ok: bool
    detail: str = ""
    """What was seen, and what to do about it when it failed."""


class Adapter(Protocol):
    """One platform."""

    idempotent: bool
    """The other side recognises a repeated ``Outgoing.id``."""

    def split(self, text: str) -> list[str]:
        """Cut an answer into messages of the size that the platform takes."""

    async def send(self, channel: ChannelInfo, message: Outgoing) -> str:
        """Send one message; return its id on the other side, ``""`` where unknown.

        Raises:
            DeliveryError: It was not sent, or may not have been.
        """

    def showing_work(
        self, channel: ChannelInfo, event: Incoming, key: UUID
    ) -> AbstractAsyncContextManager[WorkSign]:
        """Show that an answer is being written; what was shown ends with the context.

        It is entered before the turn starts, which may have to wait for another.

        ``key`` is the id that the first part of the answer will have. Never raises
        because of the other side.
        """

    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        """Send a signed request both ways and tell each step; stops at a failure."""


class WorkSign(Protocol):
    """What shows that somebody works at an answer."""

    async def follow(self, stream: TurnStream) -> None:
        """Show the growing answer until its end where the platform can; else wait.

        A stream without words ends the sign all the same.
        """

    async def withdraw(self) -> None:
        """Take back what stands for the answer: nothing will take its place."""


class Patience:
    """The sign of work of a platform that cannot show a growing answer."""

    async def follow(self, stream: TurnStream) -> None:
        """Wait for the end of the answer."""
        async for _ in stream.read():
            pass

    async def withdraw(self) -> None:
        """Do nothing: nothing stands for the answer."""


def adapter_for(kind: str) -> Adapter:
    """Return the adapter of a kind of channel."""
    adapter: Adapter = import_string(ADAPTERS[Channel.Kind(kind)])()
    return adapter
