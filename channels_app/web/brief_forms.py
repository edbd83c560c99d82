"""The form of a brief: what is asked, when, by whom, and where the answer goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import RefusableForm
from accounts.models import User
from accounts.zones import zone_names
from channels_app.errors import TurnError
from channels_app.job_models import Schedule
from channels_app.jobs import cron
from channels_app.turn_requests import MAX_TEXT_CHARS, checked_text
from channels_app.web import brief_times
from channels_app.web.brief_targets import Target, set_target, value_of
from channels_app.web.brief_times import Simple
from channels_app.web.budget_forms import DollarField
from ledger.money import format_usd
from personas.models import Persona, TierPolicy
from personas.personas import personas_visible_to

_PLACES: Final = {
    "delivery": "target",
    "room": "target",
    "endpoint": "target",
    "conversation": "target",
    "cap_nano_usd": "cap",
}
"""Field of a schedule → where its fault stands on the page."""
_COLUMNS: Final = {
    "name": "name",
    "persona": "persona",
    "prompt": "prompt",
    "expression": "cron",
    "time_zone": "time_zone",
    "tier": "tier",
    "cap": "cap_nano_usd",
    "enabled": "enabled",
}
"""What the form knows → field of a schedule."""
_STEPS: Final = tuple(
    (str(step), "every hour" if step == 1 else f"every {step} hours")
    for step in brief_times.STEPS
)
_MONTH_DAYS: Final = tuple(
    (day, "the last day" if day == brief_times.LAST_DAY else f"{day}.")
    for day in brief_times.MONTH_DAYS
)


class BriefForm(RefusableForm):
    """Everything that a person says about a brief."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        error_messages={"required": "Give the brief a name."},
        widget=forms.TextInput(attrs={"placeholder": "Morning paper"}),
    )
    persona = forms.ModelChoiceField(
        label="Who answers",
        queryset=Persona.objects.none(),
        to_field_name="name",
        empty_label=None,
        error_messages={"invalid_choice": "There is no such persona."},
    )
    prompt = forms.CharField(
        label="What to ask",
        max_length=MAX_TEXT_CHARS,
        error_messages={"required": "Write what is to be asked."},
        widget=forms.Textarea(
            attrs={
                "rows": 5,
                "placeholder": "What is on my list today? Three lines, please.",
            }
        ),
    )
    how = forms.ChoiceField(
        label="When", choices=brief_times.CHOICES, widget=forms.RadioSelect
    )
    weekdays = forms.TypedMultipleChoiceField(
        label="On",
        choices=brief_times.WEEKDAYS,
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    month_day = forms.ChoiceField(label="On day", choices=_MONTH_DAYS, required=False)
    hours = forms.TypedChoiceField(
        label="How often", choices=_STEPS, coerce=int, required=False
    )
    time = forms.TimeField(
        label="At",
        required=False,
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        error_messages={"invalid": "Enter a time such as 07:00."},
    )
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=cron.MAX_CHARS,
        help_text="Minute, hour, day of the month, month, day of the week.",
        widget=forms.TextInput(
            attrs={
                "class": "mono",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "placeholder": "0 7 * * 1-5",
            }
        ),
    )
    time_zone = forms.ChoiceField(
        label="Time zone",
        error_messages={"invalid_choice": "There is no such time zone."},
    )
    target = forms.ChoiceField(
        label="Where the answer goes",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose where the answer goes.",
            "invalid_choice": "That place is gone: choose another one.",
        },
    )
    tier = forms.TypedChoiceField(
        label="How much thought",
        coerce=int,
        empty_value=None,
        required=False,
        choices=[
            ("", "As set for the persona"),
            *(
                (tier.value, tier.label)
                for tier in (TierPolicy.QUICK, TierPolicy.BALANCED, TierPolicy.DEEP)
            ),
        ],
    )
    cap = DollarField(
        label="A run may cost at most (USD)",
        required=False,
        help_text="Empty = no limit but your budgets.",
    )
    enabled = forms.BooleanField(label="Switched on", required=False)

    def __init__(
        self,
        user: User,
        targets: Iterable[Target],
        schedule: Schedule | None = None,
        data: Any = None,
        initial: dict[str, Any] | None = None,
    ) -> None:
        """Show a form for a brief, or with ``initial`` for a new one."""
        values = {
            "enabled": True,
            "time_zone": user.time_zone,
            **brief_times.in_fields(brief_times.as_cron(Simple())),
        }
        values |= (initial or {}) if schedule is None else _values(schedule)
        super().__init__(data, auto_id="brief_%s", initial=values)
        self.targets = tuple(targets)
        fields: dict[str, Any] = self.fields
        fields["persona"].queryset = personas_visible_to(user)
        fields["time_zone"].choices = [(name, name) for name in sorted(zone_names())]
        fields["target"].choices = [(each.value, each.label) for each in self.targets]

    @property
    def places(self) -> list[tuple[Target, bool]]:
        """Return each target, and whether it is the chosen one."""
        chosen = self["target"].value()
        return [(each, each.value == chosen) for each in self.targets]

    def clean_prompt(self) -> str:
        """Return the text as a message has it."""
        try:
            return checked_text(self.cleaned_data["prompt"])
        except TurnError as error:
            raise ValidationError(error.message) from None

    def clean(self) -> dict[str, Any]:
        """Make the cron expression of what was chosen."""
        given = super().clean() or self.cleaned_data
        expression = self.chosen_cron()
        if expression is not None:
            given["expression"] = expression
        return given

    def chosen_cron(self) -> str | None:
        """Return the expression that was chosen; ``None`` = a field has an error."""
        given = self.cleaned_data
        how = given.get("how")
        if how is None or how == brief_times.ADVANCED:
            return self._typed_cron() if how else None
        if how == brief_times.WEEKLY and not given.get("weekdays"):
            if "weekdays" not in self.errors:
                self.add_error("weekdays", "Choose at least one day.")
            return None
        if given.get("time") is None:
            if "time" not in self.errors:
                self.add_error("time", "Enter a time such as 07:00.")
            return None
        return brief_times.as_cron(
            Simple(
                how,
                given["time"],
                tuple(given.get("weekdays") or ()),
                given.get("month_day") or "1",
                given.get("hours") or 1,
            )
        )

    def _typed_cron(self) -> str | None:
        typed = " ".join(self.cleaned_data.get("cron", "").split())
        try:
            cron.check(typed, "UTC")
        except ValidationError as error:
            if "cron" not in self.errors:
                self.add_error("cron", error.message_dict["cron"])
            return None
        return typed

    def put_into(self, schedule: Schedule) -> None:
        """Put what was typed, as far as it is right, into a brief that is not saved."""
        given = self.cleaned_data
        for name, column in _COLUMNS.items():
            if name in given:
                setattr(schedule, column, given[name])
        if "target" in given:
            set_target(schedule, given["target"])

    def add_refusal(self, error: ValidationError) -> None:
        """Show a refusal beside the field where it was typed."""
        if not hasattr(error, "error_dict"):
            super().add_refusal(error)
            return
        for name, errors in error.error_dict.items():
            place: str | None = _PLACES.get(name, name)
            if name == "cron" and self.cleaned_data.get("how") != brief_times.ADVANCED:
                place = "how"
            self.add_error(place if place in self.fields else None, errors)


def _values(schedule: Schedule) -> dict[str, Any]:
    """Return a brief as the form shows it."""
    cap = schedule.cap_nano_usd
    return {
        "name": schedule.name,
        "persona": schedule.persona.name,
        "prompt": schedule.prompt,
        "time_zone": schedule.time_zone,
        "target": value_of(schedule),
        "tier": "" if schedule.tier is None else schedule.tier,
        "cap": None if cap is None else format_usd(cap),
        "enabled": schedule.enabled,
        **brief_times.in_fields(schedule.cron),
    }
