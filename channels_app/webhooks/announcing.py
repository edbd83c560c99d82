"""Tells the addresses of a person what happened: stored here, sent by ``sending``."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.utils import timezone

from channels_app.models import WebhookDelivery, WebhookEndpoint

logger = logging.getLogger(__name__)

EVENTS: Final = {
    "task.done": "A task that was handed in is done",
    "task.failed": "A queued task failed or was given up",
    "budget.warning": "Half, four fifths or all of a budget is used",
    "reply.failed": "An answer could not be sent to its room",
}
"""What an address can hear of, and what that means."""
BRIEF_DONE: Final = "brief.done"
BRIEF_FAILED: Final = "brief.failed"
"""Sent to the one address that was chosen for a brief, and to no other; the answer that
it holds is forgotten when it has arrived."""
TEST: Final = "webhook.test"
"""Sent by the button on the page; every address hears it."""


def store(user_id: int, event: str, subject: str, data: dict[str, Any]) -> list[int]:
    """Store one delivery for each address that wants to hear of an event.

    The same subject is told an address once. Returns the addresses' ids; the worker
    delivers where nobody wakes ``sending``.

    Args:
        event: One of ``EVENTS``.
        subject: What it is about, at most 100 characters, the same for the same thing.
        data: Plain JSON without the texts of messages.
    """
    rows = WebhookEndpoint.objects.filter(owner_id=user_id, enabled=True)
    ids = [pk for pk, events in rows.values_list("pk", "events") if event in events]
    store_for(ids, event, subject, data)
    return ids


def store_for(
    endpoint_ids: list[int], event: str, subject: str, data: dict[str, Any]
) -> None:
    """Store one delivery for each of these addresses."""
    if not endpoint_ids:
        return
    now = timezone.now()
    moment = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {"type": event, "timestamp": moment, "data": data}
    WebhookDelivery.objects.bulk_create(
        [
            WebhookDelivery(
                endpoint_id=pk, event=event, subject=subject[:100], payload=payload
            )
            for pk in endpoint_ids
        ],
        ignore_conflicts=True,
    )


def payload_kept(row: WebhookDelivery) -> dict[str, Any]:
    """Return what is kept of a delivery that has arrived: all but texts."""
    payload: dict[str, Any] = row.payload
    if row.event != BRIEF_DONE:
        return payload
    return payload | {"data": payload["data"] | {"text": None}}
