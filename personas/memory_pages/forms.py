"""The form that says when a persona remembers by itself."""

from __future__ import annotations

from typing import Any

from django import forms

from personas.models import MemorySettings, Persona

REVIEW_CHOICES = (
    ("0", "At once"),
    ("1", "After a day"),
    ("3", "After 3 days"),
    ("7", "After 7 days"),
    ("30", "After 30 days"),
    ("", "Only when I accept it"),
)
_NEVER_DISTILS = (
    "Say when: fill in at least one of the three, or switch remembering off."
)


class MemorySettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """When a persona remembers by itself, and how long one may look at it first."""

    idle_minutes = forms.IntegerField(
        label="After so many quiet minutes",
        required=False,
        min_value=1,
        max_value=10_080,
        help_text="When nobody has written for so long. Empty = never for this.",
    )
    after_messages = forms.IntegerField(
        label="After so many new messages",
        required=False,
        min_value=1,
        max_value=1_000,
        help_text="Also while you still write. Empty = never for this.",
    )
    daily_at = forms.TimeField(
        label="Each day at",
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        help_text="Where you live. Empty = never for this.",
    )
    review_days = forms.TypedChoiceField(
        label="What it proposes enters the memory",
        required=False,
        coerce=int,
        empty_value=None,
        choices=REVIEW_CHOICES,
        help_text="Until then it waits on this page. You can undo it at any time.",
    )

    class Meta:
        model = MemorySettings
        fields = [
            "enabled",
            "idle_minutes",
            "after_messages",
            "daily_at",
            "review_days",
        ]
        labels = {"enabled": "Remember by itself"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        days = self.instance.review_days
        field = self.fields["review_days"]
        assert isinstance(field, forms.TypedChoiceField)  # noqa: S101  declared above
        if days is None:
            # Django shows no value at all as the first choice, which says “at once”.
            self.initial["review_days"] = ""
        elif str(days) not in dict(REVIEW_CHOICES):
            # Somebody chose it elsewhere; saving must not change it silently.
            field.choices = [(str(days), f"After {days} days"), *REVIEW_CHOICES]

    def clean(self) -> dict[str, Any]:
        """Refuse a memory that is on and has no moment to begin."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        triggers = ("idle_minutes", "after_messages", "daily_at")
        wrong = any(name in self.errors for name in triggers)
        nothing = all(values.get(name) is None for name in triggers)
        if values.get("enabled") and nothing and not wrong:
            raise forms.ValidationError(_NEVER_DISTILS)
        return values

    def keep(self, persona: Persona) -> None:
        """Save what was chosen and nothing else: others write into the same row."""
        chosen = {name: self.cleaned_data[name] for name in self.Meta.fields}
        MemorySettings.objects.update_or_create(persona=persona, defaults=chosen)
