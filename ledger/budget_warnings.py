"""Say once that half, four fifths and all of a budget is used up.

What was said stands in ``BudgetNotice``, one row for each person, budget, period and
threshold; the row is what makes it once, also where several calls end together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from ledger.allowances import (
    Standing,
    any_budget,
    budgets_of_each,
    has_background_cap,
    standings,
    standings_of,
)
from ledger.budget_words import moment, name_of
from ledger.models import Budget, BudgetNotice
from ledger.money import format_usd
from ledger.types import BudgetWarning

THRESHOLDS = (50, 80, 100)
"""Percent of what a period allows."""
KEPT = timedelta(days=70)
"""Older notices are about periods that are over."""


def warnings_due(user: User, *, least: int = THRESHOLDS[0]) -> list[BudgetWarning]:
    """Return what the person has to be told now, and mark it as told.

    At most one for each budget: where a call passed several thresholds the highest is
    told. Budgets for background work are included. Call it when a call is settled.
    Thresholds below ``least`` percent are left for later.
    """
    due = []
    for standing in standings_of(user):
        reached = _reached(standing)
        if reached and reached[-1] >= least and _mark(user, standing, reached):
            due.append(_warning(standing, reached[-1]))
    return due


def untold() -> dict[int, int]:
    """Return how many percent somebody has used of a budget without being told of it.

    Person → the highest threshold. Budgets of which nothing was used are left out:
    that nothing is allowed is no news. A few queries for everybody.
    """
    if not any_budget() and not has_background_cap():
        return {}
    people = User.objects.filter(is_active=True).in_bulk()
    asked: list[tuple[Budget, User | None, int | None]] = [
        (budget, people[user_id], user_id)
        for user_id, budgets in budgets_of_each(people).items()
        if user_id is not None
        for budget in budgets
    ]
    told = set(
        BudgetNotice.objects.values_list("user_id", "budget", "period_start", "percent")
    )
    found: dict[int, int] = {}
    for (budget, _, user_id), standing in zip(asked, standings(asked), strict=True):
        reached = _reached(standing) if standing.booked else []
        if user_id is None or not reached:
            continue
        if (user_id, budget.key, standing.start, reached[-1]) not in told:
            found[user_id] = max(reached[-1], found.get(user_id, 0))
    return found


def _reached(standing: Standing) -> list[int]:
    return [each for each in THRESHOLDS if standing.percent_used >= each]


def _mark(user: User, standing: Standing, reached: list[int]) -> bool:
    """Keep that the person was told; ``False`` when they were told before."""
    period: dict[str, Any] = {
        "user_id": user.pk,
        "budget": standing.budget.key,
        "period_start": standing.start,
    }
    told = set(BudgetNotice.objects.filter(**period).values_list("percent", flat=True))
    if reached[-1] in told:
        return False
    with transaction.atomic():
        for percent in reached[:-1]:
            if percent not in told:
                BudgetNotice.objects.get_or_create(**period, percent=percent)
        _, is_new = BudgetNotice.objects.get_or_create(**period, percent=reached[-1])
        BudgetNotice.objects.filter(period_start__lt=timezone.now() - KEPT).delete()
    return is_new


def _warning(standing: Standing, percent: int) -> BudgetWarning:
    budget, left = standing.budget, max(0, standing.left)
    name = name_of(budget, own=True)
    if percent == 100:
        state = f"{name[0].upper()}{name[1:]} is used up. {_still_works(budget)}"
    else:
        state = (
            f"{percent} % of {name} is used: {format_usd(left)} of "
            f"{format_usd(standing.allowed)} USD are left."
        )
    text = f"{state} It starts anew on {moment(standing.renews_at)}."
    return BudgetWarning(budget.key, percent, left, standing.renews_at, text)


def _still_works(budget: Budget) -> str:
    if not budget.hard:
        return "Answers go on coming from cheap models."
    if budget.scope == Budget.Scope.BACKGROUND:
        return "Your chats go on; work in the background waits."
    return "What costs nothing goes on answering."
