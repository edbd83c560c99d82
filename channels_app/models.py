"""Channels of the bots, what came in by them, what must go out, and webhooks.

Texts wait here only until they are dealt with: an event's payload is emptied when it
has been answered, a delivery's text when it has arrived. The rows themselves stay
longer, because they are what recognises a repetition.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from channels_app.home_models import HomeFile as HomeFile
from channels_app.job_models import Beat as Beat
from channels_app.job_models import Clock as Clock
from channels_app.job_models import QueuedTask as QueuedTask
from channels_app.job_models import Schedule as Schedule
from channels_app.outgoing_models import Delivery as Delivery
from channels_app.outgoing_models import MailDelivery as MailDelivery
from channels_app.outgoing_models import OutboundReply as OutboundReply
from channels_app.outgoing_models import WebhookDelivery as WebhookDelivery
from channels_app.outgoing_models import WebhookEndpoint as WebhookEndpoint
from personas.models import Conversation, Persona


class Channel(models.Model):
    """One person's bot on one platform; exists for the outside only with its secret."""

    class Kind(models.TextChoices):
        NEXTCLOUD_TALK = "nextcloud_talk", "Nextcloud Talk"
        GOOGLE_CHAT = "google_chat", "Google Chat"

    class Thread(models.TextChoices):
        OWN = "own", "A conversation of its own"
        WEB = "web", "The same conversation as on the web"

    class Strangers(models.TextChoices):
        PAIRING = "pairing", "They get a code that I can enter here"
        SILENCE = "silence", "They get no answer"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="channels"
    )
    kind = models.CharField(max_length=32, choices=Kind)
    persona = models.ForeignKey(
        Persona, null=True, on_delete=models.SET_NULL, related_name="channels"
    )
    enabled = models.BooleanField(default=True)
    secrets = models.JSONField(
        default=dict,
        help_text="Each text is encrypted; see channels_app.bots.channels.",
    )
    settings = models.JSONField(default=dict, help_text="What only this kind has.")
    thread = models.CharField(
        max_length=8,
        choices=Thread,
        default=Thread.OWN,
        help_text="For rooms where nobody else reads; others have their own.",
    )
    strangers = models.CharField(
        max_length=8, choices=Strangers, default=Strangers.PAIRING
    )
    guest_daily_messages = models.PositiveIntegerField(
        default=20, help_text="Answers a day to all guests together."
    )
    last_event_at = models.DateTimeField(null=True, editable=False)
    last_reply_at = models.DateTimeField(null=True, editable=False)
    fault = models.CharField(max_length=300, blank=True, editable=False)
    fault_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["owner_id", "kind"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "kind"], name="channels_one_of_a_kind"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.owner_id}"


class ChannelRoom(models.Model):
    """A room, space or direct chat that wrote to a channel, and whether it may."""

    class State(models.TextChoices):
        WAITING = "waiting"
        ALLOWED = "allowed"
        REFUSED = "refused"

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="rooms")
    external_id = models.CharField(max_length=200)
    name = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    alone = models.BooleanField(
        default=False, help_text="Nobody but the owner and the bot reads here."
    )
    persona = models.ForeignKey(
        Persona,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Chosen with /persona; empty = the channel's.",
    )
    conversation = models.ForeignKey(
        Conversation, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    begins_new = models.BooleanField(
        default=False, help_text="The next message begins a new conversation."
    )
    told_at = models.DateTimeField(null=True, help_text="When a hint was last given.")
    last_message_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-last_message_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "external_id"], name="channels_room_once"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.external_id


class LinkedIdentity(models.Model):
    """An account on the other side that is the channel's owner."""

    channel = models.ForeignKey(
        Channel, on_delete=models.CASCADE, related_name="identities"
    )
    external_id = models.CharField(max_length=200)
    name = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "external_id"], name="channels_identity_once"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.external_id


class PairingCode(models.Model):
    """A code that a stranger got; its owner's entering it links the stranger."""

    channel = models.ForeignKey(
        Channel, on_delete=models.CASCADE, related_name="pairing_codes"
    )
    code_hash = models.CharField(max_length=64)
    sender_id = models.CharField(max_length=200)
    sender_name = models.CharField(max_length=200, blank=True)
    room_id = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"pairing code of {self.sender_name or self.sender_id}"


class InboundEvent(models.Model):
    """Something that a channel's other side sent; stored before it is acknowledged."""

    class State(models.TextChoices):
        RECEIVED = "received"
        PROCESSING = "processing"
        DONE = "done"
        IGNORED = "ignored"
        FAILED = "failed"

    channel = models.ForeignKey(
        Channel, on_delete=models.CASCADE, related_name="events"
    )
    external_id = models.CharField(max_length=255)
    nonce = models.CharField(max_length=128, blank=True)
    kind = models.CharField(max_length=16)
    room_id = models.CharField(max_length=200, blank=True)
    sender_id = models.CharField(max_length=200, blank=True)
    payload = models.JSONField(
        default=dict, help_text="What is needed to answer; emptied when it is done."
    )
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVED)
    reason = models.CharField(
        max_length=200, blank=True, help_text="Why it was ignored or failed."
    )
    guest = models.BooleanField(default=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(default=timezone.now)
    turn_id = models.UUIDField(null=True)
    received_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "external_id"], name="channels_event_once"
            ),
            models.UniqueConstraint(
                fields=["channel", "nonce"],
                condition=~Q(nonce=""),
                name="channels_nonce_once",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(state__in=["received", "processing"]),
                name="channels_event_open",
            ),
            models.Index(
                fields=["channel", "room_id", "kind", "id", "state"],
                condition=Q(state__in=["received", "processing"]),
                name="channels_event_lane",
            ),
            models.Index(
                fields=["channel", "room_id", "received_at"], name="channels_event_room"
            ),
            models.Index(
                fields=["channel", "received_at"],
                condition=Q(guest=True),
                name="channels_event_guest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id}"
