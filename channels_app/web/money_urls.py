"""The addresses of the pages about money."""

from __future__ import annotations

from django.urls import path

from channels_app.web import budgets, money, money_downloads

urlpatterns = [
    path("", money.money, name="money"),
    path("ledger.csv", money_downloads.own_rows, {"form": "csv"}, name="money_own_csv"),
    path(
        "ledger.jsonl",
        money_downloads.own_rows,
        {"form": "jsonl"},
        name="money_own_jsonl",
    ),
    path("everybody/", money.everybody, name="money_everybody"),
    path(
        "everybody/ledger.csv",
        money_downloads.all_rows,
        {"form": "csv"},
        name="money_all_csv",
    ),
    path(
        "everybody/ledger.jsonl",
        money_downloads.all_rows,
        {"form": "jsonl"},
        name="money_all_jsonl",
    ),
    path("budgets/", budgets.budgets_page, name="budgets"),
    path("budgets/ask/", budgets.ask_for_more, name="budget_ask"),
    path("budgets/withdraw/", budgets.withdraw, name="budget_withdraw"),
    path("budgets/add/", budgets.add_budget, name="budget_add"),
    path("budgets/give/", budgets.give, name="budget_give"),
    path("budgets/<int:budget_id>/", budgets.edit_budget, name="budget_edit"),
    path(
        "budgets/<int:budget_id>/remove/", budgets.remove_budget, name="budget_remove"
    ),
    path(
        "budgets/requests/<int:request_id>/grant/", budgets.grant, name="budget_grant"
    ),
    path(
        "budgets/requests/<int:request_id>/decline/",
        budgets.decline,
        name="budget_decline",
    ),
]
