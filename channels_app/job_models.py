"""What happens later: tasks that wait, briefs that come back, and heartbeats.

Import these from ``channels_app.models``, where Django looks for them. Tasks are moved
on by ``channels_app.jobs.leases`` alone; a person's are reached through
``channels_app.jobs.queue``, their briefs through ``channels_app.jobs.schedules``.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from personas.models import Conversation, Persona


class QueuedTask(models.Model):
    """Work for later: done at least once, by one worker at a time.

    ``attempts`` is the fence: it only grows, and whoever works at an attempt that is
    not the current one any more changes nothing. ``tries`` counts those that were the
    task's own since it was queued or somebody asked for it again. A run of a brief is a
    task with a ``schedule``.
    """

    class State(models.TextChoices):
        PENDING = "pending", "waiting"
        PROCESSING = "processing", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        DEAD = "dead", "gave up"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tasks"
    )
    kind = models.CharField(
        max_length=16, default="task", help_text="A name of channels_app.jobs.kinds."
    )
    persona = models.ForeignKey(
        Persona, null=True, blank=True, on_delete=models.CASCADE, related_name="tasks"
    )
    text = models.TextField(help_text="What is to be done.")
    tier = models.PositiveSmallIntegerField(
        null=True, help_text="1 to 3; empty = the task itself decides."
    )
    cap_nano_usd = models.BigIntegerField(
        null=True, help_text="What all its attempts may cost; empty = no cap."
    )
    source = models.CharField(
        max_length=16, default="api", help_text="api, page, schedule or import."
    )
    idempotency_key = models.CharField(
        max_length=200, blank=True, help_text="The same key is queued only once."
    )
    # how it goes
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(
        default=0, help_text="Attempts that count towards giving up."
    )
    not_before = models.DateTimeField(
        default=timezone.now, help_text="When the next attempt may begin."
    )
    worker = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True)
    cancel_asked = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(
        null=True, help_text="When the last attempt began."
    )
    finished_at = models.DateTimeField(null=True)
    # what came of it
    result = models.TextField(blank=True)
    error_code = models.CharField(max_length=32, blank=True)
    error = models.CharField(max_length=300, blank=True)
    model = models.CharField(max_length=200, blank=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_nano_usd = models.BigIntegerField(
        null=True, help_text="Of all attempts; empty = unknown."
    )
    conversation = models.ForeignKey(
        Conversation, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    # runs of a brief
    schedule = models.ForeignKey(
        "Schedule", null=True, on_delete=models.SET_NULL, related_name="runs"
    )
    due_at = models.DateTimeField(null=True, help_text="The time it was planned for.")
    late = models.BooleanField(
        default=False, help_text="Begun long after its time, for the runs missed."
    )
    by_hand = models.BooleanField(default=False, help_text="Asked for by “run now”.")

    is_new = False
    """Whether ``enqueue`` has just made the row; not stored."""
    lost = False
    """Whether whoever works at it has lost its lease; not stored."""

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="jobs_task_key_once",
            ),
            models.UniqueConstraint(
                fields=["schedule", "due_at"], name="jobs_slot_once"
            ),
        ]
        indexes = [
            models.Index(
                fields=["owner", "not_before", "id"],
                condition=Q(state="pending"),
                name="jobs_task_waiting",
            ),
            models.Index(
                fields=["lease_until"],
                condition=Q(state="processing"),
                name="jobs_task_running",
            ),
            models.Index(fields=["owner", "-created_at"], name="jobs_task_of_owner"),
            models.Index(fields=["finished_at"], name="jobs_task_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Schedule(models.Model):
    """A brief: a prompt that a persona answers again and again, at its time."""

    class Delivery(models.TextChoices):
        CONVERSATION = "conversation", "In a conversation"
        NEXTCLOUD_TALK = "nextcloud_talk", "Nextcloud Talk"
        GOOGLE_CHAT = "google_chat", "Google Chat"
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="schedules"
    )
    persona = models.ForeignKey(
        Persona, on_delete=models.CASCADE, related_name="schedules"
    )
    name = models.CharField(max_length=80)
    prompt = models.TextField()
    cron = models.CharField("cron expression", max_length=100)
    time_zone = models.CharField(max_length=64)
    tier = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="1 to 3; empty = the persona's policy."
    )
    cap_nano_usd = models.BigIntegerField(
        null=True, blank=True, help_text="What one run may cost; empty = no cap."
    )
    delivery = models.CharField(
        max_length=16, choices=Delivery, default=Delivery.CONVERSATION
    )
    room = models.ForeignKey(
        "ChannelRoom",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    endpoint = models.ForeignKey(
        "WebhookEndpoint",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    conversation = models.ForeignKey(
        Conversation,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Where its answers stand; made by the first run.",
    )
    enabled = models.BooleanField(default=True)
    next_at = models.DateTimeField(
        null=True, editable=False, help_text="Empty while it is switched off."
    )
    fault = models.CharField(
        max_length=300, blank=True, editable=False, help_text="Why it cannot run."
    )
    proposed_until = models.DateTimeField(
        null=True,
        editable=False,
        help_text="Asked for in a chat and not confirmed; never runs until then.",
    )
    proposed_in = models.ForeignKey(
        Conversation,
        null=True,
        editable=False,
        on_delete=models.CASCADE,
        related_name="+",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "created_at"]
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(enabled=True, next_at__isnull=False),
                name="jobs_schedule_due",
            )
        ]

    def __str__(self) -> str:
        return f"brief {self.id}"


class Beat(models.Model):
    """One heartbeat: what its free checks found, what was done, and what that cost."""

    started_at = models.DateTimeField(default=timezone.now)
    alive_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    running = models.BooleanField(
        null=True, default=True, help_text="Empty when it is over."
    )
    by_hand = models.BooleanField(default=False)
    found = models.JSONField(default=dict, help_text="How much work, by step.")
    done = models.JSONField(default=dict, help_text="How much was done, by step.")
    failed = models.JSONField(default=dict, help_text="A sentence for each step.")
    model_calls = models.PositiveIntegerField(default=0)
    cost_nano_usd = models.BigIntegerField(null=True, default=0)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["running"], condition=Q(running=True), name="jobs_one_beat"
            )
        ]
        indexes = [models.Index(fields=["started_at"], name="jobs_beat_started")]

    def __str__(self) -> str:
        return f"beat {self.pk}"


class Clock(models.Model):
    """When something that comes again and again last began, on any machine."""

    name = models.CharField(max_length=32, primary_key=True)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name
