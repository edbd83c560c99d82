"""How a persona's memory grows: its settings, what was distilled, what is searched.

The memory itself stands in the files ``MEMORY_*.md``; ``personas.memory`` reads and
writes their lines. Nothing here is the only copy of a memory.
"""

from __future__ import annotations

import datetime
import uuid

from django.conf import settings
from django.db import models


class MemorySettings(models.Model):
    """When a persona distils its conversations; a persona without a row has defaults.

    Any one of the triggers suffices; one that is empty is switched off.
    """

    persona = models.OneToOneField(
        "personas.Persona",
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="memory_settings",
    )
    enabled = models.BooleanField("remember by itself", default=True)
    idle_minutes = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=30,
        help_text="After so many minutes without a new message.",
    )
    after_messages = models.PositiveSmallIntegerField(
        null=True, blank=True, default=40, help_text="After so many new messages."
    )
    daily_at = models.TimeField(
        null=True,
        blank=True,
        default=datetime.time(3),
        help_text="Each day at this time, where the owner lives.",
    )
    review_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=0,
        help_text="What is proposed passes by itself after so many days; 0 = at once, "
        "empty = never.",
    )
    asked_at = models.DateTimeField(
        null=True, help_text="Somebody pressed “distil now” and it has not begun yet."
    )
    tried_at = models.DateTimeField(null=True, help_text="The last attempt, any step.")
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="Failed attempts in a row; the pauses between them grow."
    )

    class Meta:
        verbose_name_plural = "memory settings"

    def __str__(self) -> str:
        return f"memory of {self.persona_id}"


class MemoryRun(models.Model):
    """One change of a persona's memory, or one that was not made, and why.

    ``changes`` is a list of ``{"file": name, "remove": [line], "add": [line]}`` with
    whole lines as they stand in the file; applied by lines, so that what a person wrote
    meanwhile stays. Once applied they say what was really done, with the ``"revision"``
    of the file that it made, which undoing needs.
    """

    class Step(models.TextChoices):
        """What made it."""

        SHORT = "short", "New messages into short memory"
        MID = "mid", "Short memory into mid memory"
        LONG = "long", "Mid memory into long memory"
        REMEMBER = "remember", "You asked to remember"
        FORGET = "forget", "You asked to forget"

    class State(models.TextChoices):
        """How it stands."""

        WAITING = "waiting", "Waits for you"
        APPLIED = "applied", "In the memory"
        REJECTED = "rejected", "Rejected"
        UNDONE = "undone", "Undone"
        EMPTY = "empty", "Nothing worth keeping"
        LEFT = "left", "Left alone"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    persona = models.ForeignKey(
        "personas.Persona", on_delete=models.CASCADE, related_name="memory_runs"
    )
    step = models.CharField(max_length=8, choices=Step)
    state = models.CharField(max_length=8, choices=State)
    changes = models.JSONField(default=list)
    appended = models.BooleanField(
        default=False, help_text="Added to the file, because rewriting was not safe."
    )
    explanation = models.CharField(
        max_length=300, blank=True, help_text="One sentence for the person."
    )
    messages = models.PositiveIntegerField(
        default=0, help_text="How many messages were read."
    )
    in_vain = models.JSONField(
        default=list,
        help_text="Ids of messages whose answer was of no use; read again.",
    )
    model = models.CharField(max_length=200, blank=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_nano_usd = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    passes_at = models.DateTimeField(
        null=True, help_text="A waiting one is accepted by itself then; null = never."
    )
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["persona", "-created_at"], name="memory_run_recent"),
            models.Index(
                fields=["passes_at"],
                condition=models.Q(state="waiting"),
                name="memory_run_waiting",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.step} {self.id}"


class MemoryNote(models.Model):
    """One line that a message led to: the note beside it, with its undo."""

    run = models.ForeignKey(MemoryRun, on_delete=models.CASCADE, related_name="notes")
    message = models.ForeignKey(
        "personas.Message", on_delete=models.CASCADE, related_name="memory_notes"
    )
    line = models.TextField(help_text="The whole line as it was added to the file.")
    undone_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.line[:60]


class SearchEntry(models.Model):
    """One message as search finds it: its words folded, and what they mean.

    Made in the background from finished messages and removed with them. The words are
    indexed by the database's own full text search (``personas.search``).
    """

    message = models.OneToOneField(
        "personas.Message", on_delete=models.CASCADE, related_name="search_entry"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    persona = models.ForeignKey(
        "personas.Persona", on_delete=models.CASCADE, related_name="+"
    )
    text = models.TextField(help_text="In small letters, without accents.")
    said_at = models.DateTimeField()
    vector = models.BinaryField(
        null=True, help_text="What it means, as 8-bit numbers; null = not computed."
    )
    vector_model = models.CharField(
        max_length=40, blank=True, help_text="Which model computed the vector."
    )

    class Meta:
        verbose_name_plural = "search entries"
        indexes = [
            models.Index(fields=["owner", "-said_at"], name="search_entry_recent"),
            models.Index(
                fields=["id"],
                condition=models.Q(vector_model=""),
                name="search_entry_no_vector",
            ),
        ]

    def __str__(self) -> str:
        return str(self.message_id)
