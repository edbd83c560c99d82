"""People and invites in Django's admin.

The admin's sign-in is the product's own, so rate limits and second factors hold there
too. Nothing here shows or takes a secret: links are shown once, in a message, and
passwords, second factors and tokens are not registered. People are made by invite and
deleted on the page about people, which also removes what other apps keep of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.views.generic import RedirectView

from accounts import invites, mails, people
from accounts.models import AuditEvent, GoogleAddress, Invite, User
from accounts.requests import AuthenticatedHttpRequest

admin.site.site_header = admin.site.site_title = "Cortex"
admin.site.index_title = "Administration"
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# Django's own page for one's password has no rate limit.
_to_password_page = RedirectView.as_view(pattern_name="account_change_password")
admin.site.password_change = _to_password_page  # type: ignore[assignment]
admin.site.password_change_done = _to_password_page  # type: ignore[assignment]

for model in (
    Authenticator,
    EmailAddress,
    EmailConfirmation,
    Group,
    SocialAccount,
    SocialApp,
    SocialToken,
    UserSession,
):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Refuse."""
        return False


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """People, with the verbs of ``accounts.people`` as actions."""

    list_display = ["username", "email", "is_active", "is_superuser", "last_seen_at"]
    list_filter = ["is_active", "is_superuser"]
    search_fields = ["username", "email"]
    ordering = ["username"]
    fields = ["username", "email", "is_active", "is_superuser", "time_zone", "language"]
    readonly_fields = ["username", "email", "is_active", "is_superuser"]
    actions = ["deactivate", "activate", "promote", "demote"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: people are invited."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """Refuse: see the module's text."""
        return False

    @admin.action(description="Deactivate: end sessions and tokens")
    def deactivate(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[User]
    ) -> None:
        """Shut people out."""
        self._each(request, queryset, people.deactivate, "deactivated")

    @admin.action(description="Activate again")
    def activate(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[User]
    ) -> None:
        """Let people sign in again."""
        self._each(request, queryset, people.activate, "activated")

    @admin.action(description="Make administrators")
    def promote(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[User]
    ) -> None:
        """Make people administrators."""
        self._each(request, queryset, people.promote, "promoted")

    @admin.action(description="Make plain members")
    def demote(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[User]
    ) -> None:
        """Make administrators plain members."""
        self._each(request, queryset, people.demote, "made a member")

    def _each(
        self,
        request: AuthenticatedHttpRequest,
        queryset: QuerySet[User],
        verb: Callable[..., None],
        done: str,
    ) -> None:
        for person in queryset:
            try:
                verb(person, actor=request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"“{person.username}” is {done}.")


class InviteForm(ModelForm):  # type: ignore[type-arg]
    """A new invite, by the same rules as everywhere."""

    class Meta:
        model = Invite
        fields = ["username", "email", "is_admin"]

    def clean(self) -> dict[str, Any]:
        """Refuse bad and taken names and addresses."""
        data = super().clean() or {}
        if not self.errors:
            invites.check_invite(data["username"], data["email"])
        return data


@admin.register(Invite)
class InviteAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Invites: create, send again, withdraw. A link is shown once, when it is made."""

    list_display = [
        "__str__",
        "email",
        "is_admin",
        "state",
        "invited_by",
        "created_at",
        "expires_at",
    ]
    search_fields = ["username", "email"]
    form = InviteForm
    actions = ["send_again", "revoke"]

    def has_change_permission(
        self, request: HttpRequest, obj: Invite | None = None
    ) -> bool:
        """Refuse for a row: an invite is replaced, never edited."""
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(
        self, request: HttpRequest, obj: Invite | None = None
    ) -> bool:
        """Refuse: an old link must be able to say why it is closed."""
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: Invite,
        form: ModelForm[Invite],
        change: bool,
    ) -> None:
        """Create the invite, mail its link and show it once."""
        invite, token = invites.create_invite(
            username=obj.username,
            email=obj.email,
            is_admin=obj.is_admin,
            invited_by=cast("User", request.user),
        )
        obj.pk = invite.pk
        obj.__dict__.update(invite.__dict__)
        self._hand_out(request, invite, token)

    @admin.action(description="Send again, with a new link")
    def send_again(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[Invite]
    ) -> None:
        """Replace each invite by a fresh one."""
        for invite in queryset:
            try:
                fresh, token = invites.renew_invite(invite, actor=request.user)
            except (invites.InviteNotOpen, ValidationError) as error:
                text = " ".join(getattr(error, "messages", [str(error)]))
                self.message_user(request, f"{invite}: {text}", messages.ERROR)
            else:
                self._hand_out(request, fresh, token)

    @admin.action(description="Withdraw")
    def revoke(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[Invite]
    ) -> None:
        """Close each invite."""
        for invite in queryset:
            try:
                invites.revoke_invite(invite, actor=request.user)
            except invites.InviteNotOpen as error:
                self.message_user(request, f"{invite}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"The {invite} is withdrawn.")

    def _hand_out(self, request: HttpRequest, invite: Invite, token: str) -> None:
        mailed = mails.send_invite(invite, token)
        sent = "The link was mailed" if mailed else "No mail was sent; pass on the link"
        self.message_user(request, f"{sent}: {invites.setup_link(token)}")


@admin.register(GoogleAddress)
class GoogleAddressAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Addresses registered for Google sign-in."""

    list_display = ["email", "username", "subject", "created_at"]
    fields = ["username", "email"]

    def has_change_permission(
        self, request: HttpRequest, obj: GoogleAddress | None = None
    ) -> bool:
        """Refuse for a row: delete it and register another one."""
        return obj is None and super().has_change_permission(request, obj)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """The audit log."""

    list_display = ["created_at", "event", "actor_name", "subject"]
    list_filter = ["event"]
    search_fields = ["actor_name", "subject"]
