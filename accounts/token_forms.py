"""The form for a new access token."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts import tokens
from accounts.forms import RefusableForm
from accounts.models import User

SCOPE_LABELS = {
    "chat": "Chat: talk to your personas and read their answers",
    "task": "Task: have single tasks done",
    "ledger": "Ledger: see what your own calls cost",
    "admin": "Administration: see what everybody's calls cost, never a text",
}
LIFETIMES = [
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "a year"),
    ("", "until it is revoked"),
]
DEFAULT_LIFETIME = "90"


class TokenForm(RefusableForm):
    """What a new token is for, what it may do, and for how long."""

    name = forms.CharField(
        label="What it is for",
        max_length=tokens.MAX_NAME_CHARS,
        help_text="Such as “backup script” or the name of a program.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        widget=forms.CheckboxSelectMultiple,
        initial=tokens.SCOPES,
    )
    days = forms.ChoiceField(
        label="Valid for",
        choices=LIFETIMES,
        initial=DEFAULT_LIFETIME,
        required=False,
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)  # noqa: S101
        scopes.choices = [
            (scope, SCOPE_LABELS[scope]) for scope in tokens.scopes_for(user)
        ]

    def clean_days(self) -> int | None:
        """Return the lifetime in days; ``None`` = until it is revoked."""
        chosen: str = self.cleaned_data["days"]
        return int(chosen) if chosen else None
