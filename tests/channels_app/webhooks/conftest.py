"""Fixtures of the tests of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from channels_app import couriers
from routing import net
from tests.support.webhook_receiver import Receiver


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """Run a program that receives webhooks; the administrator trusts its address."""
    with Receiver() as server:
        settings.CORTEX_ALLOWED_ORIGINS = [server.origin]
        yield server


@pytest_asyncio.fixture
async def couriers_end() -> AsyncIterator[None]:
    """End what is under way in the test's event loop."""
    yield
    await couriers.drain(0)
    await net.close()
