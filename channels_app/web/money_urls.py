"""The addresses of the page about money."""

from __future__ import annotations

from django.urls import path

from channels_app.web import money

urlpatterns = [
    path("", money.money, name="money"),
    path("ledger.csv", money.download, name="money_csv"),
]
