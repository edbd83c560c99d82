"""Wishes about the memory in a room do not hold up everybody who writes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from personas.memory import wishes
from personas.models import MemoryRun
from routing.db_pool import run_in_db_pool
from tests.support.bots import Platform


async def test_messages_are_looked_through_outside_the_event_s_transaction(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has one writer, and there may be years of messages."""
    within: list[bool] = []
    forget = wishes.forget

    def watched(*args: Any, **named: Any) -> wishes.Forgotten:
        within.append(connection.in_atomic_block)
        return forget(*args, **named)

    monkeypatch.setattr(wishes, "forget", watched)
    await platform.say("/remember I like tea")
    await platform.say("/forget tea")
    assert within == [False]
    assert "Forgotten" in platform.texts()[-1]
    steps = await run_in_db_pool(
        lambda: sorted(MemoryRun.objects.values_list("step", flat=True))
    )
    assert steps == ["forget", "remember"]
