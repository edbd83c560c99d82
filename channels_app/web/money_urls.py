"""The addresses of the pages about money."""

from __future__ import annotations

from django.urls import path

from channels_app.web import money, money_downloads

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
]
