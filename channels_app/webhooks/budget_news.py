"""Tells a person's addresses that a threshold of a budget was reached."""

from __future__ import annotations

from typing import Any, Final

from channels_app.webhooks import announcing, sending
from ledger.budgets import BudgetWarning
from ledger.money import format_usd

EVENT: Final = "budget.warning"


def store(user_id: int, warning: BudgetWarning) -> None:
    """Store what is to be told, in the caller's transaction; ``sending`` brings it."""
    announcing.store(user_id, EVENT, *_news(warning))


async def announce(user_id: int, warning: BudgetWarning) -> None:
    """Announce a threshold, once in its period; never raises."""
    await sending.announce(user_id, EVENT, *_news(warning))


def _news(warning: BudgetWarning) -> tuple[str, dict[str, Any]]:
    """Return what it is about and what is said."""
    renews_at = warning.renews_at.isoformat(timespec="seconds")
    data = {
        "budget": warning.budget,
        "percent": warning.percent,
        "left_usd": format_usd(warning.left_nano_usd),
        "renews_at": renews_at,
        "text": warning.text,
    }
    return f"{warning.budget} {warning.percent} {renews_at}", data
