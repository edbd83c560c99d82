"""Cortex's answers to allauth's questions about Google accounts."""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render
from django.utils.crypto import constant_time_compare

from accounts import audit
from accounts.models import GoogleAddress, User


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """One provider, from the environment; no sign-up; links only as registered."""

    def list_apps(
        self,
        request: HttpRequest | None,
        provider: str | None = None,
        client_id: str | None = None,
    ) -> list[SocialApp]:
        """Return Google when it is configured; keys never come from the database."""
        if not settings.GOOGLE_CLIENT_ID or not settings.GOOGLE_CLIENT_SECRET:
            return []
        if provider not in (None, "google"):
            return []
        app = SocialApp(
            provider="google",
            name="Google",
            client_id=settings.GOOGLE_CLIENT_ID,
            secret=settings.GOOGLE_CLIENT_SECRET,
        )
        return [app] if client_id in (None, app.client_id) else []

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Nobody signs up; people are invited."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Check the token's claims, and link an account that may be linked.

        Linking from a signed-in session is left to allauth, which asks for the
        password or the second factor again.
        """
        if not _claims_hold(sociallogin):
            raise ImmediateHttpResponse(
                _refusal(request, "Google's answer does not belong to this sign-in.")
            )
        if sociallogin.state.get("process") == "connect" or sociallogin.is_existing:
            return
        with transaction.atomic():
            user = bind_registered_address(sociallogin)
            if user is not None:
                sociallogin.connect(request, user)
        if user is None:
            raise ImmediateHttpResponse(
                _refusal(
                    request,
                    "This Google account is not registered here. Sign in with your "
                    "password, or ask an administrator to register its address.",
                )
            )


def bind_registered_address(sociallogin: SocialLogin) -> User | None:
    """Bind the registered address of a first sign-in to its ``sub``.

    Returns the person, or None when the address is not verified, not registered,
    bound to another ``sub`` already, or its person does not exist or is deactivated.
    """
    claims = sociallogin.account.extra_data
    email = str(claims.get("email", "")).lower()
    if not email or claims.get("email_verified") is not True:
        return None
    address = (
        GoogleAddress.objects.select_for_update()
        .filter(email=email, subject__in=["", sociallogin.account.uid])
        .first()
    )
    if address is None:
        return None
    user = User.objects.filter(username=address.username, is_active=True).first()
    if user is not None:
        address.subject = sociallogin.account.uid
        address.save(update_fields=["subject"])
        audit.record("google.linked", actor=user, subject=user.username, email=email)
    return user


def _claims_hold(sociallogin: SocialLogin) -> bool:
    """Compare nonce and authorised party; issuer, audience and expiry are checked.

    Source: OpenID Connect Core 1.0, 3.1.3.7.
    """
    claims = sociallogin.account.extra_data
    nonce = str(sociallogin.state.get("nonce") or "")
    sent = str(claims.get("nonce") or "")
    if not nonce or not constant_time_compare(nonce, sent):
        return False
    audiences = claims.get("aud")
    party = claims.get("azp")
    if isinstance(audiences, list) and len(audiences) > 1 and not party:
        return False
    return party in (None, settings.GOOGLE_CLIENT_ID)


def _refusal(request: HttpRequest, reason: str) -> Any:
    context = {"reason": reason, "bare": True}
    return render(request, "socialaccount/refused.html", context, status=403)
