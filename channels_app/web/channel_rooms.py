"""The forms about who speaks to a channel and where: rooms, linked accounts, codes."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.requests import AuthenticatedHttpRequest
from channels_app.bots import channel_settings, pairing, rooms
from channels_app.bots.channels import (
    get_channel_for_user,
    get_identity_for_user,
    get_room_for_user,
)
from channels_app.models import Channel, ChannelRoom
from channels_app.web.channel_page import Shown, channel_page
from channels_app.web.channel_room_forms import (
    PairingForm,
    RoomForm,
    identity_form,
    room_id_form,
)

_SAID = {
    ChannelRoom.State.ALLOWED: "“{}” is answered.",
    ChannelRoom.State.REFUSED: "“{}” gets no answers.",
}


@never_cache
@login_required
@require_POST
def change_room(request: AuthenticatedHttpRequest, room_id: int) -> HttpResponse:
    """Allow or refuse a room, and say whether its owner is alone there."""
    room = get_room_for_user(request.user, room_id)
    form = RoomForm(request.POST)
    if form.is_valid():
        state = ChannelRoom.State(form.cleaned_data["state"])
        alone = form.cleaned_data["alone"]
        if room.channel.kind == Channel.Kind.GOOGLE_CHAT:
            alone = room.alone  # Google says so, nobody ticks it.
        rooms.set_room(request.user, room.channel, room.external_id, state, alone)
        messages.success(request, _SAID[state].format(room))
    else:
        messages.error(request, "Choose whether the room is answered.")
    return redirect("channel", kind=room.channel.kind)


@never_cache
@login_required
@require_POST
def add_room(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Allow a room by its id, before anybody has written there."""
    channel = get_channel_for_user(request.user, kind)
    form = room_id_form(channel, request.POST)
    if not form.is_valid():
        return channel_page(request, channel, Shown(room=form), status=400)
    name = form.cleaned_data["external_id"]
    rooms.set_room(request.user, channel, name, ChannelRoom.State.ALLOWED, False)
    messages.success(request, f"“{name}” is answered.")
    return redirect("channel", kind=kind)


@never_cache
@login_required
@require_POST
def link(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Link an account by its id."""
    channel = get_channel_for_user(request.user, kind)
    form = identity_form(channel, request.POST)
    if not form.is_valid():
        return channel_page(request, channel, Shown(identity=form), status=400)
    name = form.cleaned_data["external_id"]
    channel_settings.link_identity(channel, name, actor=request.user)
    messages.success(request, f"{name} is you from now on.")
    return redirect("channel", kind=kind)


@never_cache
@login_required
@require_POST
def unlink(request: AuthenticatedHttpRequest, identity_id: int) -> HttpResponse:
    """Take a link back."""
    identity = get_identity_for_user(request.user, identity_id)
    channel_settings.unlink_identity(identity, actor=request.user)
    messages.success(request, f"{identity} is a stranger from now on.")
    return redirect("channel", kind=identity.channel.kind)


@never_cache
@login_required
@require_POST
def pair(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Take the code that a stranger got, and link them."""
    channel = get_channel_for_user(request.user, kind)
    form = PairingForm(channel, request.POST)
    if not form.is_valid():
        return channel_page(request, channel, Shown(pairing=form), status=400)
    given = form.cleaned_data
    try:
        identity = pairing.enter_code(
            request.user,
            channel,
            given["code"],
            allow_room=given["allow_room"],
            alone=given.get("alone", False),
        )
    except ValidationError as error:
        form.add_error("code", error)
        return channel_page(request, channel, Shown(pairing=form), status=409)
    messages.success(request, f"{identity} is you from now on.")
    return redirect("channel", kind=kind)
