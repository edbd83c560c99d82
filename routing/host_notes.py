"""Keeps with a host what a call said about it: a refused key, a wish to rest."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from routing.attempt import Attempt
from routing.backends.base import AuthenticationFailed
from routing.models import Host


def note(attempt: Attempt, cooling_s: float | None) -> None:
    """Write what an attempt says about its host; nothing for the built-in one.

    A refused key flags the host, and an answer takes the flag back. ``cooling_s`` is
    for how long the host wants to rest; every process reads it with the catalogue.
    """
    host = attempt.model.host
    changes: dict[str, object] = {}
    refused = isinstance(attempt.error, AuthenticationFailed)
    if refused and not host.flagged:
        changes["flagged"] = str(attempt.error)[:200]
    elif host.flagged and attempt.outcome == "complete":
        changes["flagged"] = ""
    if cooling_s is not None:
        changes["cooling_until"] = timezone.now() + timedelta(seconds=cooling_s)
    if changes and host.id is not None:
        Host.objects.filter(id=host.id).update(**changes)
