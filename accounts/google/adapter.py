"""Cortex's answers to allauth's questions about Google accounts."""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
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
        """Check the token's claims and let in whose address is registered.

        That holds for each sign-in and for linking, so that withdrawing an address
        is enough. Linking from a signed-in session is then left to allauth, which asks
        for the password or the second factor again.
        """
        if not _claims_hold(sociallogin):
            raise ImmediateHttpResponse(
                _refusal(request, "Google's answer does not belong to this sign-in.")
            )
        with transaction.atomic():
            is_admitted = _admit(request, sociallogin)
        if not is_admitted:
            raise ImmediateHttpResponse(
                _refusal(
                    request,
                    "This Google account is not registered here. Sign in with your "
                    "password, or ask an administrator to register its address.",
                )
            )


def _admit(request: HttpRequest, sociallogin: SocialLogin) -> bool:
    """Say whether the Google account is registered for whoever it is to sign in.

    A first use binds the registered address to the account's ``sub``, and a first
    sign-in links the two.
    """
    address = _registered_address(sociallogin)
    if address is None:
        return False
    is_linking = sociallogin.state.get("process") == "connect"
    user: User | AnonymousUser | None
    if is_linking:
        user = request.user
    elif sociallogin.is_existing:
        user = sociallogin.user
    else:
        user = User.objects.filter(username=address.username, is_active=True).first()
    if not isinstance(user, User) or user.username != address.username:
        return False
    if not address.subject:
        address.subject = sociallogin.account.uid
        address.save(update_fields=["subject"])
        audit.record(
            "google.linked", actor=user, subject=user.username, email=address.email
        )
    if not is_linking and not sociallogin.is_existing:
        sociallogin.connect(request, user)
    return True


def _registered_address(sociallogin: SocialLogin) -> GoogleAddress | None:
    """Return the row bound to the account's ``sub``, else one that waits for it.

    Once bound, the ``sub`` counts and the address does not. An address that is not
    verified binds nothing.
    """
    rows = GoogleAddress.objects.select_for_update()
    bound = rows.filter(subject=sociallogin.account.uid).first()
    claims = sociallogin.account.extra_data
    if bound is not None or claims.get("email_verified") is not True:
        return bound
    email = str(claims.get("email", "")).lower()
    return rows.filter(email=email, subject="").first()


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
