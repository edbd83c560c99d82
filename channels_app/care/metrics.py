"""The figures of ``GET /metrics``, in Prometheus' text format or OpenMetrics.

What the ledger and the queue say is about the whole installation, whichever of its
processes is asked; sockets, running answers and memory are those of this process.
No label names a person or a persona, and no text of theirs is in here.
Source: Prometheus, "Exposition formats"; OpenMetrics 1.0.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Final

from django.db import connection
from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from channels_app import turns
from channels_app.care import metrics_work
from channels_app.care.metrics_ledger import LedgerSums
from channels_app.care.metrics_values import gauge
from channels_app.care.metrics_work import QueueCounts
from channels_app.care.version import cortex_version
from channels_app.live_turns import hub
from channels_app.web.sockets import SOCKETS

OPENMETRICS: Final = "application/openmetrics-text"


class CortexCollector(Collector):
    """Everything that Cortex tells of itself; the sums are kept between scrapes."""

    def __init__(self) -> None:
        self._ledger = LedgerSums()
        self._queue = QueueCounts()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics; synchronous, for the database pool."""
        yield from self._ledger.collect()
        yield from metrics_work.collect_open_work()
        yield from self._queue.collect()
        yield from metrics_work.collect_clocks()
        yield from _of_this_process()

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: registering must not ask the database."""
        return []


def _of_this_process() -> Iterator[Metric]:
    for name, text, value in (
        ("live_turns", "Answers being written by this process.", turns.running_count()),
        ("streams", "Streams of answers that this process keeps.", hub().count()),
        ("sockets", "Open chat sockets of this process.", len(SOCKETS)),
    ):
        yield gauge(f"cortex_{name}", text, [], {(): float(value)})
    info = InfoMetricFamily("cortex_build", "What runs here.")
    info.add_metric(
        (),
        {
            "version": cortex_version(),
            "python": platform.python_version(),
            "database": connection.vendor,
        },
    )
    yield info


def new_registry() -> CollectorRegistry:
    """Return a registry with Cortex's and the process's metrics and empty sums."""
    registry = CollectorRegistry()
    registry.register(CortexCollector())
    ProcessCollector(registry=registry)
    return registry


REGISTRY: Final = new_registry()
"""What this process tells."""


def written(accept: str, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """Return all metrics and their content type; for the database pool.

    Args:
        accept: What the asker's header ``Accept`` says; OpenMetrics only if named.
        registry: Where the sums are kept.
    """
    if OPENMETRICS in accept.lower():
        latest: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return latest, openmetrics.CONTENT_TYPE_LATEST
    return (
        exposition.generate_latest(registry),
        exposition.CONTENT_TYPE_PLAIN_0_0_4,
    )
