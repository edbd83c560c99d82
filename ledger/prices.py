"""What a model costs when the registry does not say: list prices, or nothing at home.

The registry's own prices go before these. A price that is not known is ``None``, never
zero, and the cost of such a call is booked as unknown.
"""

from __future__ import annotations

import functools
import json
import logging
import re
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
ALIASES = {
    "haiku": "claude-haiku-4-5",
    "sonnet": "claude-sonnet-5",
    "opus": "claude-opus-4-8",
    "fable": "claude-fable-5",
}
"""Short name that the Claude program takes → the model that it asks for.

Source: the model requests of Claude Code 2.1.197.
"""
_MORE_CONTEXT = re.compile(r"\[1m\]\Z")
_ENDINGS = re.compile(r"-(?:latest|\d{3}|(?:preview|exp)(?:-\d{2}-\d{2,4})?)\Z")
"""What vendors append to the name of a model for one of its versions."""
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
    return _list_price(vendor, *names_of(vendor, model_name))


def names_of(vendor: str, model_name: str) -> list[str]:
    """Return the names under which a price may be listed, the most exact first.

    A version that is not listed costs what its model does: ``gemini-2.5-flash-002`` is
    looked up as such, then as ``gemini-2.5-flash``.
    """
    name = model_name.removeprefix("models/")
    if vendor == "anthropic":
        name = _MORE_CONTEXT.sub("", name)
        name = ALIASES.get(name, name)
    return list(dict.fromkeys([name, _ENDINGS.sub("", name)]))


@functools.lru_cache(maxsize=512)
def _list_price(vendor: str, *names: str) -> Prices | None:
    """Ask the price data, and remember the answer until the process ends."""
    program = Path(__file__).with_name("price_lookup.py")
    try:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [sys.executable, "-I", str(program), vendor, *names],
            capture_output=True,
            check=True,
            timeout=LOOKUP_TIMEOUT_S,
        )
        prices = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("No list price for %s: %s", names[0], error)
        return None
    return None if prices is None else Prices(**prices)
