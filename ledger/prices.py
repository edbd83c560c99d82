"""What a model costs when the registry does not say: list prices, or nothing at home.

The registry's own prices go before these. A price that is not known is ``None``, never
zero, and the cost of such a call is booked as unknown.
"""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from pathlib import Path

from ledger.types import Prices

VENDORS = {
    "anthropic_api": "anthropic",
    "claude_cli": "anthropic",
    "gemini_api": "google",
    "gemini_cli": "google",
}
"""Host type → the vendor's name in the price data."""
LOOKUP_TIMEOUT_S = 20
log = logging.getLogger(__name__)


def price_for(
    host_type: str, model_name: str, *, is_local: bool = False
) -> Prices | None:
    """Return the prices of a model by its vendor's name; ``None`` = unknown.

    A model on a host in the house (``is_local``, or the built-in one) costs nothing.
    The first question about a model takes half a second in a process of its own; the
    answer is kept, so ask where a model is registered rather than in a turn.
    """
    if is_local or host_type == "builtin":
        return Prices.local()
    vendor = VENDORS.get(host_type)
    if vendor is None or not model_name or "\0" in model_name:
        return None
    return _list_price(vendor, model_name)


@functools.lru_cache(maxsize=512)
def _list_price(vendor: str, model_name: str) -> Prices | None:
    """Ask the price data, and remember the answer until the process ends."""
    program = Path(__file__).with_name("price_lookup.py")
    try:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [sys.executable, "-I", str(program), vendor, model_name],
            capture_output=True,
            check=True,
            timeout=LOOKUP_TIMEOUT_S,
        )
        prices = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("No list price for %s: %s", model_name, error)
        return None
    return None if prices is None else Prices(**prices)
