"""What waits and what is alive, for ``/metrics``: queue, bots, deliveries, clocks.

What is open is asked from the database at each scrape, by the indexes of what is open.
How long tasks waited and how they ended is counted by each process for itself from its
start on, because the rows of old tasks are removed and a counter must not fall. So what
was done long ago costs nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min, Model
from django.db.models.expressions import RawSQL
from django.utils import timezone
from prometheus_client.metrics_core import Metric

from channels_app.care.metrics_values import Histogram, Labels, counter, gauge
from channels_app.jobs import tick
from channels_app.jobs.leases import PENDING, PROCESSING
from channels_app.models import (
    Beat,
    InboundEvent,
    MailDelivery,
    OutboundReply,
    QueuedTask,
    WebhookDelivery,
)

WAIT_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
LATE: Final = timedelta(seconds=60)
"""A row may become visible so long after the time that is written in it."""
EVENT_STATES: Final = ("received", "processing")
DELIVERY_STATES: Final = ("pending", "sending")
DELIVERIES: Final[dict[str, type[Model]]] = {
    "reply": OutboundReply,
    "webhook": WebhookDelivery,
    "mail": MailDelivery,
}
ENDED_STATES: Final = ("done", "failed", "dead", "cancelled")
Attempt = tuple[uuid.UUID, int]
End = tuple[uuid.UUID, datetime]
_FIELDS: Final = (
    "state", "attempts", "created_at", "not_before", "started_at", "finished_at",
)  # fmt: skip


class QueueCounts:
    """How long tasks waited until a worker began them, and how they ended."""

    def __init__(self, since: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._began = self._read_at = since or timezone.now()
        self._seen: set[Attempt] = set()
        self._seen_ends: set[End] = set()
        self._waits = Histogram(*WAIT_S)
        self._ends: Counter[Labels] = Counter({(state,): 0 for state in ENDED_STATES})

    def collect(self) -> Iterable[Metric]:
        """Count what began and what ended since the last time."""
        with self._lock:
            now = timezone.now()
            self._read()
            self._read_at = now
            return [
                self._waits.family(
                    "cortex_queue_wait_seconds",
                    "From when a task might begin until it was begun.",
                ),
                counter(
                    "cortex_queue_ended",
                    "Tasks that ended, by how.",
                    ["state"],
                    self._ends,
                ),
            ]

    def _read(self) -> None:
        """Count what was not seen before, and keep what was seen now."""
        every = QueuedTask.objects.order_by()
        attempts: set[Attempt] = set()
        ends: set[End] = set()
        # Two questions, each by an index; together they would read the whole table.
        for rows in (
            every.filter(state=PROCESSING),
            every.filter(finished_at__gte=self._read_at - LATE),
        ):
            for task in rows.only(*_FIELDS):
                if task.started_at is not None and task.started_at >= self._began:
                    attempts.add((task.pk, task.attempts))
                    self._count_wait(task, task.started_at)
                if task.finished_at is not None and task.finished_at >= self._began:
                    ends.add((task.pk, task.finished_at))
                    if (task.pk, task.finished_at) not in self._seen_ends:
                        self._ends[(task.state,)] += 1
        self._seen, self._seen_ends = attempts, ends

    def _count_wait(self, task: QueuedTask, started_at: datetime) -> None:
        if (task.pk, task.attempts) not in self._seen:
            waited = started_at - max(task.created_at, task.not_before)
            self._waits.observe((), max(0.0, waited.total_seconds()))


def collect_open_work() -> Iterator[Metric]:
    """Return what waits in the queue, from bots and to be delivered."""
    yield gauge(
        "cortex_queue_tasks", "Open tasks by state.", ["state"], _tasks_by_state()
    )
    yield gauge(
        "cortex_queue_oldest_waiting_seconds",
        "For how long the first task in the line might have begun.",
        [],
        {(): _oldest_waiting_s()},
    )
    yield gauge(
        "cortex_bot_events_open",
        "Messages to bots that are not dealt with.",
        ["state"],
        _by_state(InboundEvent, EVENT_STATES),
    )
    deliveries: dict[Labels, float] = {}
    for kind, model in DELIVERIES.items():
        for (state,), count in _by_state(model, DELIVERY_STATES).items():
            deliveries[kind, state] = count
    yield gauge(
        "cortex_deliveries_open",
        "What is still to be sent.",
        ["kind", "state"],
        deliveries,
    )


def collect_clocks() -> Iterator[Metric]:
    """Return when a worker last ticked, on any machine, and the last heartbeat."""
    ticked = tick.last_began_at()
    beat = Beat.objects.order_by("-id").values_list("started_at", flat=True).first()
    for name, text, moment in (
        ("tick", "Begin of the last tick of a worker.", ticked),
        ("beat", "Begin of the last heartbeat.", beat),
    ):
        yield gauge(
            f"cortex_last_{name}_timestamp_seconds",
            text,
            [],
            {} if moment is None else {(): moment.timestamp()},
        )


def _by_state(model: type[Model], states: Iterable[str]) -> dict[Labels, float]:
    """Count the rows in each of these states, which are few."""
    states = list(states)
    found: dict[Labels, float] = {(state,): 0.0 for state in states}
    # Only with literal states can SQLite use the indexes of what is open.
    literally = [RawSQL(f"'{state}'", ()) for state in states]  # noqa: S611
    rows = model._default_manager.filter(state__in=literally).order_by()
    for state, count in rows.values_list("state").annotate(Count("pk")):
        found[(state,)] = float(count)
    return found


def _tasks_by_state() -> dict[Labels, float]:
    every = QueuedTask.objects.order_by()
    return {
        ("pending",): float(every.filter(state=PENDING).count()),
        ("processing",): float(every.filter(state=PROCESSING).count()),
    }


def _oldest_waiting_s() -> float:
    now = timezone.now()
    waiting = QueuedTask.objects.filter(state=PENDING, not_before__lte=now)
    oldest = waiting.aggregate(oldest=Min("not_before"))["oldest"]
    return 0.0 if oldest is None else float((now - oldest).total_seconds())
