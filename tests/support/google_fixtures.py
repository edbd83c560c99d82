"""Fixtures of everything that Google Chat sends or gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from channels_app import couriers
from channels_app.bots import answering
from channels_app.google_chat import access, key_sets, pace
from tests.support.google import GoogleStandIn


@pytest.fixture
def google(settings: Any) -> Iterator[GoogleStandIn]:
    """Run a Google on loopback for one test, where Cortex looks for it."""
    for kept in (access._TOKENS, key_sets._KEY_SETS, pace._FREE_AT):
        kept.clear()
    with GoogleStandIn() as server:
        for name, value in server.settings.items():
            setattr(settings, name, value)
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write to a space as often as wanted, for tests that are not about that."""
    monkeypatch.setattr(pace, "EVERY_S", 0.0)


@pytest_asyncio.fixture
async def bots_running(turns_running: None) -> AsyncIterator[None]:
    """Let events be answered in this test's event loop and end that with it."""
    yield
    await answering.drain(5)
    await couriers.drain(5)
