"""What goes out: replies to rooms, mails, and webhooks with their addresses.

A text waits here only until it has arrived; the row itself stays longer. Import these
from ``channels_app.models``, where Django looks for them.
"""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Delivery(models.Model):
    """Something that must arrive elsewhere; ``channels_app.deliveries`` moves it on."""

    class State(models.TextChoices):
        PENDING = "pending"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"
        UNKNOWN = "unknown", "unknown: it may have arrived"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)
    claimed_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(
        null=True, help_text="HTTP status of the last answer."
    )
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class OutboundReply(Delivery):
    """One message to a room; its ``id`` is the idempotency key."""

    channel = models.ForeignKey(
        "Channel", on_delete=models.CASCADE, related_name="replies"
    )
    event = models.ForeignKey(
        "InboundEvent", null=True, on_delete=models.SET_NULL, related_name="replies"
    )
    part = models.PositiveSmallIntegerField(default=0)
    room_id = models.CharField(max_length=200)
    thread = models.CharField(max_length=255, blank=True)
    reply_to = models.CharField(max_length=255, blank=True)
    text = models.TextField(blank=True, help_text="Emptied when it has arrived.")
    repeated = models.BooleanField(
        default=False, help_text="Sent again after an attempt that may have arrived."
    )
    alone = models.BooleanField(
        default=False, help_text="Sent only while nobody but the owner reads there."
    )
    external_id = models.CharField(max_length=255, blank=True)
    extra = models.JSONField(
        default=dict, help_text="What only the adapter needs, from the event."
    )

    class Meta:
        ordering = ["created_at", "part"]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "part"], name="channels_reply_part_once"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_reply_open",
            ),
            models.Index(
                fields=["channel", "next_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_reply_place",
            ),
            models.Index(
                fields=["channel", "room_id", "event"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_reply_order",
            ),
            models.Index(fields=["created_at"], name="channels_reply_made"),
        ]

    def __str__(self) -> str:
        return f"reply {self.id}"


class WebhookEndpoint(models.Model):
    """An address of a person that wants to hear of what happens."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks"
    )
    url = models.CharField("address", max_length=500)
    secret = models.TextField(help_text="Encrypted.")
    previous_secret = models.TextField(
        blank=True, help_text="Encrypted; signs along until ``previous_until``."
    )
    previous_until = models.DateTimeField(null=True, editable=False)
    events = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)
    fault = models.CharField(max_length=300, blank=True, editable=False)
    failing_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text="First failure since something last arrived.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        # The rest of an address is often a key.
        return urlsplit(self.url).hostname or "webhook"


class WebhookDelivery(Delivery):
    """One event for one endpoint; its ``id`` is the ``webhook-id`` of every attempt."""

    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries"
    )
    event = models.CharField(max_length=32)
    subject = models.CharField(
        max_length=100, help_text="What it is about: the same is announced only once."
    )
    payload = models.JSONField(default=dict)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "event", "subject"], name="channels_webhook_once"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_webhook_open",
            ),
            models.Index(
                fields=["endpoint", "next_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_webhook_place",
            ),
            models.Index(fields=["created_at"], name="channels_webhook_made"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.id}"


class MailDelivery(Delivery):
    """One mail to a person; ``key`` says what it is about, and goes out only once."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mails"
    )
    key = models.CharField(max_length=100, unique=True)
    subject = models.CharField(max_length=200)
    text = models.TextField(blank=True, help_text="Emptied when it has been sent.")

    class Meta:
        ordering = ["created_at"]
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="channels_mail_open",
            ),
            models.Index(fields=["created_at"], name="channels_mail_made"),
        ]

    def __str__(self) -> str:
        return f"mail {self.id}"
