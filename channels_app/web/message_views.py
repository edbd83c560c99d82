"""Single messages: their own address, deleting them, and what they left in the memory.

Each form works without a script, which leads back to the message in its conversation;
a script gets the message alone, to put it in the place of the one it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from channels_app.bots.withdrawing import withdraw
from channels_app.jobs.brief_results import forget_result, restore_result
from channels_app.presence import conversation_changed_sync
from channels_app.web.error_pages import error_response
from channels_app.web.thread_page import message_context
from personas.conversations import (
    NO_MESSAGE,
    get_conversation_for_user,
    get_message_for_user,
)
from personas.deletion import (
    delete_message,
    get_any_message_for_user,
    undelete_message,
)
from personas.errors import PersonaError
from personas.memory.runs import get_note_for_user, undo_note
from personas.models import Message


@never_cache
@login_required
@require_safe
def open_message(request: AuthenticatedHttpRequest, message_id: UUID) -> HttpResponse:
    """Lead to a message in its conversation, on the branch where it stands."""
    message = get_any_message_for_user(request.user, message_id)
    return redirect(_place_of(message))


@login_required
@require_POST
def delete(
    request: AuthenticatedHttpRequest, id: UUID, message_id: UUID
) -> HttpResponse:
    """Delete one message; a line with Undo stays in its place."""

    def act() -> None:
        message = delete_message(request.user, message_id)
        forget_result(message)
        withdraw(message)

    return _change(request, id, message_id, act)


@login_required
@require_POST
def undelete(
    request: AuthenticatedHttpRequest, id: UUID, message_id: UUID
) -> HttpResponse:
    """Bring a message back that was deleted within the hour."""

    def act() -> None:
        restore_result(undelete_message(request.user, message_id))

    return _change(request, id, message_id, act)


@login_required
@require_POST
def undo_memory(
    request: AuthenticatedHttpRequest, id: UUID, message_id: UUID, note_id: int
) -> HttpResponse:
    """Take a line out of the memory that a message has led to."""
    message = get_message_for_user(request.user, message_id)
    note = get_note_for_user(request.user, note_id)
    if note.message_id != message.pk:
        raise Http404("There is no such note.")
    return _change(request, id, message_id, lambda: undo_note(note, request.user))


@login_required
@require_POST
def switch_memory(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Say whether anything of a conversation may be remembered."""
    chat = get_conversation_for_user(request.user, id)
    chat.memory_paused = request.POST.get("remember") == "off"
    chat.save(update_fields=["memory_paused"])
    conversation_changed_sync(request.user.pk, chat.pk)
    return redirect("conversation", id=chat.pk)


def _change(
    request: AuthenticatedHttpRequest,
    id: UUID,
    message_id: UUID,
    act: Callable[[], object],
) -> HttpResponse:
    """Do something with a message, tell all tabs, and show it as it is then."""
    _message_of(request.user, id, message_id)
    by_script = request.headers.get("X-Requested-With") == "fetch"
    try:
        act()
    except PersonaError as refusal:
        if by_script:
            return HttpResponse(str(refusal), content_type="text/plain", status=409)
        return error_response(request, 409, str(refusal))
    message = _message_of(request.user, id, message_id)
    chat = message.conversation
    conversation_changed_sync(
        request.user.pk, chat.pk, title=chat.title, message=message.pk
    )
    if not by_script:
        return redirect(_place_of(message))
    return render(request, "chat/message.html", message_context(message))


def _message_of(user: User, conversation: UUID, message: UUID) -> Message:
    found = get_any_message_for_user(user, message)
    if found.conversation_id != conversation:
        raise Http404(NO_MESSAGE)
    return found


def _place_of(message: Message) -> str:
    page = reverse("conversation", args=[message.conversation_id])
    return f"{page}?message={message.pk}#m-{message.pk}"
