"""Where a day and a month begin for a person: at midnight in their time zone."""

from __future__ import annotations

from datetime import datetime, tzinfo


def start_of(period: str, now: datetime, zone: tzinfo) -> datetime:
    """Return when the ``day`` or ``month`` that contains ``now`` began there."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(day=1) if period == "month" else midnight
