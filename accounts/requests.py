"""What views say of their requests: who reaches them, and by which methods."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest
from django.views.decorators.http import require_http_methods

from accounts.models import User

FORM: Final = require_http_methods(["GET", "HEAD", "POST"])
"""Decorates a view that shows a form and takes what is sent back."""


class AuthenticatedHttpRequest(HttpRequest):
    """A request behind ``login_required``; for type checking, never created."""

    user: User
