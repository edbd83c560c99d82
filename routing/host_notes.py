"""Keeps with a host what calls said of it: a refused key, failures, a wish to rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from routing.attempt import Attempt
from routing.backends.base import AuthenticationFailed
from routing.breakers import BREAKERS
from routing.health import counts_against_host
from routing.models import Host

FAILED_OFTEN: Final = "It failed several times in a row:"
"""Begins the complaint about a host that was in trouble, whatever its key."""


def note(attempt: Attempt, cooling_s: float | None) -> None:
    """Write what an attempt says about its host; nothing for the built-in one.

    A refused key flags the host, as do several failures in a row, and an answer takes
    the flag back. ``cooling_s`` is for how long the host wants to rest; every process
    reads it with the catalogue. The longest wish counts, whichever model or process
    heard it.
    """
    host = attempt.model.host
    if host.id is None:
        return
    changes: dict[str, object] = {}
    complaint = _complaint(attempt)
    if complaint and not host.flagged:
        changes["flagged"] = complaint[:200]
    elif host.flagged and attempt.outcome == "complete":
        changes["flagged"] = ""
    row = Host.objects.filter(id=host.id)
    if changes:
        row.update(**changes)
    if cooling_s is not None:
        until = timezone.now() + timedelta(seconds=cooling_s)
        shorter = Q(cooling_until=None) | Q(cooling_until__lt=until)
        row.filter(shorter).update(cooling_until=until)


def _complaint(attempt: Attempt) -> str:
    """Return in a sentence what is wrong with the host; empty = nothing lasting."""
    error = attempt.error
    if isinstance(error, AuthenticationFailed):
        return str(error)
    if error is None or BREAKERS.rest_of(attempt.model) != "failing":
        return ""
    return f"{FAILED_OFTEN} {error}" if counts_against_host(error) else ""
