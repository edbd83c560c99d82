"""“Why this model?”: what is stored about the way to one answer, and another try.

The page shows only what was written down when the answer was made: the decision of
the router, its attempts and what they cost. What was never stored is said to be
missing. Without a script both addresses work as an ordinary page and form; the chat
page shows the same in a dialog.
"""

from __future__ import annotations

import uuid
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from channels_app import turns
from channels_app.errors import TurnError
from channels_app.turn_requests import MAX_CLIENT_ID_CHARS, RetryRequest
from channels_app.web.explanation import explain, redo_steps
from personas.conversations import NO_MESSAGE, get_message_for_user
from personas.models import Message
from routing.db_pool import run_in_db_pool

TIERS = {"1": 1, "2": 2, "3": 3}


@never_cache
@login_required
@require_safe
def why(request: AuthenticatedHttpRequest, id: UUID, message_id: UUID) -> HttpResponse:
    """Show why a model gave an answer, what it cost, and what others would have."""
    answer = _answer_of(request.user, id, message_id)
    context = {
        "answer": answer,
        "conversation": answer.conversation,
        "persona": answer.conversation.persona,
        "explanation": explain(request.user, answer),
        "steps": redo_steps(request.user, answer),
        "client_id": uuid.uuid4(),
    }
    by_script = request.headers.get("X-Requested-With") == "fetch"
    template = "chat/why_panel.html" if by_script else "chat/why.html"
    return render(request, template, context)


@login_required
@require_POST
async def redo(request: HttpRequest, id: UUID, message_id: UUID) -> HttpResponse:
    """Ask for another answer from another tier, then show the conversation."""
    user = await request.auser()
    assert isinstance(user, User)  # noqa: S101  login_required has seen to it
    await run_in_db_pool(_answer_of, user, id, message_id)
    tier = TIERS.get(request.POST.get("tier", ""))
    wish = RetryRequest(
        client_id=_client_id(request.POST.get("client_id", "")),
        message=message_id,
        tier=tier,  # type: ignore[arg-type]
    )
    try:
        if tier is None:
            raise TurnError("bad_request", "The tier must be 1, 2 or 3.")
        await turns.start_turn(user.pk, wish)
    except TurnError as error:
        await sync_to_async(messages.error)(request, error.message)
        return redirect("why", id=id, message_id=message_id)
    return redirect("conversation", id=id)


def _client_id(value: str) -> str:
    """Return the form's own id, so that sending it twice asks once."""
    usable = 0 < len(value) <= MAX_CLIENT_ID_CHARS and value.isprintable()
    return value if usable else str(uuid.uuid4())


def _answer_of(user: User, conversation: UUID, message: UUID) -> Message:
    """Return an answer of one of the person's conversations; raises ``Http404``."""
    found = get_message_for_user(user, message)
    if found.conversation_id != conversation or found.role != Message.Role.ASSISTANT:
        raise Http404(NO_MESSAGE)
    return found
