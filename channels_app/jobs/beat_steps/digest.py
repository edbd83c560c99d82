"""The daily digest: made in the morning of each person who wants one."""

from __future__ import annotations

from typing import Final

from channels_app import digests, mails
from channels_app.jobs.beat_step import BeatStep
from routing.db_pool import run_in_db_pool


def find() -> int:
    """Count the digests that are due."""
    return len(digests.due())


async def work() -> int:
    """Store them as mails; return how many there were."""
    stored = 0
    for person in await run_in_db_pool(digests.due):
        stored += await run_in_db_pool(digests.store, person)
    await mails.wake_due()
    return stored


STEP: Final = BeatStep("digest", "Daily digests", find, work)
