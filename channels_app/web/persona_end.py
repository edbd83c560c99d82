"""The page that deletes a persona. Here, because its running turns have to stop."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.requests import AuthenticatedHttpRequest
from channels_app import turns
from personas.conversations import running_answers
from personas.forms import DeletePersonaForm
from personas.personas import delete_persona, get_persona_for_user


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def persona_delete(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Ask for the persona's name, and delete it with everything that is its own.

    Answers that it is writing are stopped: nobody should pay for what nobody reads.
    """
    found = get_persona_for_user(request.user, name)
    form = DeletePersonaForm(found, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        running = running_answers(request.user, persona=found)
        delete_persona(found, actor=request.user)
        async_to_sync(turns.stop_all)(running)
        messages.success(request, f"{found.display_name} was deleted.")
        return redirect("personas")
    context = {
        "persona": found,
        "form": form,
        "file_count": found.files.count(),
        "conversation_count": found.conversations.filter(deleted_at=None).count(),
        "tab": "settings",
    }
    status = 400 if form.errors else 200
    return render(request, "personas/delete.html", context, status=status)
