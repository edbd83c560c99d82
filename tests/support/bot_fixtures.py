"""Fixtures of everything that comes by a bot, on the platform in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from channels_app import couriers
from channels_app.bots import adapters, answering
from channels_app.models import Channel
from personas.models import Persona
from routing.backends.scripted import calls
from routing.models import Model, RoleSlot
from tests.support.bots import ADAPTER, Platform, TestAdapter, make_channel, make_room


@pytest_asyncio.fixture
async def bots_running(
    turns_running: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Let bots answer in this test's event loop, on the platform in memory."""
    for kind in Channel.Kind:
        monkeypatch.setitem(adapters.ADAPTERS, kind, ADAPTER)
    calls.clear()
    TestAdapter.sent, TestAdapter.shown, TestAdapter.on_show = [], [], None
    TestAdapter.stands_for, TestAdapter.withdrawn, TestAdapter.showing = "", 0, 0
    yield
    await answering.drain(0)
    await couriers.drain(0)


@pytest.fixture
def channel(bots_running: None, persona: Persona, scripted: Model) -> Channel:
    """Alice's channel with a persona that repeats what it is asked."""
    RoleSlot.objects.create(role="chat", position=0, model=scripted)
    return make_channel(persona)


@pytest.fixture
def platform(channel: Channel) -> Platform:
    """The other side of alice's channel, with a room where only she reads."""
    make_room(channel)
    return Platform(channel)
