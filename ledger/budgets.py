"""What a person may still spend: their own budget, else the default one.

Counted are the costs booked in the period and the amounts reserved by open attempts.
Calls paid by a subscription (``notional``) count only where the budget says so, local
ones never. A call without a price is not counted, because its cost is unknown, and is
therefore not stopped by a budget either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from ledger.errors import BudgetExceeded
from ledger.models import Budget, LedgerEntry
from ledger.money import format_usd
from ledger.open_attempts import open_reserves
from ledger.periods import start_of


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """What is left of the budget that is used up furthest."""

    fraction: float
    """From 0 to 1, of what the period allows."""
    left_nano_usd: int
    """The least that is left of any budget."""


OPEN_WINDOW = timedelta(days=1)
"""Open reservations older than this are left behind by a dead process."""


def budgets_of(user_id: int | None) -> list[Budget]:
    """Return at most one budget per period: the person's own, else the default."""
    mine = Q(user_id=user_id) if user_id is not None else Q()
    found: dict[str, Budget] = {}
    for budget in Budget.objects.filter(mine | Q(user=None)):
        if budget.user_id == user_id or budget.period not in found:
            found[budget.period] = budget
    return list(found.values())


def _any_budget() -> bool:
    """Say whether there is a budget at all; cheap, for it stands before every call."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM ledger_budget LIMIT 1")
        return cursor.fetchone() is not None


def _counted(budget: Budget) -> list[str]:
    billing = LedgerEntry.Billing
    if budget.counts_notional:
        return [billing.METERED, billing.NOTIONAL]
    return [billing.METERED]


def spent_nano_usd(budget: Budget, user_id: int, since: datetime) -> int:
    """Return what is booked since then plus what open attempts have reserved."""
    rows = LedgerEntry.objects.filter(user_id=user_id, billing__in=_counted(budget))
    booked = rows.filter(created_at__gte=since).aggregate(sum=Sum("cost_nano_usd"))
    pending = open_reserves().filter(
        user_id=user_id,
        billing__in=_counted(budget),
        created_at__gte=timezone.now() - OPEN_WINDOW,
    )
    reserved = pending.aggregate(sum=Sum("reserved_nano_usd"))
    return (booked["sum"] or 0) + (reserved["sum"] or 0)


def _left(user_id: int, budgets: Iterable[Budget]) -> Iterable[tuple[Budget, int]]:
    """Yield each budget with what is left of it, in nano-dollars."""
    zone = None
    for budget in budgets:
        zone = zone or zone_of(User.objects.filter(pk=user_id).first())
        since = start_of(budget.period, timezone.now(), zone)
        yield budget, budget.limit_nano_usd - spent_nano_usd(budget, user_id, since)


def left_nano_usd(user: User) -> int | None:
    """Return what the person may still spend on metered calls; ``None`` = no limit.

    A hint for the choice of a model; only ``entries.reserve`` decides.
    """
    left = [amount for _, amount in _left(user.pk, budgets_of(user.pk))]
    return max(0, min(left)) if left else None


def left_for(user: User) -> BudgetLeft | None:
    """Return what is left for the person's calls; ``None`` = no limit.

    One cheap question to the database where nobody has a budget. A hint for the
    router; only ``entries.reserve`` decides.
    """
    if not _any_budget():
        return None
    found = list(_left(user.pk, budgets_of(user.pk)))
    if not found:
        return None
    fractions = [
        left / budget.limit_nano_usd if budget.limit_nano_usd else 0.0
        for budget, left in found
    ]
    least = min(left for _, left in found)
    return BudgetLeft(max(0.0, min(fractions)), max(0, least))


def check(user_id: int | None, billing: str, reserved_nano_usd: int | None) -> None:
    """Raise ``BudgetExceeded`` when the call does not fit into a budget.

    Call it inside the transaction that reserves, after ``chain.lock``.
    """
    if user_id is None or not reserved_nano_usd:
        return
    if not _any_budget():
        return
    concerned = [each for each in budgets_of(user_id) if billing in _counted(each)]
    for budget, left in _left(user_id, concerned):
        if reserved_nano_usd > left:
            period = "Today's" if budget.period == "day" else "This month's"
            raise BudgetExceeded(
                f"{period} budget of {format_usd(budget.limit_nano_usd)} USD does not "
                f"cover this call: {format_usd(max(0, left))} USD are left and it may "
                f"cost up to {format_usd(reserved_nano_usd)} USD."
            )
