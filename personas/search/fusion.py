"""Several orders of the same things made into one, by reciprocal rank.

Scores of words and of meaning cannot be compared, but places in an order can: each
order gives ``1 / (60 + place)`` to what it holds.

Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
individual Rank Learning Methods", SIGIR 2009.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Final, TypeVar

T = TypeVar("T", bound=Hashable)

SMOOTHING: Final = 60
"""How little the first places stand out, as the authors found it best."""


def fused(*orders: Iterable[T]) -> list[tuple[T, float]]:
    """Return everything with its score, the best first.

    Among equals comes first what an earlier order holds further in front.
    """
    scores: defaultdict[T, float] = defaultdict(float)
    for order in orders:
        for place, thing in enumerate(order, start=1):
            scores[thing] += 1 / (SMOOTHING + place)
    return sorted(scores.items(), key=lambda item: -item[1])
