"""How far each budget is used up in its present period.

A person's budgets are their own, else the default ones, for each scope and period; the
shared ones concern everybody. Counted are the costs booked in the period and the
amounts reserved by open attempts. A call whose cost stays unknown counts with what was
reserved for it. Calls paid by a subscription (``notional``) count only where the budget
says so, local ones never. Grants and what rolls over add to the limit.

Nothing here decides: ``budgets.check`` does, under the chain's lock.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from ledger.models import Budget, LedgerEntry
from ledger.money import nano_usd
from ledger.periods import next_start, previous_start, start_of
from ledger.tally import TALLY, Selection, booked_nano_usd

MAX_PERIODS_BACK = 24
"""How far back it is worked out what has rolled over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One budget in its present period; amounts in nano-dollars."""

    budget: Budget
    user_id: int | None
    """The person whose calls count; ``None`` for a shared budget."""
    start: datetime
    """When the period began, in the zone that it follows."""
    granted: int
    """Grants of this period."""
    carried: int
    """What rolled over from the period before."""
    booked: int
    """What calls cost that ended in this period."""
    reserved: int
    """What open attempts may cost at most."""

    @property
    def allowed(self) -> int:
        """What may be spent in this period altogether."""
        return self.budget.limit_nano_usd + self.carried + self.granted

    def counts(self, billing: str) -> bool:
        """Say whether calls that are paid in this way count."""
        return billing in _selection(self.budget, self.user_id).billings

    @property
    def spent(self) -> int:
        """What counts as used up: booked and reserved."""
        return self.booked + self.reserved

    @property
    def left(self) -> int:
        """What may still be spent; negative when more was used than allowed."""
        return self.allowed - self.spent

    @property
    def fraction_left(self) -> float:
        """The part that is left, from 0 to 1."""
        return min(1.0, max(0.0, self.left / self.allowed)) if self.allowed else 0.0

    @property
    def percent_used(self) -> int:
        """How much is booked, in whole percent; may be more than 100."""
        return 100 * self.booked // self.allowed if self.allowed else 100

    @property
    def renews_at(self) -> datetime:
        """When the next period begins."""
        return next_start(self.budget.period, self.start)


def any_budget() -> bool:
    """Say whether there is a budget at all; cheap, for it stands before every call."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM ledger_budget LIMIT 1")
        return cursor.fetchone() is not None


def has_background_cap() -> bool:
    """Say whether the settings cap background work."""
    return settings.CORTEX_BACKGROUND_DAILY_USD is not None


def budgets_of(user_id: int | None, *, background: bool = True) -> list[Budget]:
    """Return the budgets that concern a person, at most one a scope and period.

    The person's own goes before the default. ``None`` stands for the installation,
    which only shared and background budgets concern. The setting
    ``CORTEX_BACKGROUND_DAILY_USD`` is a daily background budget where there is none.
    """
    mine = Q(user=None) if user_id is None else Q(user=None) | Q(user_id=user_id)
    found: dict[str, Budget] = {}
    for budget in Budget.objects.filter(mine).order_by("period", "scope"):
        if budget.user_id is not None or budget.key not in found:
            found[budget.key] = budget
    cap = settings.CORTEX_BACKGROUND_DAILY_USD
    if cap is not None:
        usual = Budget(scope="background", period="day", limit_nano_usd=nano_usd(cap))
        found.setdefault(usual.key, usual)
    return [each for each in found.values() if _concerns(each, user_id, background)]


def _concerns(budget: Budget, user_id: int | None, background: bool) -> bool:
    if budget.scope == Budget.Scope.BACKGROUND:
        return background
    return user_id is not None or budget.scope == Budget.Scope.SHARED


def standings_of(
    user: User | None, *, user_id: int | None = None, background: bool = True
) -> list[Standing]:
    """Return where each budget of the person stands; empty = no limit.

    Give ``user_id`` alone to have the person fetched only when they have a budget.
    """
    if not any_budget() and not (background and has_background_cap()):
        return []
    if user is not None:
        user_id = user.pk
    concerned = budgets_of(user_id, background=background)
    if not concerned:
        return []
    if user is None and user_id is not None:
        user = User.objects.filter(pk=user_id).first()
    return [standing(budget, user_id, zone_for(budget, user)) for budget in concerned]


def zone_for(budget: Budget, user: User | None) -> tzinfo:
    """Return the zone whose midnights bound the budget's periods."""
    if budget.scope == Budget.Scope.SHARED or user is None:
        return timezone.get_default_timezone()
    return zone_of(user)


def standing(budget: Budget, user_id: int | None, zone: tzinfo) -> Standing:
    """Return where one budget of one person stands now."""
    whose = None if budget.scope == Budget.Scope.SHARED else user_id
    start = start_of(budget.period, timezone.now(), zone)
    booked, reserved = TALLY.used(_selection(budget, whose), start)
    return Standing(
        budget=budget,
        user_id=whose,
        start=start,
        granted=_granted(budget, whose, start, None),
        carried=_carried(budget, whose, start),
        booked=booked,
        reserved=reserved,
    )


def _selection(budget: Budget, user_id: int | None) -> Selection:
    """Return which calls count towards the budget."""
    return Selection(
        user_id=user_id,
        everybody=budget.scope == Budget.Scope.SHARED,
        background=budget.scope == Budget.Scope.BACKGROUND,
        notional=budget.counts_notional,
    )


def _granted(
    budget: Budget, user_id: int | None, start: datetime, end: datetime | None
) -> int:
    """Return what was granted in this time; to everybody together where shared."""
    rows = LedgerEntry.objects.filter(
        kind=LedgerEntry.Kind.GRANT, budget=budget.key, created_at__gte=start
    ).order_by()
    if budget.scope != Budget.Scope.SHARED:
        rows = rows.filter(user_id=user_id)
    if end is not None:
        rows = rows.filter(created_at__lt=end)
    return int(rows.aggregate(sum=Sum("granted_nano_usd", default=0))["sum"])


def _carried(budget: Budget, user_id: int | None, start: datetime) -> int:
    """Return what rolled over into the period that began at ``start``."""
    if not budget.roll_over:
        return 0
    terms = _Terms(
        budget.scope,
        budget.period,
        budget.limit_nano_usd,
        budget.counts_notional,
        budget.created_at,
    )
    carried = 0
    for begin, end in reversed(list(_periods_before(budget, start))):
        carried = _rolled_over(terms, user_id, begin, end, carried)
    return carried


def _periods_before(
    budget: Budget, start: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield begin and end of earlier periods that the budget saw, latest first."""
    for _ in range(MAX_PERIODS_BACK):
        if start <= budget.created_at:
            return
        begin = previous_start(budget.period, start)
        yield begin, start
        start = begin


class _Terms(NamedTuple):
    """What of a budget decides how much rolls over."""

    scope: str
    period: str
    limit_nano_usd: int
    counts_notional: bool
    created_at: datetime


@functools.lru_cache(maxsize=4096)
def _rolled_over(
    terms: _Terms,
    user_id: int | None,
    begin: datetime,
    end: datetime,
    carried: int,
) -> int:
    """Return what a period that is over hands on; kept, because it cannot change.

    An import of old rows can change it; it is worked out anew when a process starts.
    """
    budget = Budget(**terms._asdict())
    granted = _granted(budget, user_id, begin, end)
    left = budget.limit_nano_usd + carried + granted
    left -= booked_nano_usd(_selection(budget, user_id), begin, before=end)
    return min(budget.limit_nano_usd, max(0, left))
