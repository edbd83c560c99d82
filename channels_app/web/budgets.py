"""The page about budgets: where one's own stand, asking for more, and granting it.

Everybody sees their own budgets and may ask. Administrators also see who asks, all
budgets, and what they hold; for everybody else those addresses are 404. Every change is
a plain form and stands in the audit log.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import mails
from accounts.requests import AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app.money_amounts import Own
from channels_app.web.budget_forms import AskForm, BudgetForm, DollarField, GiveForm
from channels_app.web.budget_lines import Line, all_lines, open_requests
from channels_app.web.people import administrators_only
from ledger import budget_requests, budget_settings
from ledger.allowances import standings_of
from ledger.budget_words import name_of_key
from ledger.models import Budget, BudgetRequest
from ledger.money import write_amount

ANSWERS_SHOWN = 5
MAIL_PAUSE = timedelta(hours=1)
"""Whoever asks again sooner is seen at the badge, but causes no further mail."""


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
    if cache.add(f"budget-mail-{user.pk}", True, MAIL_PAUSE.total_seconds()):
        _mail(asked)
    messages.success(request, "The administrators have your request.")
    return redirect("budgets")


def _mail(asked: BudgetRequest) -> None:
    user = asked.user
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
@require_http_methods(["GET", "HEAD", "POST"])
def edit_budget(request: AuthenticatedHttpRequest, budget_id: int) -> HttpResponse:
    """Change a budget's limit and how strict it is."""
    rows = Budget.objects.select_related("user")
    budget = get_object_or_404(rows, pk=budget_id)
    form = BudgetForm(request.POST or None, budget=budget)
    if request.method == "POST" and form.is_valid():
        try:
            budget_settings.change_budget(budget_id, form.terms(), actor=request.user)
        except Budget.DoesNotExist:
            raise Http404("The budget was removed meanwhile.") from None
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
        "zone": zone_of(user),
        "asked": budget_requests.open_request_of(user),
        "ask": ask or AskForm(standings),
        "answers": [
            (each, name_of_key(each.budget)) for each in decided[:ANSWERS_SHOWN]
        ],
    }
    if user.is_admin:
        rows = Budget.objects.select_related("user")
        context |= {
            "requests": open_requests(),
            "lines": all_lines(list(rows.order_by("scope", "period", "user"))),
            "add": add or BudgetForm(),
            "give": give or GiveForm(_keys()),
        }
    return render(request, "money/budgets.html", context, status=status)


def _keys() -> list[str]:
    """Return the keys of the budgets that there are."""
    return sorted({each.key for each in Budget.objects.only("scope", "period")})
