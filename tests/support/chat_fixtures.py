"""Fixtures of everything that chats over the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from accounts.models import User
from channels_app import live_turns, turns
from routing import net
from routing.db_pool import run_in_db_pool
from routing.models import Model
from tests.support.chat import mock_model, scripted_model, session_for
from tests.support.upstream import Upstream


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


@pytest.fixture
def scripted(transactional_db: None) -> Model:
    """A shared model that plays scripts or repeats what it is asked."""
    return scripted_model()


@pytest.fixture
def mock_models(transactional_db: None, upstream: Upstream) -> Callable[..., Model]:
    """Return a function that registers a model of the mock upstream by its name."""

    def register(name: str, **fields: Any) -> Model:
        return mock_model(upstream.base_url, name, **fields)

    return register


@pytest.fixture
def seen() -> Callable[..., Any]:
    """Return a function that runs a query from an async test."""

    async def run(query: Callable[..., Any], *args: Any) -> Any:
        return await run_in_db_pool(query, *args)

    return run
