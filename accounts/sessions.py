"""Whether a session that a long-lived connection was opened with still holds.

A socket keeps three plain values of its handshake: the person's id, the session key
and the person's stamp. The server re-checks all of its sockets with two queries every
few seconds: a sign-out removes the session, and deactivation, a change of role or of
the password changes the stamp.
"""

from __future__ import annotations

from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User


def auth_stamp(user: User) -> str:
    """Return a text that changes whenever open connections of ``user`` must end."""
    return salted_hmac(
        "accounts.sessions.auth_stamp",
        f"{user.password}|{user.session_epoch}|{user.is_active}|{user.is_superuser}",
        algorithm="sha256",
    ).hexdigest()


def valid_sessions(pairs: Iterable[tuple[int, str, str]]) -> set[int]:
    """Return the indexes of those (user id, session key, stamp) that still hold.

    Two queries, however many there are.
    """
    held = list(pairs)
    if not held:
        return set()
    stamps = {
        user.pk: auth_stamp(user)
        for user in User.objects.filter(
            pk__in={user_id for user_id, _, _ in held}, is_active=True
        )
    }
    alive = set(
        Session.objects.filter(
            session_key__in={key for _, key, _ in held}, expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    return {
        index
        for index, (user_id, key, stamp) in enumerate(held)
        if key in alive and constant_time_compare(stamps.get(user_id, ""), stamp)
    }


def end_sessions(user: User) -> None:
    """End every session of a person for good, listed or not."""
    user.session_epoch += 1
    user.save(update_fields=["session_epoch"])
    for session in UserSession.objects.filter(user=user):
        session.end()
