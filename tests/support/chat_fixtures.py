"""Fixtures of everything that chats over the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from accounts.models import User
from channels_app import live_turns, turns
from routing import net
from tests.support.chat import session_for


@pytest_asyncio.fixture
async def turns_running(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Let turns run in this test's event loop and end them with it."""
    monkeypatch.setattr(turns._Draining, "now", False)
    yield
    await turns.drain(0)
    await live_turns.close()
    await net.close()


@pytest.fixture
def alice_session(transactional_db: None, alice: User) -> str:
    """The key of a session of alice."""
    return session_for(alice)


@pytest.fixture
def bob_session(transactional_db: None, bob: User) -> str:
    """The key of a session of bob."""
    return session_for(bob)


@pytest.fixture
def charlie_session(transactional_db: None, charlie: User) -> str:
    """The key of a session of charlie."""
    return session_for(charlie)
