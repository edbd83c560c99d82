"""The forms of the pages about channels; what is allowed is decided by the verbs.

Secrets are write-only: their fields are always empty and change something only when
they are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import RefusableForm
from accounts.models import User
from channels_app.bots import channel_rules
from channels_app.bots.channel_settings import ChannelTerms
from channels_app.bots.channels import public_address
from channels_app.models import Channel
from personas.models import Persona
from personas.personas import personas_visible_to

NO_AUTOFILL: Final = {
    "autocomplete": "off",
    "autocapitalize": "none",
    "spellcheck": "false",
}
MAX_GUEST_MESSAGES = 10_000
MAX_KEY_FILE_CHARACTERS = 20_000
AUDIENCES: Final = (
    (
        "addon",
        "Workspace add-on",
        "What the Google console sets up today. Requests are signed for the address, "
        "by the add-on account of your project.",
    ),
    (
        "url",
        "Chat app, audience “HTTP endpoint URL”",
        "Requests are signed by Google Chat for the address. They do not say which "
        "project they come from: “Project number” is safer where you can choose.",
    ),
    (
        "project",
        "Chat app, audience “Project number”",
        "Requests are signed by Google Chat for your project, whatever the address.",
    ),
)
"""Kind of audience, what the Google console calls it, and what it means."""


class WriteOnlyTextarea(forms.Textarea):
    """A field for a secret of many lines: what was sent is never sent back."""

    def format_value(self, value: Any) -> None:
        """Show nothing."""


class ChannelForm(RefusableForm):
    """What every kind of channel has."""

    own_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that only this kind has."""

    persona = forms.ModelChoiceField(
        label="Who answers",
        queryset=Persona.objects.none(),
        to_field_name="name",
        empty_label=None,
    )
    thread = forms.ChoiceField(
        label="Where my conversation goes on",
        choices=Channel.Thread.choices,
        help_text=(
            "For rooms where nobody else reads; others have their own. A private chat "
            "of the web, which local models alone may answer, does not go on there."
        ),
    )
    strangers = forms.ChoiceField(
        label="Accounts that are not linked to me",
        choices=Channel.Strangers.choices,
        help_text="In rooms that are not allowed yet.",
    )
    guest_daily_messages = forms.IntegerField(
        label="Answers to guests, a day",
        min_value=0,
        max_value=MAX_GUEST_MESSAGES,
        help_text="Others in an allowed room are guests; all of them share this.",
    )
    enabled = forms.BooleanField(
        label="In use",
        required=False,
        help_text="Switched off, its address does not exist for the outside.",
    )

    def __init__(self, channel: Channel, data: Any = None) -> None:
        """Show a form for a channel, which may be a new one of its owner."""
        self.channel = channel
        super().__init__(data, initial=self._initial(channel))
        people: Any = self.fields["persona"]
        people.queryset = personas_visible_to(channel.owner)
        people.label_from_instance = lambda persona: persona.display_name

    @classmethod
    def _initial(cls, channel: Channel) -> dict[str, Any]:
        values: dict[str, Any] = {
            name: channel.settings.get(name, "") for name in cls.own_fields
        }
        return values | {
            "persona": channel.persona.name if channel.persona else "",
            "thread": channel.thread,
            "strangers": channel.strangers,
            "guest_daily_messages": channel.guest_daily_messages,
            "enabled": channel.enabled,
        }

    def terms(self) -> ChannelTerms:
        """Return what was chosen."""
        given = self.cleaned_data
        return ChannelTerms(
            persona=given["persona"],
            enabled=given["enabled"],
            thread=given["thread"],
            strangers=given["strangers"],
            guest_daily_messages=given["guest_daily_messages"],
            settings={name: given[name] for name in self.own_fields},
            secrets=self.changed_secrets(),
        )

    def changed_secrets(self) -> dict[str, str]:
        """Return the secrets that were typed, or emptied on purpose."""
        return {}

    def _check(self, name: str, rule: Callable[[str], str]) -> None:
        """Put a value through a rule and show a refusal at its field."""
        try:
            self.cleaned_data[name] = rule(self.cleaned_data.get(name, ""))
        except ValidationError as error:
            self.add_error(name, error)


class TalkForm(ChannelForm):
    """A channel to Nextcloud Talk."""

    own_fields = ("url",)

    url = forms.CharField(
        label="Address of your Nextcloud",
        max_length=500,
        help_text="As in your browser, such as https://cloud.example.org",
        widget=forms.URLInput(attrs=NO_AUTOFILL),
    )

    def clean_url(self) -> str:
        """Return the server's address without a slash at its end."""
        owner = self.channel.owner
        return channel_rules.clean_nextcloud_address(owner, self.cleaned_data["url"])


