"""How a refusal of the registry is shown in a form."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError


class RefusalForm(forms.BaseForm):
    """Takes a refusal of ``routing.hosts`` over into a form."""

    def add_refusal(self, error: ValidationError) -> None:
        """Show each sentence at its field, or above the form."""
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        for name, errors in error.error_dict.items():
            field = name if name in self.fields else None
            self.add_error(field, errors)
