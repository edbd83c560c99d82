"""People, their invites, access tokens and registered Google addresses."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.names import validate_name

ADMIN_GROUP = "admin"
MEMBER_GROUP = "member"


class User(AbstractUser):
    """A person of this installation; the group says whether they administer it."""

    username = models.CharField(
        "user name", max_length=32, unique=True, validators=[validate_name]
    )
    email = models.EmailField("e-mail address", blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    language = models.CharField(max_length=8, default="en")
    last_seen_at = models.DateTimeField(null=True, blank=True, editable=False)
    daily_digest = models.BooleanField(
        "daily digest by e-mail",
        default=False,
        help_text="Each morning, what the day before brought and what it cost.",
    )
    session_epoch = models.PositiveIntegerField(
        default=0,
        editable=False,
        help_text="Counted up to end every session of this person for good.",
    )

    class Meta(AbstractUser.Meta):  # type: ignore[name-defined, misc]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="accounts_user_email_unique",
                condition=~models.Q(email=""),
                violation_error_message="This e-mail address is in use.",
            )
        ]

    @property
    def is_admin(self) -> bool:
        """Whether this person administers the installation (group ``admin``)."""
        return self.is_active and self.is_superuser

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Bind sessions to the epoch too, so that counting it up ends them all.

        Django calls this for the current secret key and for each older one.
        """
        return salted_hmac(
            "accounts.models.User.session_auth_hash",
            f"{self.password}|{self.session_epoch}",
            secret=secret,
            algorithm="sha256",
        ).hexdigest()


class Invite(models.Model):
    """A link with which one person sets up their account, once, within 72 hours."""

    class State(models.TextChoices):
        OPEN = "open"
        USED = "used"
        EXPIRED = "expired"
        REVOKED = "revoked"

    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    username = models.CharField(max_length=32, blank=True)
    email = models.EmailField(blank=True)
    is_admin = models.BooleanField(default=False)
    invited_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    used_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"invite for {self.username or self.email or 'the administrator'}"

    @property
    def state(self) -> Invite.State:
        """Say whether the link can still be used, and if not, why."""
        if self.used_at:
            return self.State.USED
        if self.revoked_at:
            return self.State.REVOKED
        if self.expires_at <= timezone.now():
            return self.State.EXPIRED
        return self.State.OPEN


class PasswordReset(models.Model):
    """A mailed link with which one person chooses a new password, once, within an hour.

    ``stamp`` depends on the password and the address at the time of the request, so
    that a change of either ends the link. A request for an unknown address leaves a
    row too (without ``user``), because both must take the same steps.
    """

    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    stamp = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"password reset {self.pk}"


class GoogleAddress(models.Model):
    """An address a person may sign in with by Google; bound to ``sub`` on first use.

    The user name is a plain value, because addresses are registered before setup too.
    """

    username = models.CharField(max_length=32)
    email = models.EmailField(unique=True)
    subject = models.CharField("Google's sub", max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "Google address"
        verbose_name_plural = "Google addresses"

    def __str__(self) -> str:
        return f"{self.email} for {self.username}"


class ApiToken(models.Model):
    """A bearer token of a person; only the hash of its secret is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=64, blank=True)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"token {self.id} of {self.user_id}"


class AuditEvent(models.Model):
    """Something that changed who may do what; never holds message text or secrets."""

    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    event = models.CharField(max_length=64)
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=32, blank=True)
    subject = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"
