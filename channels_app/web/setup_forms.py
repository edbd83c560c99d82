"""The form of the first persona."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundWidget

from accounts.forms import RefusableForm
from accounts.models import User
from accounts.names import validate_name
from personas.personas import personas_visible_to
from personas.starters import STARTERS


class FirstPersonaForm(RefusableForm):
    """A starter and two names."""

    template = forms.ChoiceField(
        label="Choose a character to begin with",
        choices=[(starter.key, starter.label) for starter in STARTERS],
        initial=STARTERS[0].key,
        widget=forms.RadioSelect,
    )
    display_name = forms.CharField(
        label="What is it called?",
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "Inara"}),
    )
    name = forms.CharField(
        label="Short name for links",
        max_length=32,
        validators=[validate_name],
        help_text="Lower-case letters, digits, “_” and “-”.",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "placeholder": "inara",
            }
        ),
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_name(self) -> str:
        """Refuse a name that another persona of this person has."""
        name: str = self.cleaned_data["name"]
        if personas_visible_to(self.user).filter(name=name).exists():
            raise forms.ValidationError("You already have a persona with this name.")
        return name

    @property
    def starters(self) -> list[tuple[BoundWidget, str]]:
        """Return each radio button with the sentence that describes it."""
        return list(
            zip(
                self["template"].subwidgets,
                [starter.description for starter in STARTERS],
                strict=True,
            )
        )
