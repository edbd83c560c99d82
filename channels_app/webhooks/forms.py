"""The forms of the pages about webhooks."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from accounts.forms import RefusableForm
from channels_app.models import WebhookEndpoint
from channels_app.webhooks.announcing import EVENTS

NO_AUTOFILL: Final = {
    "autocomplete": "off",
    "autocapitalize": "none",
    "spellcheck": "false",
    "placeholder": "https://hooks.example.org/cortex",
}


class WebhookForm(RefusableForm):
    """Where to, and what of."""

    url = forms.CharField(
        label="Address",
        max_length=500,
        help_text="Cortex sends a signed POST request there.",
        widget=forms.URLInput(attrs=NO_AUTOFILL),
    )
    events = forms.MultipleChoiceField(
        label="What it hears of",
        choices=list(EVENTS.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )
    enabled = forms.BooleanField(label="In use", required=False)

    def __init__(self, endpoint: WebhookEndpoint | None, data: Any = None) -> None:
        """Show a form for an address, or for a new one."""
        initial: dict[str, Any] = {"events": list(EVENTS)}
        if endpoint is not None:
            initial = {
                "url": endpoint.url,
                "events": endpoint.events,
                "enabled": endpoint.enabled,
            }
        super().__init__(data, initial=initial)
        if endpoint is None:
            del self.fields["enabled"]
