"""Tells a person's addresses that a threshold of a budget was reached."""

from __future__ import annotations

from channels_app.webhooks import sending
from ledger.budgets import BudgetWarning
from ledger.money import format_usd


async def announce(user_id: int, warning: BudgetWarning) -> None:
    """Announce a threshold, once in its period; never raises."""
    renews_at = warning.renews_at.isoformat(timespec="seconds")
    await sending.announce(
        user_id,
        "budget.warning",
        f"{warning.budget} {warning.percent} {renews_at}",
        {
            "budget": warning.budget,
            "percent": warning.percent,
            "left_usd": format_usd(warning.left_nano_usd),
            "renews_at": renews_at,
            "text": warning.text,
        },
    )
