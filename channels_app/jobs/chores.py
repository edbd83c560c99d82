"""What the worker looks after beside the tick: events and deliveries that wait.

Mostly the process that stored something also deals with it at once. The worker takes
what is due again after a failure, and what a process that died has left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from channels_app import mails, webhooks
from channels_app.bots import answering, claims, outbox
from channels_app.jobs.recall import service as recall_service
from personas.search import index, indexing
from routing.db_pool import run_in_db_pool

logger = logging.getLogger("cortex.worker")

EVERY_S: Final = 2.0
BATCHES: Final = 5
"""For search in one go, each with a pause as long as its work: after an upgrade others
want to write too."""

Chore = Callable[[], Awaitable[object]]


async def see_to_events() -> None:
    """Answer events that nobody works at."""
    if await run_in_db_pool(claims.some_are_due):
        await answering.process_left_over()


_checked: list[bool] = []


async def see_to_search() -> None:
    """Let search know what was said; first of all see that its index is whole."""
    if not _checked:
        if gone := await run_in_db_pool(index.repair):
            logger.warning("the index of search was built anew: %s", ", ".join(gone))
        _checked.append(True)
    for _ in range(BATCHES):
        if not await run_in_db_pool(indexing.some_wait):
            break
        began = time.monotonic()
        await run_in_db_pool(indexing.index_new)
        await asyncio.sleep(time.monotonic() - began)


CHORES: Final[dict[str, Chore]] = {
    "events": see_to_events,
    "replies": outbox.wake_due,
    "webhooks": webhooks.wake_due,
    "mails": mails.wake_due,
    "search": see_to_search,
    "meanings": recall_service.see_to,
}
"""Each is looked after in a loop of its own, so that none waits for another."""
