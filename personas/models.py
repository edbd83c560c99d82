"""Personas, their files with history, conversations and the tree of messages."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from accounts.names import validate_name
from personas.home_models import HomePiece as HomePiece
from personas.home_models import HomeSession as HomeSession
from personas.memory_models import MemoryNote as MemoryNote
from personas.memory_models import MemoryRun as MemoryRun
from personas.memory_models import MemorySettings as MemorySettings
from personas.memory_models import SearchEntry as SearchEntry

CONTEXT_TIER_VALIDATORS = [MinValueValidator(1), MaxValueValidator(3)]


class TierPolicy(models.IntegerChoices):
    """How capable a model must be; no policy = as the role's chain says."""

    AUTOMATIC = 0, "Automatic: judged anew for each message"
    QUICK = 1, "Quick"
    BALANCED = 2, "Balanced"
    DEEP = 3, "Deep"


class Persona(models.Model):
    """A named character of one person, with an identity, a soul and a memory."""

    class Color(models.TextChoices):
        """The palette; a page shows a value by its class ``persona-color-<value>``."""

        INDIGO = "indigo", "Indigo"
        BLUE = "blue", "Blue"
        TEAL = "teal", "Teal"
        GREEN = "green", "Green"
        AMBER = "amber", "Amber"
        ORANGE = "orange", "Orange"
        RED = "red", "Red"
        PINK = "pink", "Pink"
        VIOLET = "violet", "Violet"
        SLATE = "slate", "Slate"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="personas"
    )
    name = models.CharField(max_length=32, validators=[validate_name])
    display_name = models.CharField(max_length=64)
    color = models.CharField(
        "colour", max_length=8, choices=Color, default=Color.INDIGO
    )
    avatar = models.CharField(
        max_length=8,
        blank=True,
        help_text="A letter or an emoji; empty = the first letter of the name.",
    )
    private = models.BooleanField(
        default=False, help_text="Only models on hosts marked local ever answer."
    )
    model_role = models.CharField(max_length=32, default="chat")
    tier = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        choices=TierPolicy,
        help_text="Empty = as the model role's chain says.",
    )
    context_tier = models.PositiveSmallIntegerField(
        default=2, validators=CONTEXT_TIER_VALIDATORS
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                name="personas_name_once_per_owner",
                violation_error_message="You already have a persona with this name.",
            )
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def avatar_text(self) -> str:
        """The letter or emoji to show in place of a picture."""
        return self.avatar or self.display_name[:1].upper() or self.name[:1].upper()


class PersonaFile(models.Model):
    """The current text of one of a persona's files, such as ``SOUL.md``."""

    persona = models.ForeignKey(Persona, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=64)
    text = models.TextField(blank=True)
    private = models.BooleanField(
        default=False,
        help_text="Enters the prompt only when the owner alone is present.",
    )
    revision = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["persona", "name"], name="personas_file_once_per_persona"
            )
        ]

    def __str__(self) -> str:
        return self.name


class FileRevision(models.Model):
    """One saved state of a file: who, when, why; numbered from 1 without gaps."""

    file = models.ForeignKey(
        PersonaFile, on_delete=models.CASCADE, related_name="revisions"
    )
    number = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["file", "number"], name="personas_revision_number_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.file} #{self.number}"


class Conversation(models.Model):
    """A thread between one person and one persona."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations"
    )
    persona = models.ForeignKey(
        Persona, on_delete=models.CASCADE, related_name="conversations"
    )
    title = models.CharField(max_length=120, blank=True)
    private = models.BooleanField(default=False)
    temporary = models.BooleanField(default=False)
    shared = models.BooleanField(
        default=False,
        help_text="Others read along in a room: private files never enter it.",
    )
    memory_paused = models.BooleanField(
        default=False, help_text="Nothing of it is remembered."
    )
    model_label = models.CharField(max_length=200, blank=True)
    tier = models.PositiveSmallIntegerField(null=True, blank=True, choices=TierPolicy)
    current_message = models.ForeignKey(
        "Message",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The last message of the branch that is shown.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_active_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-last_active_at"]
        indexes = [
            models.Index(
                fields=["owner", "-last_active_at"], name="conversation_recent"
            )
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)

    @property
    def is_private(self) -> bool:
        """Whether only local hosts may answer, by the persona's flag or by its own."""
        return self.private or self.persona.private


class Message(models.Model):
    """One message in a conversation's tree; an answer's id is also its turn's id."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class State(models.TextChoices):
        GENERATING = "generating"
        COMPLETE = "complete"
        INCOMPLETE = "incomplete"
        INTERRUPTED = "interrupted"
        FAILED = "failed"

    sibling_ids: tuple[uuid.UUID, ...] = ()
    """Messages with the same parent and itself, oldest first; set by ``branch``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="children"
    )
    role = models.CharField(max_length=9, choices=Role)
    text = models.TextField(blank=True)
    state = models.CharField(max_length=11, choices=State, default=State.COMPLETE)
    channel = models.CharField(max_length=32, default="web")
    client_id = models.CharField(max_length=64, blank=True)
    author_name = models.CharField(
        max_length=100, blank=True, help_text="Who wrote it, where others write too."
    )
    from_guest = models.BooleanField(
        default=False, help_text="Somebody else than the owner wrote it."
    )
    # answers only
    model = models.CharField(max_length=200, blank=True)
    tier = models.PositiveSmallIntegerField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    seams = models.JSONField(
        default=list,
        help_text='Where another model went on: [{"at": characters, "model": label}].',
    )
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_nano_usd = models.BigIntegerField(null=True)
    estimated = models.BooleanField(default=False)
    error_code = models.CharField(max_length=32, blank=True)
    error_message = models.CharField(max_length=300, blank=True)
    alive_at = models.DateTimeField(
        null=True, help_text="Refreshed while a process is generating this answer."
    )
    stop_asked = models.BooleanField(
        default=False, help_text="Its person wants no more of it."
    )
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(
        null=True, help_text="Its person deleted it; its text goes when it is purged."
    )
    distilled_at = models.DateTimeField(
        null=True, help_text="It was read for the memory, or is never to be."
    )
    indexed_at = models.DateTimeField(null=True, help_text="Search finds it.")
    forgotten_at = models.DateTimeField(
        null=True, help_text="When its person asked to forget it: never recalled."
    )

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "client_id", "role"],
                condition=~models.Q(client_id=""),
                name="personas_client_id_once_per_person",
            )
        ]
        indexes = [
            models.Index(
                fields=["conversation", "created_at"], name="message_in_order"
            ),
            models.Index(
                fields=["alive_at"],
                condition=models.Q(state="generating"),
                name="message_generating",
            ),
            models.Index(
                fields=["conversation", "created_at"],
                condition=models.Q(distilled_at=None, role="user"),
                name="message_to_distil",
            ),
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="message_deleted",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(indexed_at=None) & ~models.Q(state="generating"),
                name="message_to_index",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"
