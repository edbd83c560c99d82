"""The page about budgets: where one's own stand, asking for more, and granting it.

Everybody sees their own budgets and may ask. Administrators also see who asks, all
budgets, and what they hold; for everybody else those addresses are 404. Every change is
a plain form and stands in the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import mails
from accounts.requests import AuthenticatedHttpRequest
from channels_app.web.budget_forms import AskForm, BudgetForm, DollarField, GiveForm
from channels_app.web.money_amounts import write_amount
from channels_app.web.people import administrators_only
from ledger import budget_requests, budget_settings
from ledger.allowances import Standing, budgets_of_each, standings, standings_of
from ledger.budget_words import name_of, name_of_key
from ledger.models import Budget, BudgetRequest

ANSWERS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Own:
    """One budget of whoever looks, in its present period."""

    standing: Standing

    @property
    def name(self) -> str:
        """What it is called: ``Your budget for today``."""
        name = name_of(self.standing.budget, own=True)
        return name[0].upper() + name[1:]

    @property
    def left(self) -> int:
        """What may still be spent, in nano-dollars."""
        return max(0, self.standing.left)

    @property
    def percent_left(self) -> int:
        """The part that is left."""
        return round(100 * self.standing.fraction_left)


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


@never_cache
@login_required
@require_safe
def budgets_page(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's own budgets; to administrators also requests and all budgets."""
    return _page(request)


@never_cache
@login_required
@require_POST
def ask_for_more(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Ask the administrators for more in the present period."""
    user = request.user
    form = AskForm(standings_of(user), request.POST)
    if not form.is_valid():
        return _page(request, ask=form, status=400)
    given = form.cleaned_data
    try:
        asked = budget_requests.ask(
            user, given["amount"], given["reason"], budget=given["budget"]
        )
    except ValidationError as error:
        form.add_refusal(error)
        return _page(request, ask=form, status=409)
    mails.send_to_admins(
        f"{user.username} asks for more",
        "money/budget_mail.txt",
        {
            "person": user,
            "amount": write_amount(asked.amount_nano_usd),
            "budget": name_of_key(asked.budget),
            "reason": asked.reason,
        },
    )
    messages.success(request, "The administrators have your request.")
    return redirect("budgets")


@never_cache
@login_required
@require_POST
def withdraw(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Take one's open request back."""
    if budget_requests.withdraw(request.user):
        messages.success(request, "The request is withdrawn.")
    else:
        messages.error(request, "There is no open request any more.")
    return redirect("budgets")


@administrators_only
@require_POST
def grant(request: AuthenticatedHttpRequest, request_id: int) -> HttpResponse:
    """Grant what was asked for, or another amount; once, however often it is sent."""
    asked = get_object_or_404(BudgetRequest, pk=request_id)
    try:
        amount = DollarField(required=False).clean(request.POST.get("amount", ""))
        row = budget_requests.grant(asked, amount, request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        given = write_amount(row.granted_nano_usd)
        messages.success(request, f"“{row.user_name}” has {given} more.")
    return redirect("budgets")


@administrators_only
@require_POST
def decline(request: AuthenticatedHttpRequest, request_id: int) -> HttpResponse:
    """Decline a request."""
    asked = get_object_or_404(BudgetRequest, pk=request_id)
    if budget_requests.decline(asked, request.user):
        messages.success(request, "The request is declined.")
    else:
        messages.error(request, "The request was answered already.")
    return redirect("budgets")


@administrators_only
@require_POST
def give(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Give somebody more who has not asked."""
    form = GiveForm(_keys(), request.POST)
    if not form.is_valid():
        return _page(request, give=form, status=400)
    given = form.cleaned_data
    try:
        row = budget_requests.grant(
            given["user"],
            given["amount"],
            request.user,
            budget=given["budget"] or None,
            grant_id=given["grant_id"],
        )
    except ValidationError as error:
        form.add_refusal(error)
        return _page(request, give=form, status=409)
    amount = write_amount(row.granted_nano_usd)
    messages.success(request, f"“{row.user_name}” has {amount} more.")
    return redirect("budgets")


@administrators_only
@require_POST
def add_budget(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Set a new budget; the same one for the same period is changed."""
    form = BudgetForm(request.POST)
    if not form.is_valid():
        return _page(request, add=form, status=400)
    given = form.cleaned_data
    try:
        budget_settings.set_budget(
            given["scope"],
            given["period"],
            form.terms(),
            user=given["user"],
            actor=request.user,
        )
    except ValidationError as error:
        form.add_refusal(error)
        return _page(request, add=form, status=409)
    messages.success(request, "The budget is set.")
    return redirect("budgets")


@administrators_only
def edit_budget(request: AuthenticatedHttpRequest, budget_id: int) -> HttpResponse:
    """Change a budget's limit and how strict it is."""
    rows = Budget.objects.select_related("user")
    budget = get_object_or_404(rows, pk=budget_id)
    form = BudgetForm(request.POST or None, budget=budget)
    if request.method == "POST" and form.is_valid():
        try:
            budget_settings.set_budget(
                budget.scope,
                budget.period,
                form.terms(),
                user=budget.user,
                actor=request.user,
            )
        except ValidationError as error:
            form.add_refusal(error)
        else:
            messages.success(request, "The budget is changed.")
            return redirect("budgets")
    context = {"form": form, "line": Line(budget, None)}
    status = 400 if form.errors else 200
    return render(request, "money/budget_edit.html", context, status=status)


@administrators_only
@require_POST
def remove_budget(request: AuthenticatedHttpRequest, budget_id: int) -> HttpResponse:
    """Remove a budget."""
    budget = get_object_or_404(Budget, pk=budget_id)
    budget_settings.remove_budget(budget, actor=request.user)
    messages.success(request, "The budget is removed.")
    return redirect("budgets")


def _page(
    request: AuthenticatedHttpRequest,
    *,
    ask: AskForm | None = None,
    add: BudgetForm | None = None,
    give: GiveForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user = request.user
    standings = standings_of(user)
    decided = BudgetRequest.objects.filter(user=user).exclude(state="open")
    context: dict[str, Any] = {
        "own": [Own(each) for each in standings],
        "asked": budget_requests.open_request_of(user),
        "ask": ask or AskForm(standings),
        "answers": [
            (each, name_of_key(each.budget)) for each in decided[:ANSWERS_SHOWN]
        ],
    }
    if user.is_admin:
        rows = Budget.objects.select_related("user")
        context |= {
            "requests": _requests(),
            "lines": _lines(list(rows.order_by("scope", "period", "user"))),
            "add": add or BudgetForm(),
            "give": give or GiveForm(_keys()),
        }
    return render(request, "money/budgets.html", context, status=status)


def _requests() -> list[Asked]:
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


def _lines(budgets: list[Budget]) -> list[Line]:
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


def _keys() -> list[str]:
    """Return the keys of the budgets that there are."""
    return sorted({each.key for each in Budget.objects.only("scope", "period")})
