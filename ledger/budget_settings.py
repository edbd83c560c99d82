"""Set and remove budgets; every change is in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from ledger.models import Budget
from ledger.money import MAX_USD, NANO_PER_USD, format_usd


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget says, besides whose it is, for what, and for which period."""

    limit_nano_usd: int
    hard: bool = True
    roll_over: bool = False
    counts_notional: bool = False


def find_budget(scope: str, period: str, user: User | None = None) -> Budget | None:
    """Return this very budget; without a person the default, or the shared one."""
    return Budget.objects.filter(scope=scope, period=period, user=user).first()


def set_budget(
    scope: str,
    period: str,
    terms: Terms,
    *,
    user: User | None = None,
    actor: User | None = None,
) -> Budget:
    """Make a budget, or change the one that is there.

    Raises ``ValidationError`` with one sentence for a limit or a person that cannot be.
    """
    if scope == Budget.Scope.SHARED and user is not None:
        raise ValidationError("A shared budget belongs to nobody alone.")
    with transaction.atomic():
        budget = find_budget(scope, period, user) or Budget(
            scope=scope, period=period, user=user
        )
        _save_with(budget, terms, actor)
    return budget


def change_budget(budget_id: int, terms: Terms, *, actor: User | None = None) -> Budget:
    """Change a budget that is there.

    Raises:
        Budget.DoesNotExist: It was removed; it is not made anew.
        ValidationError: The limit cannot be.
    """
    with transaction.atomic():
        rows = Budget.objects.select_related("user").select_for_update(of=("self",))
        budget = rows.get(pk=budget_id)
        _save_with(budget, terms, actor)
    return budget


def _save_with(budget: Budget, terms: Terms, actor: User | None) -> None:
    if not 0 <= terms.limit_nano_usd <= MAX_USD * NANO_PER_USD:
        raise ValidationError("The limit must be from 0 to a million dollars.")
    budget.limit_nano_usd = terms.limit_nano_usd
    budget.hard = terms.hard
    budget.roll_over = terms.roll_over
    budget.counts_notional = terms.counts_notional
    save_budget(budget, actor=actor)


def save_budget(budget: Budget, *, actor: User | None = None) -> None:
    """Save a new or changed budget; what rolls over counts from a change of terms on.

    Raises ``ValidationError`` where somebody else made the same one in between.
    """
    try:
        with transaction.atomic():
            if not Budget.objects.filter(**_decisive(budget)).exists():
                budget.terms_since = timezone.now()
            budget.save()
            _record("budget.set", budget, actor)
    except IntegrityError:
        raise ValidationError("There is such a budget already.") from None


def _decisive(budget: Budget) -> dict[str, Any]:
    """Return what decides how much rolls over; how strict a budget is does not."""
    return {
        "pk": budget.pk,
        "user": budget.user,
        "scope": budget.scope,
        "period": budget.period,
        "limit_nano_usd": budget.limit_nano_usd,
        "roll_over": budget.roll_over,
        "counts_notional": budget.counts_notional,
    }


def remove_budget(budget: Budget, *, actor: User | None = None) -> None:
    """Remove a budget; what it counted stays in the ledger."""
    with transaction.atomic():
        _record("budget.removed", budget, actor)
        budget.delete()


def _record(event: str, budget: Budget, actor: User | None) -> None:
    audit.record(
        event,
        actor=actor,
        subject=budget.user.username if budget.user else "",
        budget=budget.key,
        limit_usd=format_usd(budget.limit_nano_usd),
        hard=budget.hard,
        roll_over=budget.roll_over,
        counts_notional=budget.counts_notional,
    )
