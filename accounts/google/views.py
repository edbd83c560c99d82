"""The two addresses of sign-in by Google; without its settings they do not exist."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.providers.oauth2.views import (
    OAuth2CallbackView,
    OAuth2LoginView,
)
from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from accounts.google.client import GoogleClientAdapter

_login = OAuth2LoginView.adapter_view(GoogleClientAdapter)
_callback = OAuth2CallbackView.adapter_view(GoogleClientAdapter)


@never_cache
def oauth2_login(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
    """Start: GET asks, POST hands the browser on to Google.

    The content policy's ``form-action 'self'`` stops a form whose answer redirects to
    another site, so the answer is a page that goes there by itself.
    """
    _require_google()
    response: HttpResponseBase = _login(request, *args, **kwargs)
    if isinstance(response, HttpResponseRedirect) and request.method == "POST":
        context = {"redirect_to": response.url, "bare": True}
        page = render(request, "socialaccount/login_redirect.html", context)
        page.cookies = response.cookies
        return page
    return response


@never_cache
def oauth2_callback(
    request: HttpRequest, *args: Any, **kwargs: Any
) -> HttpResponseBase:
    """Come back from Google."""
    _require_google()
    response: HttpResponseBase = _callback(request, *args, **kwargs)
    return response


def _require_google() -> None:
    if not settings.GOOGLE_CLIENT_ID or not settings.GOOGLE_CLIENT_SECRET:
        raise Http404("Sign-in by Google is not set up.")
