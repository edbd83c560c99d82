"""The tick: what has to be put right in the database every ten seconds.

Each step stands alone: one that fails is logged and the others still run. Several
workers take turns, on one machine or on many; a tick that finds another one at work
does nothing. What is not urgent, or asks anything but the database, belongs to the
heartbeat (``channels_app.jobs.heartbeat``).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db import close_old_connections
from django.utils import timezone

from accounts.transactions import quick_transaction
from channels_app import abandoned
from channels_app.jobs import clock, engines, rescuing, slots
from channels_app.jobs.exclusive import only_one
from channels_app.models import Clock
from ledger import entries, journal
from personas.models import Message
from routing.backends.base import LOCAL_TIMEOUTS, REMOTE_TIMEOUTS

logger = logging.getLogger("cortex.tick")

NAME: Final = "tick"
EVERY_S = 10.0
SLOW_S = 5.0
"""A step that takes longer than this is worth a line in the log."""
ABANDONED_AFTER_S = max(LOCAL_TIMEOUTS.total_s, REMOTE_TIMEOUTS.total_s) + 300
"""No call lasts this long, so one that is still open has lost its process."""
ALIVE_WITHIN_S = 60
"""An answer that was alive so recently is still written, however long it takes."""


def release_abandoned() -> int:
    """Close the reservations of calls whose process died; return how many."""
    return entries.release_stale(ABANDONED_AFTER_S, is_alive=_is_written)


def _is_written(turn_id: uuid.UUID | None) -> bool:
    """Tell whether some process still writes the answer of this turn.

    A computer that slept may hold a call that is older than any limit of time.
    """
    if turn_id is None:
        return False
    recently = timezone.now() - timedelta(seconds=ALIVE_WITHIN_S)
    return Message.objects.filter(
        pk=turn_id, state=Message.State.GENERATING, alive_at__gte=recently
    ).exists()


Step = tuple[str, Callable[[], int]]
STEPS: tuple[Step, ...] = (
    ("rescued_tasks", rescuing.rescue),
    ("brought_back_tasks", rescuing.bring_back),
    ("announced_tasks", engines.sweep),
    ("due_briefs", slots.enqueue_due),
    ("interrupted_turns", abandoned.interrupt_abandoned),
    ("released_reservations", release_abandoned),
    ("filled_ledger_lines", journal.fill_gaps),
)
"""Name of what a step counts, and the step; it returns how many it put right."""


@dataclass(slots=True)
class TickReport:
    """What one tick did."""

    ran: bool = True
    """False when another process was ticking."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many rows each step put right, by the step's name."""
    failed: list[str] = field(default_factory=list)
    """Names of the steps that raised; the log has the reasons."""


def tick(steps: Sequence[Step] = STEPS) -> TickReport:
    """Run every step once, in order, unless another process is at it."""
    report = TickReport()
    with only_one(NAME) as mine:
        if not mine:
            report.ran = False
            return report
        _note_beginning()
        for name, step in steps:
            _run(name, step, report)
    return report


def _run(name: str, step: Callable[[], int], report: TickReport) -> None:
    started = time.monotonic()
    try:
        count = step()
    except Exception:  # the other steps still run
        logger.exception("the step %s failed", name)
        report.failed.append(name)
        close_old_connections()  # the next step may need a fresh one
        return
    report.counts[name] = count
    elapsed_s = time.monotonic() - started
    if count or elapsed_s > SLOW_S:
        logger.info("%s: %d", name, count, extra={"seconds": round(elapsed_s, 2)})


def last_began_at() -> datetime | None:
    """Return when a tick last began, on any machine; ``None`` if never."""
    return began_at()[1]


def began_at() -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last tick of this installation began."""
    row = Clock.objects.filter(pk=NAME).first()
    return (None, None) if row is None else (row.first_at, row.last_at)


def _note_beginning() -> None:
    """Write down that a tick began, for all who ask whether a worker lives."""
    now = clock.now()
    with quick_transaction():
        Clock.objects.update_or_create(
            pk=NAME,
            defaults={"last_at": now},
            create_defaults={"first_at": now, "last_at": now},
        )
