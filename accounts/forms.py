"""The forms of setting up, signing in again and one's own settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import (
    password_validators_help_text_html,
    validate_password,
)
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts import mails
from accounts.models import Invite, User
from accounts.names import validate_name
from accounts.resets import request_reset
from accounts.zones import zone_names

NEW_PASSWORD = {"autocomplete": "new-password"}


class RefusableForm(forms.Form):
    """A form that can also show what only the database knew."""

    def add_refusal(self, error: ValidationError) -> None:
        """Show a refusal at its field; those of fields it lacks stand above."""
        for name, errors in getattr(error, "error_dict", {None: [error]}).items():
            self.add_error(name if name in self.fields else None, errors)


class NewPasswordForm(RefusableForm):
    """Two equal, strong passwords; ``person`` is whom they must not resemble."""

    password1 = forms.CharField(
        label="Password",
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs=NEW_PASSWORD),
    )
    password2 = forms.CharField(
        label="Password again",
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs=NEW_PASSWORD),
    )

    def person(self) -> User:
        """Return the person the password is for."""
        return User()

    @property
    def password_rules(self) -> str:
        """Return the rules for passwords as a list in safe HTML."""
        return str(password_validators_help_text_html())

    def clean(self) -> dict[str, Any]:
        """Check that both are equal and strong enough."""
        data = super().clean() or {}
        first, second = data.get("password1"), data.get("password2")
        if first and second and first != second:
            self.add_error("password2", "The two passwords are not the same.")
        elif first:
            try:
                validate_password(first, self.person())
            except ValidationError as error:
                self.add_error("password1", error)
        return data


class SetupForm(NewPasswordForm):
    """The first page of a new person: what the invite fixes is not asked."""

    username = forms.CharField(
        label="User name",
        max_length=32,
        validators=[validate_name],
        help_text="Lower-case letters, digits, “_” and “-”. It stays the same later.",
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    email = forms.EmailField(
        label="E-mail address",
        required=False,
        help_text="For signing in and for resetting the password. Not required.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    field_order = ["username", "email", "password1", "password2"]

    def __init__(self, invite: Invite, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invite = invite
        if invite.username:
            del self.fields["username"]
        if invite.email:
            del self.fields["email"]

    def person(self) -> User:
        """Return the account as it will be."""
        return User(username=self.chosen("username"), email=self.chosen("email"))

    def chosen(self, field: str) -> str:
        """Return the invite's value, or else what was typed."""
        fixed: str = getattr(self.invite, field)
        return fixed or self.cleaned_data.get(field, "")


class ResetPasswordForm(forms.Form):
    """Ask for a link by mail; allauth's page uses it in place of its own form."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link; an unknown address is told so, by mail alone."""
        email: str = self.cleaned_data["email"].lower()
        user, token = request_reset(email)
        mails.send_reset(email, user, token)
        return email


class ResetForm(NewPasswordForm):
    """Choose a new password behind a reset link."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def person(self) -> User:
        """Return whose password is reset."""
        return self.user


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Language and time zone of one's own pages, and whether to send a digest."""

    language = forms.ChoiceField(choices=settings.LANGUAGES)
    time_zone = forms.ChoiceField(
        choices=[(name, name) for name in sorted(zone_names())]
    )

    class Meta:
        model = User
        fields = ["time_zone", "language", "daily_digest"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["daily_digest"]
        if mails.printed():
            field.help_text += " No mail server is set up here, so none is sent."
        elif not self.instance.email:
            field.help_text += " It needs an e-mail address of yours."

    @property
    def page(self) -> list[forms.BoundField]:
        """The fields about one's pages."""
        return [self["time_zone"], self["language"]]
