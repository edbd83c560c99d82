"""Short ways to book a call in tests."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from ledger import entries
from ledger.allowances import standings_of
from ledger.types import Caller, Prices, Reservation, Settlement

PRICES = Prices(
    input=3_000_000_000,
    output=15_000_000_000,
    cache_read=300_000_000,
    cache_write=3_750_000_000,
)
"""3, 15, 0.30 and 3.75 dollars per million tokens."""


def make_caller(user: Any = None, **changes: Any) -> Caller:
    """Return a caller with a turn of its own; a made-up alice without ``user``."""
    caller = Caller(7, "alice", 3, "inara", "web", uuid.uuid4())
    if user is not None:
        caller = replace(caller, user_id=user.pk, user_name=user.username)
    return replace(caller, **changes)


def make_reservation(user: Any = None, **changes: Any) -> Reservation:
    """Return a metered reservation of 1,000 input and at most 100 output tokens."""
    values: dict[str, Any] = {
        "attempt_id": uuid.uuid4(),
        "caller": make_caller(user),
        "role": "chat",
        "host_type": "anthropic_api",
        "model_id": "haiku",
        "model_name": "claude-haiku-4-5",
        "prices": PRICES,
        "estimated_input_tokens": 1000,
        "max_output_tokens": 100,
    }
    return Reservation(**{**values, **changes})


def book(
    user: Any = None,
    *,
    outcome: Any = "complete",
    input_tokens: int | None = 10,
    output_tokens: int | None = 2,
    **changes: Any,
) -> uuid.UUID:
    """Reserve and settle one call; return its attempt."""
    reservation = make_reservation(user, **changes)
    entries.reserve(reservation)
    entries.settle(
        reservation.attempt_id,
        Settlement(
            outcome,
            elapsed_ms=1500,
            first_token_ms=200,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        ),
    )
    return reservation.attempt_id


def left_nano_usd(user: Any) -> int | None:
    """Return what a person may still spend, of the budget with the least left."""
    found = standings_of(user, background=False)
    return max(0, min(each.left for each in found)) if found else None
