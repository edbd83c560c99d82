"""A person's Talk channel and the Nextcloud it belongs to, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from django.conf import settings

from channels_app.bots.adapters import ChannelInfo
from channels_app.bots.channels import set_secrets
from channels_app.models import Channel, ChannelRoom, LinkedIdentity
from personas.models import Persona
from routing import net
from routing.addresses import origin_of
from tests.support.nextcloud import ROOM, SECRET, Nextcloud

PREVIOUS = "tests-only-secret-before-the-present-one-0123456789"


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    """Run a Nextcloud Talk on loopback for one test."""
    with Nextcloud() as server:
        yield server


@pytest_asyncio.fixture
async def closed_sessions() -> AsyncIterator[None]:
    """Close what the test's event loop opened."""
    yield
    await net.close()


@pytest.fixture
def talk_info(nextcloud: Nextcloud, closed_sessions: None) -> ChannelInfo:
    """The channel as an adapter gets it, without a database."""
    return info_for(nextcloud)


def info_for(nextcloud: Nextcloud, **secrets: str) -> ChannelInfo:
    """Return a channel of alice to that server; without secrets it has the bot's."""
    return ChannelInfo(
        id=1,
        owner_id=1,
        owner_name="alice",
        persona_name="Inara",
        settings={"url": nextcloud.url},
        secrets=secrets or {"secret": nextcloud.bot.secret},
        trusted_origins=frozenset({origin_of(nextcloud.url)}),
        address=f"{settings.CORTEX_PUBLIC_URL}/webhook/nextcloud/alice",
    )


def make_talk_channel(
    persona: Persona,
    url: str = "https://cloud.example.org",
    *,
    secret: str = SECRET,
    previous: str = "",
    room: str = ROOM,
    alone: bool = True,
    linked: str = "users/alice",
) -> Channel:
    """Return the Talk channel of the persona's owner, with a room and a link."""
    channel = Channel(
        owner=persona.owner,
        kind=Channel.Kind.NEXTCLOUD_TALK,
        persona=persona,
        settings={"url": url},
    )
    set_secrets(channel, {"secret": secret, "previous": previous})
    channel.save()
    if room:
        ChannelRoom.objects.create(
            channel=channel,
            external_id=room,
            name="Room",
            state=ChannelRoom.State.ALLOWED,
            alone=alone,
        )
    if linked:
        LinkedIdentity.objects.create(channel=channel, external_id=linked)
    return channel


@pytest.fixture
def talk_channel(persona: Persona, nextcloud: Nextcloud, settings: object) -> Channel:
    """Alice's Talk channel to the server on loopback, whose address is trusted."""
    settings.CORTEX_ALLOWED_ORIGINS = [nextcloud.url]  # type: ignore[attr-defined]
    return make_talk_channel(persona, nextcloud.url)
