"""The exchange with Google: addresses, and the identity token as the only answer."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.models import SocialLogin, SocialToken
from allauth.socialaccount.providers.google.views import GoogleOAuth2Adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


class GoogleClientAdapter(GoogleOAuth2Adapter):  # type: ignore[misc]
    """Use the public address, and refuse an answer without an identity token.

    allauth checks the token's issuer, audience and expiry; who asked for it (nonce,
    authorised party) is checked in ``accounts.google.adapter``.
    """

    fetch_userinfo = False

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """Return the address that is registered at Google."""
        return f"{settings.CORTEX_PUBLIC_URL}{reverse('google_callback')}"

    def complete_login(
        self, request: HttpRequest, app: Any, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Read who signed in from the identity token."""
        if not kwargs["response"].get("id_token"):
            raise OAuth2Error("Google sent no identity token.")
        login: SocialLogin = super().complete_login(request, app, token, **kwargs)
        return login
