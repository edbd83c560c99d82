"""The forms of the page about budgets; amounts are typed in dollars."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms

from accounts.forms import RefusableForm
from accounts.models import User
from ledger.allowances import Standing
from ledger.budget_requests import MAX_REASON
from ledger.budget_settings import Terms
from ledger.budget_words import name_of, name_of_key
from ledger.models import Budget
from ledger.money import MAX_USD, format_usd, nano_usd

SMALLEST_USD = Decimal("0.000000001")


class DollarField(forms.DecimalField):
    """An amount of dollars, exact to the nano-dollar; gives nano-dollars."""

    def __init__(self, *, least: Decimal | int = SMALLEST_USD, **more: Any) -> None:
        super().__init__(
            min_value=Decimal(least),
            max_value=MAX_USD,
            decimal_places=9,
            error_messages={
                "min_value": "Enter an amount above 0."
                if least
                else "Enter 0 or an amount above it.",
                "max_value": f"Enter an amount of at most ${MAX_USD:,}.",
            },
            widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
            **more,
        )

    def clean(self, value: Any) -> Any:
        """Return the amount as nano-dollars; ``None`` where it may be left out."""
        amount = super().clean(value)
        return None if amount is None else nano_usd(amount)


class AskForm(RefusableForm):
    """How much more, of which budget, and why."""

    budget = forms.ChoiceField(label="Which budget")
    amount = DollarField(label="How much more (USD)")
    reason = forms.CharField(
        label="What for",
        required=False,
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Administrators read this.",
    )

    def __init__(self, standings: Iterable[Standing], data: Any = None) -> None:
        super().__init__(data, auto_id="ask_%s")
        tightest = sorted(standings, key=lambda each: each.fraction_left)
        choices = [
            (each.budget.key, _capital(name_of(each.budget, own=True)))
            for each in tightest
        ]
        budget: Any = self.fields["budget"]
        budget.choices = choices


class BudgetForm(RefusableForm):
    """Whose budget, for what, how long, how much, and how strict."""

    user = forms.ModelChoiceField(
        label="Whose",
        queryset=User.objects.none(),
        required=False,
        to_field_name="username",
        empty_label="Everybody without one of their own",
    )
    scope = forms.ChoiceField(label="For", choices=Budget.Scope.choices)
    period = forms.ChoiceField(label="Each", choices=Budget.Period.choices)
    limit = DollarField(label="Limit (USD)", least=0)
    hard = forms.BooleanField(
        label="Refuse what does not fit",
        required=False,
        initial=True,
        help_text="Otherwise warn, and choose cheap models.",
    )
    roll_over = forms.BooleanField(
        label="What is left moves on to the next period", required=False
    )
    counts_notional = forms.BooleanField(
        label="Also count what a subscription covers", required=False
    )

    def __init__(self, data: Any = None, *, budget: Budget | None = None) -> None:
        terms = None
        if budget is not None:
            terms = {
                "limit": format_usd(budget.limit_nano_usd),
                "hard": budget.hard,
                "roll_over": budget.roll_over,
                "counts_notional": budget.counts_notional,
            }
        super().__init__(data, auto_id="set_%s", initial=terms)
        if budget is not None:
            for name in ("user", "scope", "period"):
                del self.fields[name]
        else:
            people: Any = self.fields["user"]
            people.queryset = User.objects.order_by("username")

    def clean(self) -> dict[str, Any]:
        """Refuse a person where everybody is meant."""
        given = super().clean() or self.cleaned_data
        if given.get("scope") == Budget.Scope.SHARED and given.get("user"):
            self.add_error("user", "What all share belongs to nobody alone.")
        return given

    def terms(self) -> Terms:
        """Return what was typed."""
        given = self.cleaned_data
        return Terms(
            given["limit"], given["hard"], given["roll_over"], given["counts_notional"]
        )


class GiveForm(RefusableForm):
    """Give somebody more who has not asked; a repeat of the form gives it once."""

    user = forms.ModelChoiceField(
        label="To whom",
        queryset=User.objects.none(),
        to_field_name="username",
        empty_label=None,
    )
    budget = forms.ChoiceField(label="Budget", required=False)
    amount = DollarField(label="How much more (USD)")
    grant_id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, keys: Iterable[str], data: Any = None) -> None:
        super().__init__(data, auto_id="give_%s", initial={"grant_id": uuid.uuid4()})
        people: Any = self.fields["user"]
        people.queryset = User.objects.filter(is_active=True).order_by("username")
        named = [(key, _capital(name_of_key(key))) for key in keys]
        budget: Any = self.fields["budget"]
        budget.choices = [("", "The one that is used up furthest"), *named]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
