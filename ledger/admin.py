"""The ledger in the admin: rows to look at, budgets to set. No texts of people."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin
from accounts.models import User
from ledger.budget_settings import remove_budget, save_budget
from ledger.models import Budget, LedgerEntry
from ledger.money import MAX_USD, format_usd, nano_usd


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    """Rows of the ledger, read-only for everybody."""

    list_display = [
        "id",
        "created_at",
        "kind",
        "user_name",
        "persona_name",
        "model_id",
        "outcome",
        "input_tokens",
        "output_tokens",
        "cost",
    ]
    list_filter = ["kind", "outcome", "billing", "role", "channel"]
    search_fields = ["user_name", "model_id", "attempt_id"]
    ordering = ["-id"]
    show_full_result_count = False
    actions = None

    @admin.display(description="cost (USD)", ordering="cost_nano_usd")
    def cost(self, entry: LedgerEntry) -> str:
        """Return the cost in dollars; unknown is never shown as zero."""
        if entry.kind in (LedgerEntry.Kind.RESERVE, LedgerEntry.Kind.GRANT):
            return "–"
        return format_usd(entry.cost_nano_usd) or "unknown"


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]
    """A budget with its limit in dollars."""

    limit_usd = forms.DecimalField(
        label="Limit (USD)", min_value=0, max_value=MAX_USD, decimal_places=9
    )

    class Meta:
        model = Budget
        fields = ["user", "scope", "period", "hard", "roll_over", "counts_notional"]
        help_texts = {"user": "Empty = everybody without a budget of their own."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.limit_nano_usd is not None:
            self.initial["limit_usd"] = format_usd(self.instance.limit_nano_usd)

    def clean(self) -> None:
        """Carry the limit over and refuse a second budget for the same period."""
        super().clean()
        given = self.cleaned_data
        limit = given.get("limit_usd")
        if limit is not None:
            self.instance.limit_nano_usd = nano_usd(limit)
        if given.get("scope") == Budget.Scope.SHARED and given.get("user"):
            raise ValidationError("A shared budget belongs to nobody alone.")
        same = Budget.objects.filter(
            **{name: given.get(name) for name in ("user", "scope", "period")}
        )
        if same.exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is already a budget for this period.")


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What people may spend; changes go into the audit log."""

    form = BudgetForm
    fields = [
        "user",
        "scope",
        "period",
        "limit_usd",
        "hard",
        "roll_over",
        "counts_notional",
    ]
    list_display = ["whose", "scope", "period", "limit", "hard", "roll_over"]
    list_select_related = ["user"]

    def save_model(
        self, request: HttpRequest, obj: Budget, form: Any, change: bool
    ) -> None:
        """Save it as the page about budgets does."""
        save_budget(obj, actor=cast("User", request.user))

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        """Remove it as the page about budgets does."""
        remove_budget(obj, actor=cast("User", request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        """Remove several, each with its event."""
        for budget in queryset:
            self.delete_model(request, budget)

    @admin.display(description="person", ordering="user__username")
    def whose(self, budget: Budget) -> str:
        """Name the person, or say that this is the default or everybody's together."""
        if budget.user is not None:
            return budget.user.username
        is_shared = budget.scope == Budget.Scope.SHARED
        return "everybody together" if is_shared else "everybody"

    @admin.display(description="limit (USD)", ordering="limit_nano_usd")
    def limit(self, budget: Budget) -> str | None:
        """Return the limit in dollars."""
        return format_usd(budget.limit_nano_usd)
