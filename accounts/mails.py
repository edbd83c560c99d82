"""The mails that links are sent with.

A mail server that fails is logged and never fails the page or the command.
"""

from __future__ import annotations

import logging
import smtplib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.invites import setup_link
from accounts.models import Invite, User

logger = logging.getLogger(__name__)


def printed() -> bool:
    """Say whether mails are printed in the server's output instead of sent."""
    return str(settings.EMAIL_BACKEND).endswith("console.EmailBackend")


@dataclass(frozen=True, slots=True)
class HandedInvite:
    """An invite with its link, to be shown once to whoever invites."""

    invite: Invite
    link: str
    mailed: bool
    """Whether a mail with the link was handed over."""


def hand_out(invite: Invite, token: str) -> HandedInvite:
    """Mail the link of an invite, where it has an address, and return the link.

    Whoever invites sees the link as well, so a failure loses nothing.
    """
    link = setup_link(token)
    mailed = bool(invite.email) and _send(
        "Your invite to Cortex",
        "setup/invite_mail.txt",
        {"invite": invite, "link": link},
        invite.email,
    )
    return HandedInvite(invite, link, mailed)


def send_reset(email: str, user: User | None, token: str) -> bool:
    """Mail the link of a password reset, or that nobody here has this address."""
    link = settings.CORTEX_PUBLIC_URL + reverse("account_reset", args=[token])
    context = {"user": user, "link": link, "email": email}
    return _send("Your password for Cortex", "setup/reset_mail.txt", context, email)


def send_to_admins(subject: str, template: str, context: Mapping[str, object]) -> int:
    """Mail the administrators who have an address; return how many mails were sent.

    Where mails are only printed nobody would read it, so none is made.
    """
    if printed():
        return 0
    admins = User.objects.filter(is_superuser=True, is_active=True).exclude(email="")
    return sum(_send(subject, template, context, each.email) for each in admins)


def _send(subject: str, template: str, context: Mapping[str, object], to: str) -> bool:
    """Send one mail.

    The console back end writes to standard error, because the standard output of a
    command belongs to its result.
    """
    options: dict[str, Any] = {"stream": sys.stderr} if printed() else {}
    message = EmailMessage(
        subject,
        render_to_string(template, {**context, "url": settings.CORTEX_PUBLIC_URL}),
        to=[to],
        connection=get_connection(**options),
    )
    try:
        return bool(message.send())
    except (OSError, smtplib.SMTPException) as error:
        logger.error("The mail “%s” could not be sent: %s", subject, error)
        return False
