"""Channels, events, deliveries and jobs in the admin: rows to look at, for faults.

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
    Beat,
    Channel,
    InboundEvent,
    OutboundReply,
    QueuedTask,
    Schedule,
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


@admin.register(QueuedTask)
class QueuedTaskAdmin(WithoutTexts):
    """Tasks, by their state; neither what they say nor what came of them."""

    private = ("text", "result", "idempotency_key")
    fields = [
        "id",
        "owner",
        "kind",
        "source",
        "state",
        "tier",
        "attempts",
        "worker",
        "lease_until",
        "cancel_asked",
        "error_code",
        "error",
        "model",
        "input_tokens",
        "output_tokens",
        "cost_nano_usd",
        "created_at",
        "not_before",
        "started_at",
        "finished_at",
        "schedule",
        "due_at",
        "late",
        "by_hand",
    ]
    list_display = ["id", "owner", "kind", "state", "attempts", "worker", "created_at"]
    list_filter = ["state", "kind", "source"]
    list_select_related = ["owner"]
    ordering = ["-created_at"]


@admin.register(Schedule)
class ScheduleAdmin(WithoutTexts):
    """When whose briefs run; neither their names nor their prompts."""

    private = ("name", "prompt")
    fields = [
        "id",
        "owner",
        "cron",
        "time_zone",
        "tier",
        "cap_nano_usd",
        "delivery",
        "enabled",
        "next_at",
        "fault",
        "created_at",
    ]
    list_display = ["id", "owner", "cron", "time_zone", "enabled", "next_at"]
    list_filter = ["enabled", "delivery"]
    list_select_related = ["owner"]
    ordering = ["-created_at"]


@admin.register(Beat)
class BeatAdmin(WithoutTexts):
    """Heartbeats: what they found and did."""

    fields = [
        "started_at",
        "alive_at",
        "finished_at",
        "by_hand",
        "found",
        "done",
        "failed",
        "model_calls",
        "cost_nano_usd",
    ]
    list_display = ["started_at", "finished_at", "by_hand", "model_calls"]
    list_filter = ["by_hand"]
