"""The steps of the heartbeat, in their order.

Each stands in a module of its own with a ``find`` that counts and a ``work`` that does.
The digest comes late, so that it tells of the others; the backup last, for it takes
longest.
"""

from __future__ import annotations

from typing import Final

from channels_app.jobs.beat_step import BeatStep
from channels_app.jobs.beat_steps import (
    backup,
    budgets,
    digest,
    hosts,
    memory,
    retention,
)

STEPS: Final[tuple[BeatStep, ...]] = (
    hosts.STEP,
    budgets.STEP,
    memory.STEP,
    retention.STEP,
    digest.STEP,
    backup.STEP,
)
