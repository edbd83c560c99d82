"""Removes what accounts leave behind: sessions that ended and links that are closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import Invite, PasswordReset
from accounts.resets import KEPT_FOR

SETTLES_IN: Final = timedelta(hours=1)
"""A sign-in may be listed a moment before its session is stored."""


def ended_rows() -> tuple[QuerySet[Any], ...]:
    """Return what may be removed: one set of rows for each table.

    Closed invites and resets are kept for a month, in which their links say why they
    are closed.
    """
    now = timezone.now()
    closed_before = now - KEPT_FOR
    alive = Session.objects.filter(expire_date__gt=now).values("session_key")
    closed = Q(expires_at__lt=closed_before) | Q(revoked_at__lt=closed_before)
    return (
        Session.objects.filter(expire_date__lt=now),
        UserSession.objects.filter(last_seen_at__lt=now - SETTLES_IN).exclude(
            session_key__in=alive
        ),
        Invite.objects.filter(closed | Q(used_at__lt=closed_before)),
        PasswordReset.objects.filter(expires_at__lt=closed_before),
    )
