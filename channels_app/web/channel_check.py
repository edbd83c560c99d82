"""Testing a channel both ways, and sending again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.requests import AuthenticatedHttpRequest
from accounts.secrets import Undecryptable
from channels_app.bots.adapters import TestStep, adapter_for
from channels_app.bots.channels import (
    can_post,
    get_channel_for_user,
    get_reply_for_user,
    info_of,
    is_set_up,
)
from channels_app.bots.resend import objection_to, send_again
from channels_app.models import Channel
from channels_app.web.channel_room_forms import (
    TestForm,
)


@never_cache
@login_required
@require_POST
def test_channel(request: AuthenticatedHttpRequest, kind: str) -> HttpResponse:
    """Send signed requests both ways; show each step and name the one that failed."""
    channel = get_channel_for_user(request.user, kind)
    form = TestForm(channel, request.POST)
    room = form.cleaned_data["room"] if form.is_valid() else None
    steps = _before(channel) or _steps(channel, room.external_id if room else "")
    failed = next((step for step in steps if not step.ok), None)
    context = {
        "channel": channel,
        "steps": steps,
        "failed": failed,
        "room": room,
        "both_ways": room is not None and can_post(channel),
    }
    return render(request, "channels/test.html", context)


def _before(channel: Channel) -> list[TestStep]:
    """Return what cannot work yet, in the same form as what was tried."""
    name = "The channel is set up"
    if not is_set_up(channel):
        return [TestStep(name, False, "It has no secret yet.")]
    if channel.persona is None:
        return [TestStep(name, False, "Its persona was deleted; choose another one.")]
    if not channel.enabled:
        return [TestStep(name, False, "It is switched off; tick “In use” and save.")]
    return []


def _steps(channel: Channel, room_id: str) -> Sequence[TestStep]:
    try:
        info = info_of(channel)
    except Undecryptable as error:
        return [TestStep("The secret can be read", False, str(error))]
    test = async_to_sync(adapter_for(channel.kind).self_test)
    steps: Sequence[TestStep] = test(info, room_id)
    return steps


@never_cache
@login_required
@require_POST
def retry_reply(request: AuthenticatedHttpRequest, reply_id: UUID) -> HttpResponse:
    """Let a reply that failed be sent again."""
    reply = get_reply_for_user(request.user, reply_id)
    if send_again(reply):
        messages.success(request, "The answer is sent again within seconds.")
    else:
        why = objection_to(reply)
        messages.error(request, why or "There is nothing to send again.")
    return redirect("channel", kind=reply.channel.kind)
