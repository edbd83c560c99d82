"""One channel's page: everything that stands on it, for whichever form was sent.

The views of its forms render it again when something was refused, so that nothing
that was typed is lost.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from accounts.requests import AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app import slash_commands
from channels_app.bots.channels import public_address
from channels_app.google_chat import events as google_events
from channels_app.models import Channel, ChannelRoom
from channels_app.web.channel_forms import ChannelForm, form_for
from channels_app.web.channel_lines import deliveries_of, state_of
from channels_app.web.channel_room_forms import (
    IdForm,
    PairingForm,
    TestForm,
    identity_form,
    room_id_form,
)
from routing.addresses import looks_local

MAX_BOT_NAME_BYTES = 64
"""Source: https://nextcloud-talk.readthedocs.io/en/latest/occ/"""
SECRET_SHOWN_ELSEWHERE = "SECRET"  # noqa: S105
"""Stands in the command where the real secret is not shown any more."""
_TEMPLATES = {
    Channel.Kind.NEXTCLOUD_TALK: "channels/talk.html",
    Channel.Kind.GOOGLE_CHAT: "channels/google.html",
}
GOOGLE_COMMANDS = [
    (number, word, slash_commands.COMMANDS[word.removeprefix("/")].help)
    for number, word in google_events.COMMANDS.items()
]
"""Id, name and meaning of each command that Google's console is to be told."""
_ROOM_ORDER = (
    ChannelRoom.State.WAITING,
    ChannelRoom.State.ALLOWED,
    ChannelRoom.State.REFUSED,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands on the page because of the form that was just sent."""

    form: ChannelForm | None = None
    pairing: PairingForm | None = None
    room: IdForm | None = None
    identity: IdForm | None = None
    secret: str = ""
    """A secret that was just made; shown this once."""


def channel_page(
    request: AuthenticatedHttpRequest, channel: Channel, shown: Shown, status: int = 200
) -> HttpResponse:
    """Show a channel, which may be one that is not set up yet."""
    form = shown.form or form_for(channel)
    context: dict[str, Any] = {
        "channel": channel,
        "form": form,
        "has_personas": form.fields["persona"].queryset.exists(),  # type: ignore[attr-defined]
        "address": public_address(channel),
        "address_is_local": looks_local(settings.CORTEX_PUBLIC_URL),
        "zone": zone_of(request.user),
        "tab": "channels",
    }
    if channel.pk:
        context |= _of_saved(channel, shown)
    template = _TEMPLATES[Channel.Kind(channel.kind)]
    return render(request, template, context, status=status)


def _of_saved(channel: Channel, shown: Shown) -> dict[str, Any]:
    rooms = sorted(channel.rooms.all(), key=lambda room: _ROOM_ORDER.index(room.state))
    return {
        "state": state_of(channel),
        "rooms": rooms,
        "waiting_count": sum(each.state == "waiting" for each in rooms),
        "identities": channel.identities.all(),
        "lines": deliveries_of(channel),
        "pairing": shown.pairing or PairingForm(channel),
        "room_form": shown.room or room_id_form(channel),
        "identity_form": shown.identity or identity_form(channel),
        "test_form": TestForm(channel),
        "secret": shown.secret,
        "commands": commands_for(channel, shown.secret or SECRET_SHOWN_ELSEWHERE),
        "has_previous": "previous" in channel.secrets,
        "has_service_account": "service_account" in channel.secrets,
        "google_commands": GOOGLE_COMMANDS,
    }


@dataclass(frozen=True, slots=True)
class Commands:
    """What is typed on the Nextcloud server."""

    install: str
    setup: str
    remove: str


def commands_for(channel: Channel, secret: str) -> Commands:
    """Return the commands that make the bot known to Nextcloud.

    Source: https://nextcloud-talk.readthedocs.io/en/latest/occ/
    """
    name = channel.persona.display_name if channel.persona else "Cortex"
    name = name.encode()[:MAX_BOT_NAME_BYTES].decode(errors="ignore")
    address = public_address(channel)
    features = "-f webhook -f response -f reaction"
    words = shlex.join([name, secret, address])
    return Commands(
        install=f"occ talk:bot:install {features} -- {words}",
        setup="occ talk:bot:setup BOT_ID ROOM_TOKEN",
        remove=f"occ talk:bot:uninstall --url {shlex.quote(address)}",
    )
