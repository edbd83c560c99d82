"""Setting up channels: the overview, one page for each kind, its secrets, its end."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from accounts.requests import FORM, AuthenticatedHttpRequest
from channels_app.bots import channel_settings
from channels_app.bots.channels import channels_visible_to, get_channel_for_user
from channels_app.models import Channel
from channels_app.web.channel_forms import form_for, unsaved
from channels_app.web.channel_lines import health_lines, state_of
from channels_app.web.channel_page import Shown, channel_page
from channels_app.web.channel_room_forms import (
    NameForm,
)
from channels_app.web.people import administrators_only

WHAT_THEY_ARE = {
    Channel.Kind.NEXTCLOUD_TALK: (
        "Your persona as a bot in the rooms of your own Nextcloud."
    ),
    Channel.Kind.GOOGLE_CHAT: (
        "Your persona as an app in the direct chats and spaces of Google Workspace."
    ),
}

OTHER_SERVER = (
    "The address is another one, and on another server accounts and rooms are others "
    "too: nobody is linked as you now, and no room is answered. Link yourself and "
    "allow your rooms again."
)


@never_cache
@login_required
@require_safe
def channels(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show every kind of channel: what is set up, how it is, what can be added."""
    own = {each.kind: each for each in channels_visible_to(request.user)}
    cards: list[dict[str, Any]] = []
    for kind in Channel.Kind:
        channel = own.get(kind)
        card: dict[str, Any] = {"kind": kind, "label": kind.label}
        card["what"] = WHAT_THEY_ARE[kind]
        if channel is not None:
            waiting = channel.rooms.filter(state="waiting").count()
            card |= {"channel": channel, "state": state_of(channel), "waiting": waiting}
        cards.append(card)
    context = {"cards": cards, "tab": "channels"}
    return render(request, "channels/overview.html", context)


@sensitive_post_parameters("service_account")
@never_cache
@login_required
@FORM
def channel(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Set up a channel, or show and change it."""
    row = channels_visible_to(request.user).filter(kind=kind).first()
    row = row or unsaved(request.user, kind)
    if request.method != "POST":
        return channel_page(request, row, Shown())
    form = form_for(row, request.POST)
    if not form.is_valid():
        return channel_page(request, row, Shown(form=form), status=400)
    if row.pk:
        saved = channel_settings.change_channel(row, form.terms(), actor=request.user)
        messages.success(request, f"{row.get_kind_display()} is saved.")
        before, after = (each.settings.get("url") for each in (row, saved))
        if channel_settings.is_other_server(before, after):
            messages.warning(request, OTHER_SERVER)
        return redirect("channel", kind=kind)
    try:
        saved = channel_settings.add_channel(request.user, kind, form.terms())
    except ValidationError as error:
        form.add_refusal(error)
        return channel_page(request, row, Shown(form=form), status=409)
    return _welcome(request, saved)


def _welcome(request: AuthenticatedHttpRequest, row: Channel) -> HttpResponse:
    """Show a new channel; Talk gets its first secret, which is readable only now."""
    if row.kind != Channel.Kind.NEXTCLOUD_TALK:
        messages.success(request, f"{row.get_kind_display()} is set up.")
        return redirect("channel", kind=row.kind)
    return _with_new_secret(request, row)


@never_cache
@login_required
@require_POST
def renew_secret(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Make a new secret and show it once; the one before is accepted until dropped."""
    return _with_new_secret(request, _with_own_secret(request.user, kind))


def _with_new_secret(request: AuthenticatedHttpRequest, row: Channel) -> HttpResponse:
    secret = channel_settings.renew_secret(row, actor=request.user)
    fresh = get_channel_for_user(request.user, row.kind)
    return channel_page(request, fresh, Shown(secret=secret))


@never_cache
@login_required
@require_POST
def drop_secret(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Stop accepting the secret before the present one."""
    row = _with_own_secret(request.user, kind)
    if channel_settings.drop_previous(row, actor=request.user):
        messages.success(request, "The old secret is not accepted any more.")
    else:
        messages.info(request, "There is no old secret.")
    return redirect("channel", kind=kind)


def _with_own_secret(user: User, kind: str) -> Channel:
    """Return a channel whose secret Cortex makes; raises ``Http404``."""
    if kind != Channel.Kind.NEXTCLOUD_TALK:
        raise Http404("The other side makes the keys of this channel.")
    return get_channel_for_user(user, kind)


@never_cache
@login_required
@FORM
def delete_channel(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Ask for the channel's name, then delete it."""
    row = get_channel_for_user(request.user, kind)
    name = row.get_kind_display()
    form = NameForm(name, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        channel_settings.delete_channel(row, actor=request.user)
        messages.success(request, f"{name} is deleted.")
        return redirect("channels")
    context = {"channel": row, "form": form}
    status = 400 if form.errors else 200
    return render(request, "channels/delete.html", context, status=status)


@administrators_only
@require_safe
def everybody(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show administrators how everybody's channels are; never what was said."""
    context = {"lines": health_lines(), "tab": "everybody"}
    return render(request, "channels/everybody.html", context)
