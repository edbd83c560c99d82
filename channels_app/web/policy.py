"""The page on which a person says who answers in one conversation.

The picker of the chat page posts here too, by a script that wants no page.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.requests import AuthenticatedHttpRequest
from channels_app.web.model_choices import model_choices
from personas.conversations import get_conversation_for_user
from personas.policies import set_policy

NOT_OFFERED = "That model cannot be had any more; please choose another one."


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def policy(request: AuthenticatedHttpRequest, id: UUID) -> HttpResponse:
    """Show and change who answers in a conversation."""
    chat = get_conversation_for_user(request.user, id)
    choices = model_choices(request.user, chat.persona, chat)
    by_script = request.headers.get("X-Requested-With") == "fetch"
    error = ""
    if request.method == "POST":
        wanted = choices.policy_of(request.POST.get("route", "-"))
        if wanted is not None:
            set_policy(chat, wanted)
            if by_script:
                return HttpResponse(status=204)
            messages.success(request, "Saved.")
            return redirect("conversation", id=chat.pk)
        error = NOT_OFFERED
    context = {
        "conversation": chat,
        "persona": chat.persona,
        "model_choices": choices,
        "error": error,
    }
    return render(request, "chat/policy.html", context, status=400 if error else 200)
