"""The type of requests in views that only signed-in people reach."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


class AuthenticatedHttpRequest(HttpRequest):
    """A request behind ``login_required``; for type checking, never created."""

    user: User
