"""The addresses that want to hear of what happens: their owners' verbs.

An address's secret is shown when it is made and never again. After a new one is made
the old one signs along for a day, so that nothing is refused meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone

from accounts import audit, secrets
from accounts.models import User
from channels_app.bots.channels import trusted_origins_for
from channels_app.models import WebhookDelivery, WebhookEndpoint
from channels_app.webhooks import announcing, signing
from routing.addresses import origin_of_url, parse_url, refuse_private_literal
from routing.errors import NetError

PURPOSE: Final = "webhook"
OVERLAP: Final = timedelta(hours=24)
MOST: Final = 20
"""Addresses a person may have."""
SHOWN: Final = 20
"""Last deliveries on an address's page."""


def webhooks_visible_to(user: User) -> QuerySet[WebhookEndpoint]:
    """Return the person's own addresses."""
    return WebhookEndpoint.objects.filter(owner=user)


def get_webhook_for_user(user: User, id: int) -> WebhookEndpoint:
    """Return one of the person's addresses; raises ``Http404``."""
    endpoint = webhooks_visible_to(user).filter(pk=id).first()
    if endpoint is None:
        raise Http404("There is no such webhook.")
    return endpoint


def get_delivery_for_user(user: User, id: int, delivery: uuid.UUID) -> WebhookDelivery:
    """Return a delivery to one of the person's addresses; raises ``Http404``."""
    row = get_webhook_for_user(user, id).deliveries.filter(pk=delivery).first()
    if row is None:
        raise Http404("There is no such delivery.")
    return row


def add(user: User, url: str, events: Sequence[str]) -> tuple[WebhookEndpoint, str]:
    """Make an address and return it with its secret, which cannot be read again.

    Raises:
        ValidationError: The address may not be called, or there are too many.
    """
    if webhooks_visible_to(user).count() >= MOST:
        raise ValidationError(f"There are {MOST} webhooks already.")
    secret = signing.new_secret()
    endpoint = WebhookEndpoint(owner=user, secret=secrets.encrypt(PURPOSE, secret))
    _set(endpoint, user, url, events)
    endpoint.save()
    audit.record("webhook.added", actor=user, subject=_origin(url), id=endpoint.pk)
    return endpoint, secret


def change(
    user: User,
    endpoint: WebhookEndpoint,
    url: str,
    events: Sequence[str],
    *,
    enabled: bool,
) -> None:
    """Change an address; one that was switched off by its answers may be tried anew.

    Raises:
        ValidationError: The address may not be called.
    """
    _set(endpoint, user, url, events)
    if enabled:
        endpoint.fault, endpoint.failing_since = "", None
    endpoint.enabled = enabled
    endpoint.save(update_fields=["url", "events", "enabled", "fault", "failing_since"])
    audit.record("webhook.changed", actor=user, subject=_origin(url), id=endpoint.pk)


def _set(
    endpoint: WebhookEndpoint, user: User, url: str, events: Sequence[str]
) -> None:
    """Put in what was asked for, if it may be."""
    try:
        target = parse_url(url)
        if origin_of_url(target) not in trusted_origins_for(user, url):
            refuse_private_literal(target)
    except NetError as error:
        raise ValidationError({"url": str(error)}) from None
    endpoint.url = url
    endpoint.events = [event for event in announcing.EVENTS if event in events]


def rotate_secret(user: User, endpoint: WebhookEndpoint) -> str:
    """Give an address a new secret and return it; the old one signs along for a day."""
    secret = signing.new_secret()
    endpoint.previous_secret = endpoint.secret
    endpoint.previous_until = timezone.now() + OVERLAP
    endpoint.secret = secrets.encrypt(PURPOSE, secret)
    endpoint.save(update_fields=["secret", "previous_secret", "previous_until"])
    origin = _origin(endpoint.url)
    audit.record("webhook.secret_rotated", actor=user, subject=origin, id=endpoint.pk)
    return secret


def remove(user: User, endpoint: WebhookEndpoint) -> None:
    """Delete an address with its deliveries."""
    id, origin = endpoint.pk, _origin(endpoint.url)
    endpoint.delete()
    audit.record("webhook.deleted", actor=user, subject=origin, id=id)


def secrets_of(endpoint: WebhookEndpoint) -> tuple[str, ...]:
    """Return what signs for an address now, the newest first.

    Raises:
        Undecryptable: They were encrypted with a key that this installation has not.
    """
    return tuple(secrets.decrypt(PURPOSE, each) for each in stored_secrets(endpoint))


def stored_secrets(endpoint: WebhookEndpoint) -> list[str]:
    """Return what signs for an address now as it is stored, encrypted."""
    until = endpoint.previous_until
    if endpoint.previous_secret and until is not None and until > timezone.now():
        return [endpoint.secret, endpoint.previous_secret]
    return [endpoint.secret]


def old_secrets() -> QuerySet[WebhookEndpoint]:
    """Return the addresses with a secret that signs along no longer."""
    return WebhookEndpoint.objects.filter(previous_until__lte=timezone.now())


def forget_old_secrets() -> int:
    """Remove secrets that sign along no longer; return how many."""
    rows = old_secrets()
    if not rows.exists():  # an idle look takes no write lock
        return 0
    return rows.update(previous_secret="", previous_until=None)


def last_deliveries(endpoint: WebhookEndpoint) -> list[WebhookDelivery]:
    """Return an address's last deliveries, newest first."""
    return list(endpoint.deliveries.order_by("-created_at")[:SHOWN])


def ask_for_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Store a delivery that tells nothing but that it arrives."""
    subject = uuid.uuid4().hex
    data = {"message": "This is a test from Cortex."}
    announcing.store_for([endpoint.pk], announcing.TEST, subject, data)
    return endpoint.deliveries.get(event=announcing.TEST, subject=subject)


def send_again(row: WebhookDelivery) -> bool:
    """Let a delivery be sent anew, at once and under the same id.

    ``False`` where it is under way at this moment.
    """
    rows = WebhookDelivery.objects.filter(pk=row.pk)
    idle = rows.exclude(state=WebhookDelivery.State.SENDING)
    return bool(
        idle.update(
            state=WebhookDelivery.State.PENDING,
            attempts=0,
            next_at=timezone.now(),
            error="",
            status=None,
            sent_at=None,
        )
    )


def _origin(url: str) -> str:
    """Return what the audit log may hold: paths of webhooks are often secrets."""
    return origin_of_url(parse_url(url))
