"""What metrics are made of: sums by labels, histograms, and a limit for labels.

Every label has a bounded number of values. Those of a fixed set (outcomes, states) are
so by nature; the names of models, which people choose, are cut off by ``Names``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

Labels = tuple[str, ...]
OTHER = "other"
"""Stands for every name beyond the limit."""


class Names:
    """Lets the first names through as they are; later ones become ``other``.

    Names are met in the order of the ledger, so every process cuts off the same ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return the label for a name."""
        if name in self._known:
            return name
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(name)
        return name


@dataclass(slots=True)
class Distribution:
    """Counts of one series of a histogram, not yet added up."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return upper bounds and how many values are at most that."""
        found, so_far = [], 0
        labels = [repr(float(bound)) for bound in self.bounds] + ["+Inf"]
        for label, count in zip(labels, self.counts, strict=True):
            so_far += count
            found.append((label, float(so_far)))
        return found


class Histogram:
    """Distributions by labels, in seconds."""

    def __init__(self, *bounds: float) -> None:
        self._bounds = bounds
        self._series: dict[Labels, Distribution] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count one value."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Distribution(self._bounds)
        series.observe(value)

    def family(self, name: str, text: str, *labels: str) -> HistogramMetricFamily:
        """Return the metric; one without labels is there before its first value."""
        family = HistogramMetricFamily(name, text, labels=labels)
        series = self._series or ({} if labels else {(): Distribution(self._bounds)})
        for values, each in sorted(series.items()):
            family.add_metric(values, each.buckets(), each.total)
        return family


def counter(
    name: str, text: str, labels: Sequence[str], sums: Counter[Labels], unit: float = 1
) -> CounterMetricFamily:
    """Return a metric that only grows; ``unit`` = what a sum is divided by."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, total in sorted(sums.items()):
        family.add_metric(values, total / unit)
    return family


def gauge(
    name: str, text: str, labels: Sequence[str], values: dict[Labels, float]
) -> GaugeMetricFamily:
    """Return a metric that goes up and down."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in sorted(values.items()):
        family.add_metric(label_values, value)
    return family
