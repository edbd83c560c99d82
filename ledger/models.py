"""The append-only ledger of model calls, its previews, and budgets.

Rows hold plain values instead of foreign keys, so that they outlive what they name.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class LedgerEntry(models.Model):
    """One immutable row: a reservation, its closing, or a correction.

    ``reserve`` is written before the network call, exactly one ``settle`` or
    ``release`` closes it; ``adjust`` corrects a closed attempt. Token counts and cost
    are NULL when unknown. Input tokens include cache reads and writes.
    """

    class Kind(models.TextChoices):
        RESERVE = "reserve"
        SETTLE = "settle"
        RELEASE = "release"
        ADJUST = "adjust"

    class Outcome(models.TextChoices):
        COMPLETE = "complete"
        INCOMPLETE = "incomplete"
        INTERRUPTED = "interrupted"
        FAILED = "failed"

    class Billing(models.TextChoices):
        METERED = "metered"
        NOTIONAL = "notional"
        LOCAL = "local"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=8, choices=Kind)
    attempt_id = models.UUIDField(db_index=True)
    created_at = models.DateTimeField(default=timezone.now)
    # who and where, as plain values
    user_id = models.BigIntegerField(null=True)
    user_name = models.CharField(max_length=32, blank=True)
    persona_id = models.BigIntegerField(null=True)
    persona_name = models.CharField(max_length=32, blank=True)
    channel = models.CharField(max_length=32, blank=True)
    turn_id = models.UUIDField(null=True)
    role = models.CharField(max_length=32)
    # what answered
    host_type = models.CharField(max_length=32)
    model_id = models.CharField(max_length=200)
    model_name = models.CharField(max_length=200)
    tier = models.PositiveSmallIntegerField(null=True)
    attempt_number = models.PositiveSmallIntegerField(default=1)
    # what happened
    outcome = models.CharField(max_length=12, choices=Outcome, blank=True)
    error_code = models.CharField(max_length=32, blank=True)
    elapsed_ms = models.BigIntegerField(null=True)
    first_token_ms = models.BigIntegerField(null=True)
    # what it used and cost
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cache_read_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    estimated = models.BooleanField(default=False)
    billing = models.CharField(max_length=8, choices=Billing, default=Billing.METERED)
    input_price_nano_usd_per_mtok = models.BigIntegerField(null=True)
    output_price_nano_usd_per_mtok = models.BigIntegerField(null=True)
    cache_read_price_nano_usd_per_mtok = models.BigIntegerField(null=True)
    cache_write_price_nano_usd_per_mtok = models.BigIntegerField(null=True)
    reserved_nano_usd = models.BigIntegerField(null=True)
    cost_nano_usd = models.BigIntegerField(null=True)
    note = models.CharField(
        max_length=200, blank=True, help_text="Why an adjustment was made."
    )
    # the chain
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["attempt_id"],
                condition=models.Q(kind="reserve"),
                name="ledger_one_reserve_per_attempt",
            ),
            models.UniqueConstraint(
                fields=["attempt_id"],
                condition=models.Q(kind__in=["settle", "release"]),
                name="ledger_one_closing_per_attempt",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "-id"], name="ledger_by_user"),
            models.Index(fields=["user_id", "created_at"], name="ledger_by_user_time"),
            models.Index(fields=["kind", "created_at"], name="ledger_by_kind"),
            models.Index(fields=["turn_id"], name="ledger_by_turn"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.kind} {self.model_id}"


class LedgerPreview(models.Model):
    """The first characters of a prompt, encrypted, for its owner alone; deletable."""

    attempt_id = models.UUIDField(primary_key=True)
    user_id = models.BigIntegerField(db_index=True)
    text_encrypted = models.TextField()

    def __str__(self) -> str:
        return f"preview of {self.attempt_id}"


class Budget(models.Model):
    """How much a person may spend in a period; NULL ``user`` is everybody's default."""

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE
    )
    period = models.CharField(max_length=8, choices=Period)
    limit_nano_usd = models.BigIntegerField()
    counts_notional = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "period"], name="ledger_budget_once_per_period"
            ),
            models.UniqueConstraint(
                fields=["period"],
                condition=models.Q(user=None),
                name="ledger_default_budget_once_per_period",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit_nano_usd / 1e9:.2f} USD a {self.period}"
