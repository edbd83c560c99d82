"""The append-only ledger of model calls, its previews, and budgets.

Rows of the ledger hold plain values instead of foreign keys, so that they outlive what
they name. A budget is named there, in requests and in notices by its key: scope and
period with a colon between, such as ``person:day``.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone


class LedgerEntry(models.Model):
    """One immutable row: a reservation, its closing, a correction, or a grant.

    ``reserve`` is written before the network call, exactly one ``settle`` or
    ``release`` closes it; ``adjust`` corrects a closed attempt; ``grant`` adds to a
    budget and is no call. Token counts and cost are NULL when unknown. Input tokens
    include cache reads and writes.
    """

    class Kind(models.TextChoices):
        RESERVE = "reserve"
        SETTLE = "settle"
        RELEASE = "release"
        ADJUST = "adjust"
        GRANT = "grant"

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
    # only where they apply, else NULL: rows without them hash as they always did
    background = models.BooleanField(null=True)
    budget = models.CharField(
        max_length=20, null=True, help_text="Key of the budget that a grant adds to."
    )
    granted_nano_usd = models.BigIntegerField(null=True)
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
            models.UniqueConstraint(
                fields=["attempt_id"],
                condition=models.Q(kind="grant"),
                name="ledger_one_row_per_grant",
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
    """How much may be spent in a period.

    ``user`` NULL: for each person who has none of their own for this scope and period;
    for the scope ``shared``, which has no person: for everybody together.
    """

    class Scope(models.TextChoices):
        PERSON = "person", "all calls of a person"
        SHARED = "shared", "everybody together"
        BACKGROUND = "background", "background work of a person"

    class Period(models.TextChoices):
        DAY = "day"
        WEEK = "week"
        MONTH = "month"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE
    )
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.PERSON)
    period = models.CharField(max_length=8, choices=Period)
    limit_nano_usd = models.BigIntegerField()
    hard = models.BooleanField(
        default=True,
        help_text="Refuse what does not fit. Otherwise warn, and choose cheap models.",
    )
    roll_over = models.BooleanField(
        default=False,
        help_text="What is left moves on to the next period, up to one period's limit.",
    )
    counts_notional = models.BooleanField(
        default=False, help_text="Also count calls that a subscription covers."
    )
    terms_since = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text="Since when it says this; nothing rolls over from before.",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "scope", "period"], name="ledger_budget_once"
            ),
            models.UniqueConstraint(
                fields=["scope", "period"],
                condition=models.Q(user=None),
                name="ledger_budget_once_for_all",
            ),
            models.CheckConstraint(
                condition=~models.Q(scope="shared") | models.Q(user=None),
                name="ledger_shared_budget_has_no_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit_nano_usd / 1e9:.2f} USD a {self.period}"

    @property
    def key(self) -> str:
        """How rows name this budget: scope and period, such as ``shared:month``."""
        return f"{self.scope}:{self.period}"


class BudgetPeriod(models.Model):
    """The period that a person's budgets are in, kept against a change of their zone.

    ``start`` and ``end`` are midnights in the zone that is named by ``zone``.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    period = models.CharField(max_length=8, choices=Budget.Period)
    zone = models.CharField(max_length=64)
    start = models.DateTimeField()
    end = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "period"], name="ledger_one_period_kept"
            )
        ]

    def __str__(self) -> str:
        return f"{self.period} from {self.start:%Y-%m-%d %H:%M} UTC"


class BudgetRequest(models.Model):
    """Somebody asks for more in the present period; one open request a person."""

    class State(models.TextChoices):
        OPEN = "open"
        GRANTED = "granted"
        DECLINED = "declined"
        WITHDRAWN = "withdrawn"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    budget = models.CharField(max_length=20)
    amount_nano_usd = models.BigIntegerField()
    reason = models.CharField(max_length=300, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    grant_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    decided_at = models.DateTimeField(null=True, editable=False)
    decided_by = models.CharField(max_length=32, blank=True, editable=False)
    granted_nano_usd = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=models.Q(state="open"),
                name="ledger_one_open_request",
            )
        ]
        indexes = [models.Index(fields=["state"], name="ledger_request_by_state")]

    def __str__(self) -> str:
        return f"request {self.pk} ({self.state})"


class BudgetNotice(models.Model):
    """Somebody was told how far a budget is used up: once a period and threshold."""

    budget = models.CharField(max_length=20)
    user_id = models.BigIntegerField()
    period_start = models.DateTimeField()
    percent = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user_id", "budget", "period_start", "percent"],
                name="ledger_told_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.budget} at {self.percent} %"
