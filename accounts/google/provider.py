"""The Google provider, with a nonce and only the scopes that are needed."""

from __future__ import annotations

import secrets
from typing import Any

from allauth.socialaccount.providers.google.provider import GoogleProvider
from django.http import HttpRequest, HttpResponse

from accounts.google.client import GoogleClientAdapter


class CortexGoogleProvider(GoogleProvider):  # type: ignore[misc]
    """Google, asked for an identity token that carries our nonce.

    What a request's query string adds to scopes or parameters is ignored.
    Source: OpenID Connect Core 1.0, 3.1.2.1 and 15.5.2.
    """

    oauth2_adapter_class = GoogleClientAdapter
    supports_token_authentication = False
    pkce_enabled_default = True

    def get_default_scope(self) -> list[str]:
        """Return what is asked for: who it is and the address."""
        return ["openid", "email"]

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Return the sign-in's own parameters, without those of the query string."""
        kwargs: dict[str, Any] = super().get_redirect_from_request_kwargs(request)
        kwargs["scope"] = self.get_scope()
        kwargs["auth_params"] = {"prompt": "select_account"}
        return kwargs

    def redirect(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send the browser to Google; the nonce is remembered with the state."""
        nonce = secrets.token_urlsafe(24)
        auth_params = {**(kwargs.pop("auth_params", None) or {}), "nonce": nonce}
        response: HttpResponse = super().redirect(
            request, *args, auth_params=auth_params, nonce=nonce, **kwargs
        )
        return response
