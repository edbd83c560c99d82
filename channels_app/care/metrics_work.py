"""What waits and what is alive, for ``/metrics``: queue, bots, deliveries, clocks.

Counts are asked from the database at each scrape, all by indexes on what is open. How
long tasks waited is counted by each process for itself from its start on, because the
rows of old tasks are removed and a counter must not fall.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min, Model, Q
from django.utils import timezone
from prometheus_client.metrics_core import Metric

from channels_app.care.metrics_values import Histogram, Labels, gauge
from channels_app.jobs import tick
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
Attempt = tuple[uuid.UUID, int]


class QueueWaits:
    """How long tasks waited from when they might begin until a worker began them."""

    def __init__(self, since: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._began = self._read_at = since or timezone.now()
        self._seen: set[Attempt] = set()
        self._waits = Histogram(*WAIT_S)

    def collect(self) -> Iterable[Metric]:
        """Count the attempts that began since the last time."""
        with self._lock:
            now = timezone.now()
            self._seen = self._read()
            self._read_at = now
            return [
                self._waits.family(
                    "cortex_queue_wait_seconds",
                    "From when a task might begin until it was begun.",
                )
            ]

    def _read(self) -> set[Attempt]:
        """Return all recent attempts; those not seen before are counted."""
        recent = Q(state=QueuedTask.State.PROCESSING) | Q(
            finished_at__gte=self._read_at - LATE
        )
        rows = QueuedTask.objects.filter(recent, started_at__gte=self._began)
        found: set[Attempt] = set()
        for (
            key,
            attempt,
            created_at,
            not_before,
            started_at,
        ) in rows.order_by().values_list(
            "pk", "attempts", "created_at", "not_before", "started_at"
        ):
            found.add((key, attempt))
            if started_at is not None and (key, attempt) not in self._seen:
                waited = started_at - max(created_at, not_before)
                self._waits.observe((), max(0.0, waited.total_seconds()))
        return found


def collect_open_work() -> Iterator[Metric]:
    """Return what waits in the queue, from bots and to be delivered."""
    yield gauge("cortex_queue_tasks", "Tasks by state.", ["state"], _tasks_by_state())
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
    rows = model._default_manager.filter(state__in=states).order_by()
    for state, count in rows.values_list("state").annotate(Count("pk")):
        found[(state,)] = float(count)
    return found


def _tasks_by_state() -> dict[Labels, float]:
    return _by_state(QueuedTask, QueuedTask.State.values)


def _oldest_waiting_s() -> float:
    now = timezone.now()
    waiting = QueuedTask.objects.filter(
        state=QueuedTask.State.PENDING, not_before__lte=now
    )
    oldest = waiting.aggregate(oldest=Min("not_before"))["oldest"]
    return 0.0 if oldest is None else float((now - oldest).total_seconds())
