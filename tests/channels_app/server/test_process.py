"""How the web process is put together."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from channels_app.bots import answering
from channels_app.server import lifeline, process


def test_events_left_before_the_start_are_looked_for_when_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    loop = asyncio.new_event_loop()

    class Server:
        """Is ready, runs its loop for a moment, and ends."""

        def __init__(self, *_: Any, **__: Any) -> None:
            self.start_drain = lambda: None

        def run(self) -> int:
            asyncio.set_event_loop(loop)
            self.ready_callable()  # type: ignore[attr-defined]
            assert seen == ["watch"], "the start does not wait for it"
            loop.run_until_complete(asyncio.sleep(0))
            return 0

    async def go_on() -> None:
        seen.append("go on")

    monkeypatch.setattr(process, "CortexServer", Server)
    monkeypatch.setattr(answering, "go_on", go_on)
    monkeypatch.setattr(lifeline, "watch", lambda *_: seen.append("watch"))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    try:
        assert process.run() == 0
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    assert seen == ["watch", "go on"]
