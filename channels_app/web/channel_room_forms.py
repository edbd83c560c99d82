"""The small forms of a channel's page: rooms, accounts, codes, tests, the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import RefusableForm
from channels_app.bots import channel_rules
from channels_app.models import Channel, ChannelRoom
from channels_app.web.channel_forms import NO_AUTOFILL


class IdForm(RefusableForm):
    """An id on the other side, of a room or of a person."""

    external_id = forms.CharField(
        label="Id", max_length=200, widget=forms.TextInput(attrs=NO_AUTOFILL)
    )

    def __init__(
        self,
        texts: tuple[str, str],
        rule: Callable[[str], str],
        prefix: str,
        data: Any = None,
    ) -> None:
        """Show a form with the field's label and help; ``rule`` checks the id."""
        super().__init__(data, auto_id=f"{prefix}_%s")
        field: Any = self.fields["external_id"]
        field.label, field.help_text = texts
        self.rule = rule

    def clean_external_id(self) -> str:
        """Return the id as the other side writes it."""
        return self.rule(self.cleaned_data["external_id"])


class PairingForm(RefusableForm):
    """The code that a stranger got, and whether the room it came from is answered."""

    code = forms.CharField(
        label="Code",
        max_length=40,
        widget=forms.TextInput(attrs={**NO_AUTOFILL, "autocapitalize": "characters"}),
    )
    allow_room = forms.BooleanField(
        label="Also answer in the room where it was given",
        required=False,
        initial=True,
    )
    alone = forms.BooleanField(
        label="Nobody else reads there",
        required=False,
        help_text=(
            "Only for a room with nobody but you and the bot in it: there the persona "
            "uses your private files and memory, and takes your commands."
        ),
    )

    def __init__(self, channel: Channel, data: Any = None) -> None:
        super().__init__(data, auto_id="pair_%s")
        if channel.kind == Channel.Kind.GOOGLE_CHAT:
            # Google itself says who else reads in a space.
            del self.fields["alone"]

    def clean(self) -> dict[str, Any]:
        """Refuse a contradiction."""
        given = super().clean() or self.cleaned_data
        if given.get("alone") and not given.get("allow_room"):
            self.add_error("alone", "Tick as well that the room is to be answered.")
        return given


class RoomForm(forms.Form):
    """What the owner decides about a room."""

    state = forms.ChoiceField(
        choices=[(ChannelRoom.State.ALLOWED, ""), (ChannelRoom.State.REFUSED, "")]
    )
    alone = forms.BooleanField(required=False)


class TestForm(forms.Form):
    """Into which of the allowed rooms a test message goes."""

    __test__ = False
    room = forms.ModelChoiceField(
        label="Room for the test message",
        queryset=ChannelRoom.objects.none(),
        required=False,
        empty_label=None,
    )

    def __init__(self, channel: Channel, data: Any = None) -> None:
        super().__init__(data, auto_id="test_%s")
        field: Any = self.fields["room"]
        field.queryset = channel.rooms.filter(state=ChannelRoom.State.ALLOWED)

    @property
    def has_rooms(self) -> bool:
        """Say whether there is anything to choose."""
        field: Any = self.fields["room"]
        return bool(field.queryset.exists())


class NameForm(forms.Form):
    """A name, typed again before something goes for good."""

    name = forms.CharField(
        label="Type its name to confirm", max_length=64, widget=forms.TextInput()
    )

    def __init__(self, name: str, data: Any = None) -> None:
        super().__init__(data)
        self.expected = name

    def clean_name(self) -> str:
        """Accept nothing but the name."""
        typed: str = self.cleaned_data["name"].strip()
        if typed != self.expected:
            raise ValidationError("This is not its name; nothing was deleted.")
        return typed


def room_id_form(channel: Channel, data: Any = None) -> IdForm:
    """Return the form that allows a room by its id."""
    examples = {
        Channel.Kind.NEXTCLOUD_TALK: "The end of the room's link, after /call/",
        Channel.Kind.GOOGLE_CHAT: "Such as spaces/AAAA1234",
    }
    example = examples[Channel.Kind(channel.kind)]
    rule = partial(channel_rules.clean_room_id, channel.kind)
    return IdForm(("Id or link of the room", example), rule, "room", data)


def identity_form(channel: Channel, data: Any = None) -> IdForm:
    """Return the form that links an account by its id."""
    examples = {
        Channel.Kind.NEXTCLOUD_TALK: "Such as users/alice, with your login name there",
        Channel.Kind.GOOGLE_CHAT: "Such as users/1234567890",
    }
    example = examples[Channel.Kind(channel.kind)]
    rule = partial(channel_rules.clean_identity_id, channel.kind)
    return IdForm(("Id of my account there", example), rule, "identity", data)
