"""The registry: hosts, the models on them, and the chains of models per role."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone


class Host(models.Model):
    """A place that answers model calls; shared when it has no owner."""

    class Type(models.TextChoices):
        BUILTIN = "builtin", "Built-in model"
        LOCAL_OPENAI = "local_openai", "OpenAI-compatible server"
        CLAUDE_CLI = "claude_cli", "Claude CLI"
        GEMINI_CLI = "gemini_cli", "Gemini CLI"
        GEMINI_API = "gemini_api", "Gemini API"
        ANTHROPIC_API = "anthropic_api", "Anthropic API"
        SCRIPTED = "scripted", "Scripted (tests)"

    class Credential(models.TextChoices):
        """How a program gets at its account; other types know the key alone."""

        KEY = "key", "An API key"
        TOKEN = "token", "A login token"
        LOGIN = "login", "The program was logged in by hand"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="hosts",
        help_text="Empty = shared with everybody.",
    )
    name = models.CharField(max_length=64)
    type = models.CharField(max_length=32, choices=Type)
    base_url = models.CharField("base URL", max_length=500, blank=True)
    key_encrypted = models.TextField(blank=True, editable=False)
    is_local = models.BooleanField(
        default=False,
        help_text="Text sent here stays in the house; private personas need it.",
    )
    credential = models.CharField(
        max_length=8, choices=Credential, default=Credential.KEY
    )
    enabled = models.BooleanField(default=True)
    auto_enable = models.BooleanField(
        default=False, help_text="Enables itself as soon as it is able to answer."
    )
    flagged = models.CharField(
        max_length=200, blank=True, help_text="Why the host needs attention."
    )
    cooling_until = models.DateTimeField(
        null=True, editable=False, help_text="It asked to be left alone until then."
    )
    tested_state = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="What it was like when it failed the test for which it waits.",
    )
    test_again_at = models.DateTimeField(
        null=True, editable=False, help_text="As it was then, not before this."
    )
    test_pause_s = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        permissions = [
            ("add_free_url", "Can add hosts at addresses of their own choice")
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                name="routing_host_name_once_per_owner",
                violation_error_message="You already have a host with this name.",
            ),
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(owner=None),
                name="routing_shared_host_name_once",
                violation_error_message="A shared host already has this name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Model(models.Model):
    """A model on a host: what it can take, what it costs, how capable it is."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="models")
    label = models.CharField(max_length=100, help_text="The name people pick.")
    name = models.CharField(max_length=200, help_text="The name the host knows.")
    context_tokens = models.PositiveIntegerField(default=8192)
    max_output_tokens = models.PositiveIntegerField(default=2048)
    tier = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(3)]
    )
    tags = models.JSONField(default=list, blank=True)
    enabled = models.BooleanField(default=True)
    input_price_nano_usd_per_mtok = models.BigIntegerField(null=True, blank=True)
    output_price_nano_usd_per_mtok = models.BigIntegerField(null=True, blank=True)
    cache_read_price_nano_usd_per_mtok = models.BigIntegerField(null=True, blank=True)
    cache_write_price_nano_usd_per_mtok = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["host", "name"],
                name="routing_model_once_per_host",
                violation_error_message="This host already has this model.",
            )
        ]

    def __str__(self) -> str:
        return self.label


class RoleSlot(models.Model):
    """One place in a role's ordered chain: 0 = primary, 1–4 = backups.

    It names a model, or by its plain id a type of host: then the type's model of the
    tier decided is meant.
    """

    class PlainId(models.TextChoices):
        BUILTIN = "builtin"
        CLAUDE_CLI = "claude_cli"
        GEMINI_CLI = "gemini_cli"
        GEMINI_API = "gemini_api"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="role_slots",
    )
    role = models.CharField(max_length=32)
    position = models.PositiveSmallIntegerField(validators=[MaxValueValidator(4)])
    model = models.ForeignKey(
        Model, null=True, blank=True, on_delete=models.CASCADE, related_name="slots"
    )
    plain_id = models.CharField(max_length=16, blank=True, choices=PlainId)

    class Meta:
        ordering = ["role", "position"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(model=None, plain_id__gt="")
                | models.Q(model__isnull=False, plain_id=""),
                name="routing_slot_names_one_model",
            ),
            models.UniqueConstraint(
                fields=["owner", "role", "position"], name="routing_one_model_per_slot"
            ),
            models.UniqueConstraint(
                fields=["role", "position"],
                condition=models.Q(owner=None),
                name="routing_one_shared_model_per_slot",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}[{self.position}]"


class RoutingPreferences(models.Model):
    """What a person lets the router do; without a row the defaults hold."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="routing_preferences",
    )
    use_rules = models.BooleanField(
        "judge messages by plain rules",
        default=True,
        help_text="Length, code, attachments and keywords; costs nothing.",
    )
    use_classifier = models.BooleanField(
        "ask a small model where the rules are undecided",
        default=True,
        help_text="Needs a model for the role “classify”.",
    )
    fallback_after_refusal = models.BooleanField(
        "ask the next model when one declines to answer", default=False
    )
    finish_with_another_model = models.BooleanField(
        "finish with another model",
        default=False,
        help_text="When an answer breaks off, the next model continues it.",
    )

    class Meta:
        verbose_name_plural = "routing preferences"

    def __str__(self) -> str:
        return f"routing preferences of {self.owner}"


class RouteDecision(models.Model):
    """Why a model answered: the plan that was made, and what came of it.

    No texts, but the reason, and with it the plan, may hold the classifier's few words
    about a message. They are never written where no preview may be kept, and they go
    with the conversation, see ``routing.decisions.forget_threads``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="route_decisions",
    )
    turn_id = models.UUIDField(
        null=True, unique=True, help_text="The answer it was made for, if there is one."
    )
    thread_id = models.UUIDField(null=True, help_text="The conversation.")
    created_at = models.DateTimeField(default=timezone.now)
    role = models.CharField(max_length=32)
    requested = models.CharField(
        max_length=200, blank=True, help_text="The model or tier that was asked for."
    )
    tier = models.PositiveSmallIntegerField()
    decided_by = models.CharField(
        max_length=12, help_text="explicit, policy, rules, classifier, sticky, default"
    )
    kind = models.CharField(max_length=32, blank=True, help_text="Class of request.")
    confidence = models.FloatField(null=True)
    reason = models.CharField(max_length=200)
    features = models.JSONField(default=dict)
    plan = models.JSONField(default=list)
    notices = models.JSONField(default=list)
    # what came of it
    chosen = models.CharField(max_length=200, blank=True)
    attempts = models.JSONField(default=list)
    neighbours = models.JSONField(default=dict)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_nano_usd = models.BigIntegerField(null=True)
    # a label for how good the choice was
    redo_of = models.UUIDField(
        null=True, help_text="The answer that this one was asked to better."
    )
    redo_step = models.SmallIntegerField(
        null=True, help_text="Tiers up (+) or down (−) from there."
    )

    class Meta:
        indexes = [
            models.Index(fields=["thread_id", "-created_at"], name="decision_thread"),
            models.Index(fields=["owner", "-created_at"], name="decision_owner"),
            models.Index(fields=["redo_of"], name="decision_redo"),
        ]

    def __str__(self) -> str:
        return f"{self.role} → {self.chosen or '–'} (tier {self.tier})"
