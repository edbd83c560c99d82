"""A person's Google Chat app and the Google it belongs to, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.test import AsyncClient

from channels_app.bots.adapters import ChannelInfo
from channels_app.bots.channels import info_of, set_secrets
from channels_app.models import (
    Channel,
    ChannelRoom,
    InboundEvent,
    LinkedIdentity,
    OutboundReply,
)
from personas.models import Persona
from routing.db_pool import run_in_db_pool
from tests.support.google import ADDON_ACCOUNT, GoogleStandIn
from tests.support.google_events import Event, addon, classic, text_of

PROJECT = "123456789012"
ENDPOINT = "http://127.0.0.1:8000/channels/google-chat/alice"
ADDRESS = "/channels/google-chat/alice"
ANN, ROOM = "users/111", "spaces/AAA"


def make_google_channel(
    persona: Persona,
    google: GoogleStandIn | None = None,
    *,
    audience: str = "project",
    posts: bool = True,
    room: str = ROOM,
    linked: str = ANN,
    **fields: Any,
) -> Channel:
    """Return the Google Chat channel of the persona's owner, its room and its link."""
    channel = Channel(
        owner=persona.owner,
        kind=Channel.Kind.GOOGLE_CHAT,
        persona=persona,
        settings={
            "audience": audience,
            "project_number": PROJECT,
            "endpoint": ENDPOINT,
            "addon_account": ADDON_ACCOUNT,
        },
        **fields,
    )
    if posts and google is not None:
        set_secrets(channel, {"service_account": google.service_account()})
    channel.save()
    if room:
        ChannelRoom.objects.create(
            channel=channel, external_id=room, state=ChannelRoom.State.ALLOWED
        )
    if linked:
        LinkedIdentity.objects.create(channel=channel, external_id=linked, name="Ann")
    return channel


def google_info(google: GoogleStandIn, **secrets: str) -> ChannelInfo:
    """Return a channel of alice as an adapter gets it, without a database."""
    return ChannelInfo(
        id=1,
        owner_id=1,
        owner_name="alice",
        persona_name="Inara",
        settings={"audience": "project", "project_number": PROJECT},
        secrets=secrets or {"service_account": google.service_account()},
        address=f"{settings.CORTEX_PUBLIC_URL}{ADDRESS}",
    )


@dataclass
class Chat:
    """Google's end: sends events of one kind of app to alice's channel."""

    google: GoogleStandIn
    signed_for: str = "project"
    client: AsyncClient = field(default_factory=AsyncClient)

    @property
    def audience(self) -> str:
        """What the console is set to."""
        return PROJECT if self.signed_for == "project" else ENDPOINT

    def payload(self, event: Event) -> dict[str, Any]:
        """Return an event in the dialect of the app."""
        return addon(event) if self.signed_for == "addon" else classic(event)

    async def send(
        self,
        event: Event | dict[str, Any] | bytes,
        *,
        token: str | None = None,
        address: str = ADDRESS,
        **headers: str,
    ) -> tuple[int, Any]:
        """Send an event; return status and JSON."""
        if isinstance(event, Event):
            event = self.payload(event)
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        if token is None:
            token = self.google.token(self.signed_for, self.audience)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.client.post(
            address, body, content_type="application/json", headers=headers
        )
        return answer.status_code, json.loads(answer.content)

    async def say(self, text: str, **fields: Any) -> str:
        """Send a message and return the words of the response."""
        status, answer = await self.send(Event(text=text, **fields))
        assert status == 200, answer
        return text_of(answer)


async def settled(*, replies: int | None = None) -> list[OutboundReply]:
    """Wait until every event and every reply has ended; return the replies."""

    def ended() -> list[OutboundReply] | None:
        open_events = InboundEvent.objects.filter(state__in=["received", "processing"])
        open_replies = OutboundReply.objects.filter(state__in=["pending", "sending"])
        if open_events.exists() or open_replies.exists():
            return None
        found = list(OutboundReply.objects.order_by("created_at", "part"))
        return found if replies is None or len(found) == replies else None

    found: list[OutboundReply] = await until(lambda: run_in_db_pool(ended))
    return found


async def until(condition: Callable[[], Any], *, within_s: float = 20) -> Any:
    """Return the first result of an awaited condition that is not ``None``."""
    async with asyncio.timeout(within_s):
        while (found := await condition()) is None:
            await asyncio.sleep(0.02)
    return found


def info(channel: Channel) -> ChannelInfo:
    """Return what an adapter is given for a channel; synchronous."""
    return info_of(
        Channel.objects.select_related("owner", "persona").get(pk=channel.pk)
    )
