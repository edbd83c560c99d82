"""The forms of the persona pages; what they may contain is decided by the verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings

from accounts.forms import RefusableForm
from accounts.names import validate_name
from personas.files import MAX_NAME_LENGTH
from personas.models import Persona
from personas.starters import STARTERS

NO_AUTOFILL = {"autocomplete": "off"}


class NewPersonaForm(RefusableForm):
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
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    name = forms.CharField(
        label="Short name for links",
        max_length=32,
        validators=[validate_name],
        help_text="Lower-case letters, digits, “_”, “-”; it cannot be changed later.",
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "autocapitalize": "none"}),
    )

    @property
    def starters(self) -> Iterable[tuple[Any, str]]:
        """Return each radio button with the sentence that describes it."""
        descriptions = [starter.description for starter in STARTERS]
        return zip(self["template"].subwidgets, descriptions, strict=True)


class PersonaForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a persona is called, looks like, and which models may answer for it."""

    tier = forms.TypedChoiceField(
        label="Model tier",
        required=False,
        coerce=int,
        empty_value=None,
        choices=[
            ("", "As the chain of its model role says"),
            (0, "Automatic: judged for each message, as cheap as it can be"),
            (1, "Quick: fast and cheap"),
            (2, "Balanced: for everyday work"),
            (3, "Deep: the most capable models"),
        ],
        help_text="For new chats; each can choose another one.",
    )
    context_tier = forms.TypedChoiceField(
        label="What it knows while it answers",
        coerce=int,
        choices=[
            (1, "Its identity only"),
            (2, "Identity, soul, you, short and mid memory"),
            (3, "All of that, long memory, its other files and older chats"),
        ],
        help_text="More takes longer to read and costs more with each message.",
    )
    model_role = forms.ChoiceField(
        label="Model role",
        help_text="Which of your model chains answers.",
    )

    class Meta:
        model = Persona
        fields = [
            "display_name",
            "avatar",
            "color",
            "private",
            "model_role",
            "tier",
            "context_tier",
        ]
        labels = {"display_name": "Name", "private": "Private", "avatar": "Avatar"}
        widgets = {
            "display_name": forms.TextInput(attrs=NO_AUTOFILL),
            "avatar": forms.TextInput(attrs=NO_AUTOFILL),
            "color": forms.RadioSelect,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = list(settings.MODEL_ROLES)
        if self.instance.model_role not in roles:
            # It was taken out of the settings; saving must not change it silently.
            roles.append(self.instance.model_role)
        field = self.fields["model_role"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  declared above
        field.choices = [(role, role) for role in roles]


class FileForm(RefusableForm):
    """The editor of one file."""

    # Not stripped: a file is saved as it was typed, to the last empty line.
    text = forms.CharField(
        label="Text",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"class": "code", "rows": 24}),
    )
    private = forms.BooleanField(
        label="Private: only used when you are alone with the persona",
        required=False,
    )
    reason = forms.CharField(
        label="What did you change?",
        required=False,
        max_length=200,
        help_text="Optional; shown in the history.",
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    expected_revision = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def clean_text(self) -> str:
        """Undo the line ends that browsers send."""
        text: str = self.cleaned_data["text"]
        return text.replace("\r\n", "\n")


class NewFileForm(RefusableForm):
    """The name of a free file."""

    name = forms.CharField(
        label="New file",
        max_length=MAX_NAME_LENGTH,
        help_text="For example recipes.md; .md, .txt or .json.",
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "autocapitalize": "none"}),
    )


class DeletePersonaForm(RefusableForm):
    """The persona's short name, typed again."""

    name = forms.CharField(
        label="Type the short name to confirm",
        max_length=32,
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "autocapitalize": "none"}),
    )

    def __init__(self, persona: Persona, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.persona = persona

    def clean_name(self) -> str:
        """Accept nothing but the persona's name."""
        name: str = self.cleaned_data["name"].strip()
        if name != self.persona.name:
            raise forms.ValidationError(
                "This is not the short name of this persona; nothing was deleted."
            )
        return name
