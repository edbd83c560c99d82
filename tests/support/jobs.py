"""Tasks for tests: a clock that can be set, and ways to queue and claim."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from accounts.models import User
from channels_app.jobs import clock, leases, queue
from channels_app.models import QueuedTask

WORKER = "worker-1"


class Clock:
    """The clock of the queue, as it is or set by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the moment that the queue believes in."""
        return clock.now() + self.ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass; negative = the clock is set back."""
        self.ahead += timedelta(seconds=seconds)


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the queue a clock that the test sets."""
    mine = Clock()
    for module in (leases, queue):
        monkeypatch.setattr(module, "clock_now", mine.now)
    return mine


def add(owner: User, text: str = "water the plants", **fields: Any) -> QueuedTask:
    """Queue a task of the kind that tests do."""
    fields.setdefault("kind", "test")
    return queue.enqueue(owner, queue.NewTask(text, **fields))


def take(worker: str = WORKER) -> QueuedTask:
    """Claim the one task that is due."""
    (task,) = leases.claim(worker, 10)
    return task
