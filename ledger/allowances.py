"""How far each budget is used up in its present period.

A person's budgets are their own, else the default ones, for each scope and period; the
shared ones concern everybody. Counted are the costs booked in the period and the
amounts reserved by open attempts. A call whose cost stays unknown counts with what was
reserved for it. Calls paid by a subscription (``notional``) count only where the budget
says so, local ones never. Grants and what rolls over add to the limit.

Nothing here decides: ``budgets.check`` does, under the chain's lock.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from ledger.models import Budget, LedgerEntry
from ledger.money import nano_usd
from ledger.periods import previous_start
from ledger.person_periods import Kept, Span, kept_for, span_of
from ledger.tally import TALLY, Selection, Used, Wanted

MAX_PERIODS_BACK = 24
"""How far back it is worked out what has rolled over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One budget in its present period; amounts in nano-dollars."""

    budget: Budget
    user_id: int | None
    """The person whose calls count; ``None`` for a shared budget."""
    span: Span
    """The present period, in the zone that it follows."""
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
    def start(self) -> datetime:
        """When the period began."""
        return self.span.start

    @property
    def renews_at(self) -> datetime:
        """When the next period begins."""
        return self.span.end


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
    return budgets_of_each([user_id], background=background)[user_id]


def budgets_of_each(
    user_ids: Iterable[int | None], *, background: bool = True
) -> dict[int | None, list[Budget]]:
    """Return for each person what ``budgets_of`` does, with one query for all."""
    wanted = set(user_ids)
    mine = Q(user=None) | Q(user_id__in=[each for each in wanted if each is not None])
    rows = list(Budget.objects.filter(mine).order_by("period", "scope"))
    return {each: _concerned(rows, each, background) for each in wanted}


def _concerned(
    rows: Iterable[Budget], user_id: int | None, background: bool
) -> list[Budget]:
    found: dict[str, Budget] = {}
    for budget in rows:
        if budget.user_id is None:
            found.setdefault(budget.key, budget)
        elif budget.user_id == user_id:
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
    return standings([(budget, user, user_id) for budget in concerned])


def standings(
    asked: Sequence[tuple[Budget, User | None, int | None]],
) -> list[Standing]:
    """Return where budgets stand, each for a person, with few queries for all.

    The person's id is given apart because a call may be of somebody who is gone.
    """
    if not asked:
        return []
    people = [user.pk for _, user, _ in asked if user is not None]
    kept = kept_for(people) if people else {}
    cases = [_case(budget, user, user_id, kept) for budget, user, user_id in asked]
    used = TALLY.used([Wanted(each.selection, each.bounds) for each in cases])
    granted = _granted(cases)
    return [
        _standing(case, sums, extra)
        for case, sums, extra in zip(cases, used, granted, strict=True)
    ]


class _Case(NamedTuple):
    """A budget, whose calls count, and the periods that matter."""

    budget: Budget
    user_id: int | None
    span: Span
    bounds: tuple[datetime, ...]
    """Where each period began, the oldest first."""

    @property
    def selection(self) -> Selection:
        """Which calls count."""
        return _selection(self.budget, self.user_id)


def _case(budget: Budget, user: User | None, user_id: int | None, kept: Kept) -> _Case:
    if budget.scope == Budget.Scope.SHARED or user is None:
        whose = None if budget.scope == Budget.Scope.SHARED else user_id
        span = span_of(budget.period, timezone.get_default_timezone())
        # There is nobody whose period could be kept.
        span = span._replace(is_kept=True)
        return _Case(budget, whose, span, _bounds(budget, budget.terms_since, span))
    span = span_of(budget.period, zone_of(user), kept.get((user.pk, budget.period)))
    since = max(budget.terms_since, user.date_joined)
    return _Case(budget, user.pk, span, _bounds(budget, since, span))


def _bounds(budget: Budget, since: datetime, span: Span) -> tuple[datetime, ...]:
    """Return where the periods began out of which something may have rolled over."""
    bounds = [span.start]
    if budget.roll_over:
        while bounds[0] > since and len(bounds) <= MAX_PERIODS_BACK:
            bounds.insert(0, previous_start(budget.period, bounds[0]))
    return tuple(bounds)


def _standing(case: _Case, used: Used, granted: Sequence[int]) -> Standing:
    limit, carried = case.budget.limit_nano_usd, 0
    for spent, given in zip(used.earlier, granted, strict=False):
        carried = min(limit, max(0, limit + carried + given - spent))
    return Standing(
        budget=case.budget,
        user_id=case.user_id,
        span=case.span,
        granted=granted[-1],
        carried=carried,
        booked=used.booked,
        reserved=used.reserved,
    )


def _selection(budget: Budget, user_id: int | None) -> Selection:
    """Return which calls count towards the budget."""
    return Selection(
        user_id=user_id,
        everybody=budget.scope == Budget.Scope.SHARED,
        background=budget.scope == Budget.Scope.BACKGROUND,
        notional=budget.counts_notional,
    )


def _granted(cases: Sequence[_Case]) -> list[list[int]]:
    """Return what was granted in each period of each budget.

    To everybody together where a budget is shared.
    """
    rows = LedgerEntry.objects.filter(
        kind=LedgerEntry.Kind.GRANT,
        created_at__gte=min(case.bounds[0] for case in cases),
    )
    found: dict[tuple[str, int | None], list[tuple[datetime, int]]] = {}
    columns = ("budget", "user_id", "created_at", "granted_nano_usd")
    for key, user_id, moment, amount in rows.order_by().values_list(*columns):
        whose = None if str(key).startswith(Budget.Scope.SHARED) else user_id
        found.setdefault((str(key), whose), []).append((moment, amount or 0))
    granted = []
    for case in cases:
        sums = [0] * len(case.bounds)
        for moment, amount in found.get((case.budget.key, case.user_id), ()):
            at = bisect.bisect_right(case.bounds, moment) - 1
            if at >= 0:
                sums[at] += amount
        granted.append(sums)
    return granted
