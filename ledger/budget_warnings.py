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
from ledger.allowances import Standing, standings_of
from ledger.budget_words import moment, name_of
from ledger.models import Budget, BudgetNotice
from ledger.money import format_usd
from ledger.types import BudgetWarning

THRESHOLDS = (50, 80, 100)
"""Percent of what a period allows."""
KEPT = timedelta(days=70)
"""Older notices are about periods that are over."""


def warnings_due(user: User) -> list[BudgetWarning]:
    """Return what the person has to be told now, and mark it as told.

    At most one for each budget: where a call passed several thresholds the highest is
    told. Budgets for background work are included. Call it when a call is settled.
    """
    due = []
    for standing in standings_of(user):
        reached = [each for each in THRESHOLDS if standing.percent_used >= each]
        if reached and _mark(user, standing, reached):
            due.append(_warning(standing, reached[-1]))
    return due


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
