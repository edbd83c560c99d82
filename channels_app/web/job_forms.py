"""The form with which a person queues a task."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Final, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from channels_app.api.moments import FARTHEST
from channels_app.errors import TurnError
from channels_app.jobs.queue import NewTask
from channels_app.turn_requests import MAX_TEXT_CHARS, OWN_ID, checked_text
from personas.models import Persona, TierPolicy
from personas.personas import personas_visible_to

TIERS: Final = [
    ("", "As the task needs"),
    *((tier.value, tier.label) for tier in TierPolicy if tier),
]
MINUTE: Final = "%Y-%m-%dT%H:%M"
"""What browsers send of a field for a time, in the person's own zone."""


class _PersonaField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Choose one of one's own personas."""

    def label_from_instance(self, obj: Persona) -> str:
        """Return a persona's name as people see it."""
        return str(obj.display_name)


class NewTaskForm(forms.Form):
    """What is to be done, by whom, and when."""

    text = forms.CharField(
        label="Task",
        strip=False,
        error_messages={"required": "Say what is to be done."},
        widget=forms.Textarea(attrs={"rows": 3, "maxlength": 2 * MAX_TEXT_CHARS}),
    )
    persona = _PersonaField(
        queryset=Persona.objects.none(),
        required=False,
        empty_label="Nobody: the model alone",
        to_field_name="name",
    )
    tier = forms.TypedChoiceField(
        label="How much thought",
        choices=TIERS,
        coerce=int,
        empty_value=None,
        required=False,
    )
    not_before = forms.DateTimeField(
        label="Not before (optional)",
        required=False,
        input_formats=[MINUTE],
        widget=forms.DateTimeInput({"type": "datetime-local"}, MINUTE),
        error_messages={"invalid": "Choose a day and a time, or leave it empty."},
    )
    key = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, user: User, data: Any = None) -> None:
        """Show the form to a person; sent twice, it queues one task."""
        super().__init__(data, initial={"key": uuid.uuid4()})
        self.zone = zone_of(user)
        own = cast(_PersonaField, self.fields["persona"])
        own.queryset = personas_visible_to(user)
        self.fields["not_before"].help_text = f"In {self.zone}."

    def full_clean(self) -> None:
        """Read times as those of the person's clock."""
        with timezone.override(self.zone):
            super().full_clean()

    def clean_text(self) -> str:
        """Return the text as a task keeps it."""
        try:
            return checked_text(str(self.cleaned_data["text"]))
        except TurnError as error:
            raise ValidationError(error.message) from None

    def clean_not_before(self) -> datetime | None:
        """Return a time that is still to come."""
        moment: datetime | None = self.cleaned_data["not_before"]
        now = timezone.now()
        if moment is None or moment <= now:
            return None
        if moment > now + FARTHEST:
            raise ValidationError("At most ten years ahead.")
        return moment

    def new_task(self) -> NewTask:
        """Return the task that was described."""
        given = self.cleaned_data
        # The same form with another text, as after “Back”, is another task.
        name = f"{given['key']} {given['text']}"
        key = f"{OWN_ID}page:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"
        return NewTask(
            given["text"],
            persona=given["persona"],
            tier=given["tier"],
            source="page",
            not_before=given["not_before"],
            idempotency_key=key if given["key"] else "",
        )
