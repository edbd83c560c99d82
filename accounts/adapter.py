"""Cortex's answers to allauth's questions about accounts.

Sign-up is closed: people come by invite. Addresses in mails come from
``CORTEX_PUBLIC_URL``, never from a request's Host header. A mail server that fails is
logged and does not fail the page.
"""

from __future__ import annotations

import logging
import smtplib
from typing import Any

import qrcode  # type: ignore[import-untyped]
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from qrcode.image.svg import SvgPathFillImage  # type: ignore[import-untyped]

from accounts import audit, proxies, secrets
from accounts.models import User

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts: no sign-up, the true client address, an audit log."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody signs up; people are invited."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that rate limits and session lists count by."""
        return proxies.client_ip(request)

    def login(self, request: HttpRequest, user: User) -> None:
        """Sign the person in under a new session key and note it."""
        super().login(request, user)
        audit.record("login", actor=user, ip=proxies.client_ip(request))

    def logout(self, request: HttpRequest) -> None:
        """Sign the person out and note it."""
        if isinstance(request.user, User):
            audit.record("logout", actor=request.user)
        super().logout(request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Note a failed sign-in; what was typed is not kept, it may be a password."""
        audit.record(
            "login.failed",
            subject=request.META.pop("cortex.login_subject", ""),
            ip=proxies.client_ip(request),
        )

    def set_password(self, user: User, password: str) -> None:
        """Change the password and note it."""
        super().set_password(user, password)
        audit.record("password.changed", subject=user.username)

    def send_mail(
        self, template_prefix: str, email: str, context: dict[str, Any]
    ) -> None:
        """Send a mail; the page goes on when the mail server does not."""
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, smtplib.SMTPException) as error:
            logger.error("The mail %s could not be sent: %s", template_prefix, error)

    def format_email_subject(self, subject: str) -> str:
        """Say in the subject which product writes."""
        return f"[Cortex] {subject}"

    def get_email_confirmation_url(
        self, request: HttpRequest, emailconfirmation: Any
    ) -> str:
        """Return the absolute address that confirms an e-mail address."""
        path = reverse("account_confirm_email", args=[emailconfirmation.key])
        return f"{settings.CORTEX_PUBLIC_URL}{path}"

    def forget_failures(self, request: HttpRequest, user: User) -> None:
        """Let a person who has just reset the password sign in at once."""
        for login in filter(None, (user.username, user.email)):
            self._delete_login_attempts_cached_email(request, email=login)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: their seeds are encrypted at rest."""

    def get_totp_issuer(self) -> str:
        """Return the name that authenticator apps show."""
        return "Cortex"

    def get_totp_label(self, user: User) -> str:
        """Return the account name that authenticator apps show."""
        return user.username

    def build_totp_svg(self, url: str) -> str:
        """Return the QR code as an element for the page itself.

        The content policy allows no ``data:`` pictures, and a picture of its own
        address would be one more place that serves the seed.
        """
        image = qrcode.make(url, image_factory=SvgPathFillImage)
        return str(image.to_string(encoding="unicode"))

    def encrypt(self, text: str) -> str:
        """Encrypt a seed before it is stored."""
        return secrets.encrypt("mfa", text)

    def decrypt(self, encrypted_text: str) -> str:
        """Read a stored seed."""
        return secrets.decrypt("mfa", encrypted_text)
