"""The registry: hosts, the models on them, and the chains of models per role."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


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
    enabled = models.BooleanField(default=True)
    flagged = models.CharField(
        max_length=200, blank=True, help_text="Why the host needs attention."
    )
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
    """One place in a role's ordered chain: 0 = primary, 1–4 = backups."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="role_slots",
    )
    role = models.CharField(max_length=32)
    position = models.PositiveSmallIntegerField(validators=[MaxValueValidator(4)])
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="slots")

    class Meta:
        ordering = ["role", "position"]
        constraints = [
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
