"""Channels, events and deliveries in the admin: rows to look at, for finding faults.

Nothing that anybody wrote, no payload and no secret is shown, nor who wrote: only
where something stands, how often it was tried and what the error was.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin
from channels_app.models import (
    Channel,
    InboundEvent,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)

if apps.is_installed("procrastinate.contrib.django"):
    # What only brings our rows to workers; its buttons would not know their state.
    admin.site.unregister(apps.get_model("procrastinate", "ProcrastinateJob"))


class WithoutTexts(ReadOnlyAdmin):
    """Rows whose private columns do not even leave the database."""

    private: ClassVar[tuple[str, ...]] = ()
    actions = None
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows without their private columns."""
        return super().get_queryset(request).defer(*self.private)


@admin.register(Channel)
class ChannelAdmin(WithoutTexts):
    """Whose channels there are and whether they work."""

    private = ("secrets", "settings")
    fields = [
        "owner",
        "kind",
        "persona",
        "enabled",
        "thread",
        "strangers",
        "guest_daily_messages",
        "last_event_at",
        "last_reply_at",
        "fault",
        "fault_at",
        "created_at",
    ]
    list_display = [
        "owner",
        "kind",
        "enabled",
        "last_event_at",
        "last_reply_at",
        "fault",
    ]
    list_filter = ["kind", "enabled"]
    list_select_related = ["owner"]
    search_fields = ["owner__username"]


@admin.register(InboundEvent)
class InboundEventAdmin(WithoutTexts):
    """What came in, by its state."""

    private = ("payload", "nonce", "sender_id")
    fields = [
        "channel",
        "kind",
        "state",
        "reason",
        "guest",
        "attempts",
        "received_at",
        "next_at",
        "claimed_at",
        "finished_at",
    ]
    list_display = ["id", "channel", "kind", "state", "attempts", "received_at"]
    list_filter = ["state", "kind"]
    list_select_related = ["channel"]
    ordering = ["-id"]


@admin.register(OutboundReply)
class OutboundReplyAdmin(WithoutTexts):
    """What went out, by its state."""

    private = ("text",)
    fields = [
        "id",
        "channel",
        "part",
        "state",
        "attempts",
        "status",
        "error",
        "repeated",
        "created_at",
        "next_at",
        "claimed_at",
        "sent_at",
    ]
    list_display = ["id", "channel", "state", "attempts", "status", "created_at"]
    list_filter = ["state"]
    list_select_related = ["channel"]
    ordering = ["-created_at"]


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(WithoutTexts):
    """Whose webhooks there are; of an address only the host: the path may be a key."""

    private = ("secret",)
    fields = ["owner", "events", "enabled", "fault", "created_at"]
    list_display = ["__str__", "owner", "enabled", "fault", "created_at"]
    list_select_related = ["owner"]


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(WithoutTexts):
    """Deliveries of webhooks, by their state."""

    private = ("payload",)
    fields = [
        "id",
        "endpoint",
        "event",
        "state",
        "attempts",
        "status",
        "error",
        "created_at",
        "next_at",
        "claimed_at",
        "sent_at",
    ]
    list_display = ["id", "endpoint", "event", "state", "attempts", "created_at"]
    list_filter = ["state", "event"]
    list_select_related = ["endpoint"]
    ordering = ["-created_at"]
