"""Print the list price of one model as JSON.

``price_lookup.py <provider> <name> [<name> …]``: the first name that is listed counts.

A program of its own, because reading the price data takes some 50–100 MB of memory that
no server process should keep. Prints ``null`` for an unknown model, else nano-dollars
per million tokens::

    {"input": 3000000000, "output": 15000000000, "cache_read": …, "cache_write": …}

Where a vendor charges more beyond a prompt length, this is the price of shorter ones.

Source: the data of the ``genai-prices`` package, which names the vendors' price pages.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

from genai_prices import Usage, calc_price

_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


def nano_usd(price: Any) -> int | None:
    """Turn dollars, flat or in steps by prompt length, into nano-dollars."""
    if price is None:
        return None
    return int(Decimal(getattr(price, "base", price)) * 1_000_000_000)


def look_up(provider: str, *models: str) -> dict[str, int | None] | None:
    """Return today's prices of a vendor's model; ``None`` when no name is listed."""
    for model in models:
        try:
            found = calc_price(Usage(), model, provider_id=provider).model_price
        except LookupError:
            continue
        return {
            name: nano_usd(getattr(found, field)) for name, field in _FIELDS.items()
        }
    return None


if __name__ == "__main__":
    json.dump(look_up(*sys.argv[1:]), sys.stdout)
