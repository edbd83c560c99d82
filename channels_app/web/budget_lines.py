"""Budgets and requests as the pages about money show them."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.allowances import budgets_of_each, standings
from ledger.budget_words import name_of_key
from ledger.models import Budget, BudgetRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as administrators see it."""

    request: BudgetRequest
    left: int | None
    """What is left of that budget, in nano-dollars; ``None`` = it is gone."""

    @property
    def name(self) -> str:
        """Which budget it is about."""
        return name_of_key(self.request.budget)


@dataclass(frozen=True, slots=True)
class Line:
    """A budget in the list of all."""

    budget: Budget
    left: int | None
    """In nano-dollars; ``None`` for a default, which each person uses up alone."""

    @property
    def whose(self) -> str:
        """The person, or who is meant where there is none."""
        if self.budget.user is not None:
            return self.budget.user.username
        is_shared = self.budget.scope == Budget.Scope.SHARED
        return "Everybody together" if is_shared else "Everybody without one"


def open_requests() -> list[Asked]:
    """Return who waits for an answer, and what is left for them."""
    waiting = list(BudgetRequest.objects.filter(state="open").select_related("user"))
    concerned = budgets_of_each([each.user_id for each in waiting])
    asked = [
        (budget, each.user, each.user_id)
        for each in waiting
        for budget in concerned[each.user_id]
        if budget.key == each.budget
    ]
    left = {
        (user_id, each.budget.key): each.left
        for each, (_, _, user_id) in zip(standings(asked), asked, strict=True)
    }
    return [
        Asked(each, _at_least_nothing(left.get((each.user_id, each.budget))))
        for each in waiting
    ]


def all_lines(budgets: list[Budget]) -> list[Line]:
    """Return budgets with what is left of those that are used up by one or by all."""
    used = [
        each
        for each in budgets
        if each.user is not None or each.scope == Budget.Scope.SHARED
    ]
    found = standings([(each, each.user, each.user_id) for each in used])
    left = {each.budget.pk: each.left for each in found}
    return [Line(each, _at_least_nothing(left.get(each.pk))) for each in budgets]


def _at_least_nothing(nano: int | None) -> int | None:
    return None if nano is None else max(0, nano)
