"""The audit log: one row for each event that changes who may do what.

Recorded are sign-ins, roles, keys, exports of the ledger and deletions, never message
text and never a secret. Actors and subjects are plain values, so that rows outlive
people.
"""

from __future__ import annotations

from accounts.models import AuditEvent, User


def record(
    event: str, *, actor: User | None = None, subject: str = "", **detail: object
) -> None:
    """Write one event.

    Args:
        event: What happened, in the form ``thing.verb``, such as ``user.deactivated``.
        actor: Who did it; None for the command line and for strangers.
        subject: Whom or what it was done to, by name.
        detail: Further plain values (text, numbers, lists) worth keeping.
    """
    AuditEvent.objects.create(
        event=event,
        actor_id=actor.pk if actor else None,
        actor_name=actor.username if actor else "",
        subject=subject[:200],
        detail=detail,
    )
