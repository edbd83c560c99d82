"""Addresses below ``/account/`` that stand before allauth's own."""

from __future__ import annotations

from allauth.account.views import password_reset_from_key_done
from django.urls import path

from accounts.views import ResetView, end_session

urlpatterns = [
    path("password/reset/key/done/", password_reset_from_key_done),
    path("password/reset/key/<str:token>/", ResetView.as_view(), name="account_reset"),
    path("sessions/<int:session_id>/end/", end_session, name="end_session"),
]
