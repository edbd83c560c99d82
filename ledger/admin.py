"""The ledger in the admin: rows to look at, budgets to set. No texts of people."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError

from accounts.admin import ReadOnlyAdmin
from ledger.models import Budget, LedgerEntry
from ledger.money import format_usd, nano_usd


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
        if entry.kind == LedgerEntry.Kind.RESERVE:
            return "–"
        return format_usd(entry.cost_nano_usd) or "unknown"


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]
    """A budget with its limit in dollars."""

    limit_usd = forms.DecimalField(
        label="Limit (USD)", min_value=0, max_value=1_000_000, decimal_places=9
    )

    class Meta:
        model = Budget
        fields = ["user", "period", "counts_notional"]
        help_texts = {"user": "Empty = everybody without a budget of their own."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.limit_nano_usd is not None:
            self.initial["limit_usd"] = format_usd(self.instance.limit_nano_usd)

    def clean(self) -> None:
        """Carry the limit over and refuse a second budget for the same period."""
        super().clean()
        limit = self.cleaned_data.get("limit_usd")
        if limit is not None:
            self.instance.limit_nano_usd = nano_usd(limit)
        same = Budget.objects.filter(
            user=self.cleaned_data.get("user"), period=self.cleaned_data.get("period")
        )
        if same.exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is already a budget for this period.")


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What people may spend."""

    form = BudgetForm
    fields = ["user", "period", "limit_usd", "counts_notional"]
    list_display = ["whose", "period", "limit", "counts_notional"]
    list_select_related = ["user"]

    @admin.display(description="person", ordering="user__username")
    def whose(self, budget: Budget) -> str:
        """Name the person, or say that this is the default."""
        return budget.user.username if budget.user else "everybody"

    @admin.display(description="limit (USD)", ordering="limit_nano_usd")
    def limit(self, budget: Budget) -> str | None:
        """Return the limit in dollars."""
        return format_usd(budget.limit_nano_usd)