class GoogleForm(ChannelForm):
    """A channel to Google Chat."""

    own_fields = ("audience", "project_number", "endpoint", "addon_account")

    audience = forms.ChoiceField(
        label="How Google signs its requests",
        choices=[(name, label) for name, label, _ in AUDIENCES],
        widget=forms.RadioSelect,
    )
    project_number = forms.CharField(
        label="Project number",
        required=False,
        max_length=20,
        help_text="On the welcome page of the Google Cloud project.",
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "inputmode": "numeric"}),
    )
    endpoint = forms.CharField(
        label="Address as it stands in the Google console",
        required=False,
        max_length=500,
        help_text="Character for character. Empty = the address above.",
        widget=forms.URLInput(attrs=NO_AUTOFILL),
    )
    addon_account = forms.CharField(
        label="Account of the add-on",
        required=False,
        max_length=200,
        help_text=(
            "“Service account email” on the configuration page of the Chat API. "
            "Empty = made from the project number."
        ),
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    service_account = forms.CharField(
        label="Key file of a service account (JSON)",
        required=False,
        max_length=MAX_KEY_FILE_CHARACTERS,
        widget=WriteOnlyTextarea(attrs={**NO_AUTOFILL, "rows": 4, "class": "code"}),
    )
    remove_service_account = forms.BooleanField(
        label="Remove the stored key file", required=False
    )

    def __init__(self, channel: Channel, data: Any = None) -> None:
        super().__init__(channel, data)
        self.fields["endpoint"].widget.attrs["placeholder"] = public_address(channel)
        stored = bool(channel.secrets.get("service_account"))
        self.fields["service_account"].help_text = (
            "One is stored. Paste another one to replace it."
            if stored
            else "With it answers are posted when they are ready and grow while they "
            "are written. Without it they must be ready within 25 seconds. Stored "
            "encrypted, and never shown again."
        )
        if not stored:
            del self.fields["remove_service_account"]

    @classmethod
    def _initial(cls, channel: Channel) -> dict[str, Any]:
        values = super()._initial(channel)
        return values | {"audience": values["audience"] or AUDIENCES[0][0]}

    @property
    def audiences(self) -> Iterable[tuple[Any, str]]:
        """Return each radio button with the sentence that explains it."""
        sentences = [sentence for _, _, sentence in AUDIENCES]
        return zip(self["audience"].subwidgets, sentences, strict=True)

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen audience needs."""
        given = super().clean() or self.cleaned_data
        audience = given.get("audience")
        if audience == "project" or given.get("project_number"):
            self._check("project_number", channel_rules.clean_project_number)
        if not given.get("endpoint") and "endpoint" not in self.errors:
            given["endpoint"] = public_address(self.channel)
        if audience != "project" and "endpoint" not in self.errors:
            self._check("endpoint", channel_rules.clean_audience_address)
        if audience == "addon":
            self._clean_addon()
        if given.get("service_account"):
            self._clean_key_file()
        return self.cleaned_data

    def _clean_key_file(self) -> None:
        if self.errors:
            self.add_error(
                "service_account",
                "Paste the file again: keys are not kept while something is wrong.",
            )
        else:
            self._check("service_account", channel_rules.clean_service_account)

    def _clean_addon(self) -> None:
        given = self.cleaned_data
        number = given.get("project_number")
        if not given.get("addon_account") and number:
            given["addon_account"] = channel_rules.ADDON_ACCOUNT.format(number)
        if given.get("addon_account"):
            self._check("addon_account", channel_rules.clean_addon_account)
        elif not {"addon_account", "project_number"} & set(self.errors):
            self.add_error(
                "project_number", "An add-on needs the number or its account."
            )

    def changed_secrets(self) -> dict[str, str]:
        """Return the key file that was pasted, or that it goes."""
        given = self.cleaned_data
        if given["service_account"]:
            return {"service_account": given["service_account"]}
        return {"service_account": ""} if given.get("remove_service_account") else {}


FORMS: Final[dict[str, type[ChannelForm]]] = {
    Channel.Kind.NEXTCLOUD_TALK: TalkForm,
    Channel.Kind.GOOGLE_CHAT: GoogleForm,
}


def form_for(channel: Channel, data: Any = None) -> ChannelForm:
    """Return the form of a channel's kind."""
    return FORMS[channel.kind](channel, data)


def unsaved(owner: User, kind: str) -> Channel:
    """Return a channel that is about to be set up."""
    channel = Channel(owner=owner, kind=Channel.Kind(kind))
    channel.persona = personas_visible_to(owner).first()
    return channel
