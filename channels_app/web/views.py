"""The chat pages: a new chat, a conversation, its older messages, and its housekeeping.

Every page works as plain HTML for reading, renaming and deleting; the modules under
``static/js`` add the socket. Views answer htmx with the fragment it asked for and
everybody else with a page or a redirect.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseRedirect,
)
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import AuthenticatedHttpRequest
from channels_app import turns
from channels_app.presence import conversation_changed_sync
from channels_app.slash_commands import COMMANDS
from channels_app.web.chat_list import chat_list, listed
from channels_app.web.model_choices import model_choices
from channels_app.web.page import THEME_COOKIE, THEMES
from channels_app.web.thread_page import thread_context
from personas import conversations
from personas.conversations import (
    conversations_visible_to,
    get_conversation_for_user,
)
from personas.deletion import get_any_message_for_user
from personas.models import Conversation, Message, Persona
from personas.personas import get_persona_for_user, personas_visible_to

ONE_YEAR_S = 31_536_000


@never_cache
@login_required
@require_safe
def home(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show a new chat with the persona asked for, or with the one spoken to last.

    ``?temporary=1``: it will be a temporary one.
    """
    persona = _persona_for_home(request)
    if persona is None:
        return redirect("setup_persona")
    context = _page_context(request, persona)
    context["temporary"] = request.GET.get("temporary") == "1"
    if gone := request.GET.get("deleted", ""):
        context["deleted_id"] = _uuid_or_none(gone)
    return render(request, "chat/chat.html", context)


def _persona_for_home(request: AuthenticatedHttpRequest) -> Persona | None:
    if name := request.GET.get("persona"):
        return get_persona_for_user(request.user, name)
    recent = conversations_visible_to(request.user).order_by("-last_active_at").first()
    return recent.persona if recent else personas_visible_to(request.user).first()


def _uuid_or_none(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


@never_cache
@login_required
@require_safe
def conversation(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Show the end of the shown branch, what stands before a message, or one message.

    ``?message=`` shows that one, also on a branch that is not the shown one.
    """
    chat = get_conversation_for_user(request.user, id)
    context = _page_context(request, chat.persona, chat)
    context.update(_asked_part(request, chat))
    return render(request, "chat/chat.html", context)


@never_cache
@login_required
@require_safe
def thread(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Return the messages alone, for a page that is open already."""
    chat = get_conversation_for_user(request.user, id)
    return render(request, "chat/thread.html", _asked_part(request, chat))


def _asked_part(
    request: AuthenticatedHttpRequest, chat: Conversation
) -> dict[str, Any]:
    """Describe the messages that an address asks for; raises ``Http404``."""
    target = _uuid_or_none(request.GET.get("message", ""))
    if target is not None:
        message = get_any_message_for_user(request.user, target)
        if message.conversation_id != chat.pk:
            raise Http404(conversations.NO_MESSAGE)
    before = _uuid_or_none(request.GET.get("before", ""))
    return thread_context(chat, before=before, target=target)


@never_cache
@login_required
@require_safe
def conversations_of_persona(
    request: AuthenticatedHttpRequest, name: str
) -> HttpResponse:
    """Return the sidebar's list alone."""
    persona = get_persona_for_user(request.user, name)
    context = _list_context(request, persona)
    context["conversation_id"] = _uuid_or_none(request.GET.get("current", ""))
    return render(request, "chat/list.html", context)


@login_required
@require_POST
def show_branch(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Show the branch through another answer or another version of a message."""
    chat = get_conversation_for_user(request.user, id)
    conversations.select_sibling(chat, request.POST.get("message", ""))
    if request.headers.get("X-Requested-With") != "fetch":
        return redirect("conversation", id=chat.pk)
    return render(request, "chat/thread.html", thread_context(chat))


@login_required
@require_POST
def rename(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Give a conversation another title."""
    chat = get_conversation_for_user(request.user, id)
    conversations.rename(chat, request.POST.get("title", ""))
    conversation_changed_sync(request.user.pk, chat.pk, title=chat.title)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect("conversation", id=chat.pk)
    return _list_item(request, chat)


@login_required
@require_POST
def delete(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Take a conversation out of sight and offer to undo that.

    Answers being written in it are stopped: nobody should pay for what nobody reads.
    """
    chat = get_conversation_for_user(request.user, id)
    running = conversations.running_answers(
        request.user, persona=chat.persona, conversation=chat
    )
    conversations.delete_conversation(chat)
    async_to_sync(turns.stop_all)(running)
    conversation_changed_sync(request.user.pk, chat.pk)
    query = urlencode({"persona": chat.persona.name, "deleted": str(chat.pk)})
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect(f"/?{query}")
    if _shown_path(request) == f"/c/{chat.pk}":
        return HttpResponse(headers={"HX-Redirect": f"/?{query}"})
    return render(request, "chat/deleted.html", {"conversation": chat})


@login_required
@require_POST
def undelete(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Bring back a conversation that was just deleted."""
    chat = conversations.undelete(request.user, id)
    conversation_changed_sync(request.user.pk, chat.pk, title=chat.title)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect("conversation", id=chat.pk)
    return _list_item(request, chat)


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or system in a cookie; the page's script does it too."""
    choice = request.POST.get("theme", "")
    if choice not in (*THEMES, "system"):
        return HttpResponseBadRequest("There is no such theme.")
    target = request.POST.get("next", "/")
    if not target.startswith("/") or not url_has_allowed_host_and_scheme(target, None):
        target = "/"
    response = HttpResponseRedirect(target)
    if choice == "system":
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    else:
        response.set_cookie(
            THEME_COOKIE,
            choice,
            max_age=ONE_YEAR_S,
            samesite="Lax",
            secure=request.is_secure(),
        )
    return response


def _shown_path(request: HttpRequest) -> str:
    return urlsplit(request.headers.get("HX-Current-URL", "")).path


def _list_item(request: AuthenticatedHttpRequest, chat: Conversation) -> HttpResponse:
    shown = _uuid_or_none(_shown_path(request).removeprefix("/c/"))
    marked = listed(request.user).get(pk=chat.pk)
    context = {"conversation": marked, "conversation_id": shown}
    return render(request, "chat/list_item.html", context)


def _list_context(
    request: AuthenticatedHttpRequest, persona: Persona
) -> dict[str, Any]:
    wanted = request.GET.get("chats", "")
    shown = int(wanted) if wanted.isdecimal() and len(wanted) < 6 else 0
    return {
        "current_persona": persona,
        "chats": chat_list(request.user, persona, shown),
    }


def _page_context(
    request: AuthenticatedHttpRequest,
    persona: Persona,
    chat: Conversation | None = None,
) -> dict[str, Any]:
    return {
        **_list_context(request, persona),
        "persona": persona,
        "temporary": chat is not None and chat.temporary,
        "model_choices": model_choices(request.user, persona, chat),
        "commands": COMMANDS,
        # What the page's script copies for messages that appear while one watches.
        "blank_user": Message(id=None, role=Message.Role.USER),
        "blank_answer": Message(id=None, role=Message.Role.ASSISTANT, state="new"),
    }
