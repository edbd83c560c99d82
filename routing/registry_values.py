"""Single values of registry files: what cannot be read counts as not said.

Pure; ``routing.registry_file`` reads the whole files.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ledger.types import PRICE_NAMES

TOKENS_PER_K: Final = 1000
"""Of the two meanings of “k” the one that never promises too much room."""


def context_of(row: dict[str, Any]) -> int | None:
    """Return how many tokens a model takes, said in tokens or in thousands."""
    tokens = count_of(row.get("context_tokens"), 512)
    if tokens is not None:
        return tokens
    try:
        thousands = Decimal(str(row.get("context_k")))
        return count_of(int(thousands * TOKENS_PER_K), 512)
    except (InvalidOperation, ValueError, OverflowError):
        return None


def count_of(value: Any, at_least: int) -> int | None:
    """Return a whole number that fits a column, from ``at_least`` on."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and at_least <= value < 2**31 else None


def tier_of(value: Any) -> int | None:
    """Return a tier from 1 to 3."""
    return int(value) if str(value) in {"1", "2", "3"} else None


def tags_of(tags: Any) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas."""
    words = tags.split(",") if isinstance(tags, str) else tags
    if not isinstance(words, list):
        return ()
    return tuple(str(word).strip()[:50] for word in words if str(word).strip())[:50]


def prices_of(prices: Any) -> dict[str, int]:
    """Return nano-dollars for a million tokens, of prices in dollars."""
    found = {}
    for name in PRICE_NAMES if isinstance(prices, dict) else ():
        try:
            nano = int(Decimal(str(prices.get(name))) * 10**9)
        except (InvalidOperation, ValueError, OverflowError):
            continue
        if 0 <= nano <= 10**15:
            found[name] = nano
    return found


def text_in(row: dict[str, Any], *names: str) -> str:
    """Return the first of several fields that is a text or a number."""
    for name in names:
        value = row.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value:
            return str(value).strip()
    return ""
