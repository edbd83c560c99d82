"""People and invites in Django's admin.

The admin's sign-in is the product's own, so rate limits and second factors hold there
too. Nothing here shows or takes a secret: links are shown once, never stored, and
passwords, second factors and tokens are not registered. Rows are made and removed by
the verbs of ``accounts.people`` and ``accounts.invites``. People are made by invite and
deleted on the page about people, which also removes what other apps keep of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.generic import RedirectView

from accounts import invites, mails, people
from accounts.models import (
    ADMIN_GROUP,
    MEMBER_GROUP,
    AuditEvent,
    GoogleAddress,
    Invite,
    User,
)
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


class AddedByVerb(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that a verb creates; what it refuses at the last moment is a message."""

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the form, and again when somebody else was faster."""
        try:
            return super().add_view(request, form_url, extra_context)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def has_change_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Refuse for a row: it is replaced, never edited."""
        return obj is None and super().has_change_permission(request, obj)


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """People, with the verbs of ``accounts.people`` as actions."""

    list_display = ["username", "email", "is_active", "role", "last_seen_at"]
    list_filter = ["is_active", "groups"]
    search_fields = ["username", "email"]
    ordering = ["username"]
    fields = ["username", "email", "is_active", "role", "time_zone", "language"]
    readonly_fields = ["username", "email", "is_active", "role"]
    actions = ["deactivate", "activate", "promote", "demote"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: people are invited."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """Refuse: see the module's text."""
        return False

    @admin.display(description="Role", ordering="is_superuser")
    def role(self, person: User) -> str:
        """Return the name of the group that says what the person may do."""
        return ADMIN_GROUP if person.is_superuser else MEMBER_GROUP

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
class InviteAdmin(AddedByVerb):
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
        """Create the invite; ``response_add`` hands out its link."""
        invite, token = invites.create_invite(
            username=obj.username,
            email=obj.email,
            is_admin=obj.is_admin,
            invited_by=cast("User", request.user),
        )
        obj.__dict__.update(invite.__dict__, token=token)

    def response_add(
        self, request: HttpRequest, obj: Invite, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Mail the link and show it, on this page alone."""
        return self._links(request, [mails.hand_out(obj, vars(obj).pop("token"))])

    @admin.action(description="Send again, with a new link")
    def send_again(
        self, request: AuthenticatedHttpRequest, queryset: QuerySet[Invite]
    ) -> HttpResponse:
        """Replace each invite by a fresh one."""
        handed_out, refusals = [], []
        for invite in queryset:
            try:
                fresh, token = invites.renew_invite(invite, actor=request.user)
            except (invites.InviteNotOpen, ValidationError) as error:
                text = " ".join(getattr(error, "messages", [str(error)]))
                refusals.append(f"{invite}: {text}")
            else:
                handed_out.append(mails.hand_out(fresh, token))
        return self._links(request, handed_out, refusals)

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

    def _links(
        self,
        request: HttpRequest,
        handed_out: list[mails.HandedInvite],
        refusals: Iterable[str] = (),
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Links of invites",
            "handed_out": handed_out,
            "refusals": refusals,
        }
        return render(request, "admin/accounts/invite_links.html", context)


class GoogleAddressForm(ModelForm):  # type: ignore[type-arg]
    """A new address, by the same rules as everywhere."""

    class Meta:
        model = GoogleAddress
        fields = ["username", "email"]

    def clean(self) -> dict[str, Any]:
        """Refuse bad names and addresses, and those that are registered."""
        data = super().clean() or {}
        if not self.errors:
            people.check_google_address(data["username"], data["email"])
        return data


@admin.register(GoogleAddress)
class GoogleAddressAdmin(AddedByVerb):
    """Addresses registered for Google sign-in."""

    list_display = ["email", "username", "subject", "created_at"]
    form = GoogleAddressForm

    def save_model(
        self,
        request: HttpRequest,
        obj: GoogleAddress,
        form: ModelForm[GoogleAddress],
        change: bool,
    ) -> None:
        """Register the address."""
        address = people.add_google_address(
            obj.username, obj.email, actor=cast("User", request.user)
        )
        obj.__dict__.update(address.__dict__)

    def delete_model(self, request: HttpRequest, obj: GoogleAddress) -> None:
        """Withdraw the address, which ends its sign-in."""
        people.remove_google_address(obj.email, actor=cast("User", request.user))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[GoogleAddress]
    ) -> None:
        """Withdraw several."""
        for address in queryset:
            self.delete_model(request, address)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """The audit log."""

    list_display = ["created_at", "event", "actor_name", "subject"]
    list_filter = ["event"]
    search_fields = ["actor_name", "subject"]
