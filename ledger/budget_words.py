"""How budgets and moments are called in sentences for people."""

from __future__ import annotations

from datetime import datetime

from ledger.models import Budget

_PERIODS = {"day": "today", "week": "this week", "month": "this month"}
_OWN = {
    Budget.Scope.PERSON: "your budget for {}",
    Budget.Scope.SHARED: "everybody's shared budget for {}",
    Budget.Scope.BACKGROUND: "your budget for background work {}",
}
_THEIRS = {
    Budget.Scope.PERSON: "the budget for {}",
    Budget.Scope.SHARED: "everybody's shared budget for {}",
    Budget.Scope.BACKGROUND: "the budget for background work {}",
}


def name_of(budget: Budget, *, own: bool = False) -> str:
    """Name a budget in its present period: ``your budget for today``."""
    return name_of_key(budget.key, own=own)


def name_of_key(key: str, *, own: bool = False) -> str:
    """Name the budget that a row names by its key."""
    scope, _, period = key.partition(":")
    words = _OWN if own else _THEIRS
    return words[Budget.Scope(scope)].format(_PERIODS[period])


def moment(when: datetime) -> str:
    """Write when a period begins: ``1 March 2026 at 00:00 (Europe/Berlin)``."""
    return f"{when.day} {when:%B %Y} at {when:%H:%M} ({when.tzinfo})"
