"""How well a text fits what is looked for: BM25, the same for every database.

Only the newest hits of the index are compared, so that a word that stands in every
message costs no more than a rare one.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond", Foundations and Trends in Information Retrieval, 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from personas.search.words import Term

SATURATION: Final = 1.2
LENGTH_WEIGHT: Final = 0.4
USUAL_WORDS: Final = 60
"""Words of a message that is neither long nor short."""
BEGUN: Final = 0.6
"""What a word counts that only begins with the one looked for."""
HALF_LIFE: Final = timedelta(days=180)
NEWNESS: Final = 0.3
"""How much more a message of this moment counts than one of long ago."""


def occurrences(padded: str, term: Term) -> float:
    """Count a term in a folded text that has a blank before and behind it."""
    words = " " + " ".join(term.words)
    exact = padded.count(words + " ")
    if not term.prefix:
        return exact
    return exact + BEGUN * (padded.count(words) - exact)


def fit(text: str, group: Sequence[Term], *, weight: float = 1.0) -> float:
    """Return how well a folded text fits one group of terms; 0 when not at all."""
    padded = f" {text} "
    count = sum(occurrences(padded, term) for term in group)
    if not count:
        return 0.0
    length = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * padded.count(" ") / USUAL_WORDS
    return weight * count * (SATURATION + 1) / (count + SATURATION * length)


def rarity(found: int, total: int) -> float:
    """Return how much a word tells that stands in so many of all texts."""
    return math.log(1 + (max(total - found, 0) + 0.5) / (found + 0.5))


def newness(said_at: datetime, now: datetime) -> float:
    """Return by how much a text counts more for being new; 1 for very old ones."""
    age: float = max(now - said_at, timedelta()) / HALF_LIFE
    return 1 + float(NEWNESS * 0.5**age)
