"""Keeps with a host what a call said about it: a refused key, a wish to rest."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from routing.attempt import Attempt
from routing.backends.base import AuthenticationFailed
from routing.models import Host


def note(attempt: Attempt, cooling_s: float | None) -> None:
    """Write what an attempt says about its host; nothing for the built-in one.

    A refused key flags the host, and an answer takes the flag back. ``cooling_s`` is
    for how long the host wants to rest; every process reads it with the catalogue. The
    longest wish counts, whichever model or process heard it.
    """
    host = attempt.model.host
    if host.id is None:
        return
    changes: dict[str, object] = {}
    refused = isinstance(attempt.error, AuthenticationFailed)
    if refused and not host.flagged:
        changes["flagged"] = str(attempt.error)[:200]
    elif host.flagged and attempt.outcome == "complete":
        changes["flagged"] = ""
    row = Host.objects.filter(id=host.id)
    if changes:
        row.update(**changes)
    if cooling_s is not None:
        until = timezone.now() + timedelta(seconds=cooling_s)
        shorter = Q(cooling_until=None) | Q(cooling_until__lt=until)
        row.filter(shorter).update(cooling_until=until)
