"""Commands that come as a message over the chat socket or by ``POST /chat``.

Both answer with one frame, ``command.result``, and store nothing::

    {"type": "command.result", "client_id": …, "command": "cost", "text": Markdown,
     "conversation": id|null, "persona": name|null, "route": text|null,
     "choices": [{"text": what to send, "label": words, "literal": true|false}]}

``conversation`` or ``persona`` is where the next message belongs: that conversation,
or a new one with that persona. ``route`` is what the model picker shows from now on,
``choices`` are answers that are waited for; a literal one is sent as
``message.send`` with ``literal``.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error as DatabaseError
from django.http import Http404

from accounts.models import User
from channels_app import turns
from channels_app.errors import TurnError, internal_error
from channels_app.presence import conversation_changed
from channels_app.slash_commands import Command, Place, Result, parse, run
from channels_app.turn_requests import StartRequest, TurnRequest
from personas.conversations import get_conversation_for_user
from personas.personas import get_persona_for_user
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)


def command_in(request: StartRequest) -> Command | None:
    """Return the command that a request is; ``None`` for one that starts a turn.

    Plain words are none from a program: nobody is there to say yes.
    """
    if not isinstance(request, TurnRequest) or request.literal:
        return None
    command = parse(request.text)
    if command is not None and command.tentative and request.channel == "api":
        return None
    return command


async def answer_command(
    user_id: int, request: TurnRequest, command: Command
) -> dict[str, Any] | None:
    """Carry a command out and return the frame that answers it.

    ``None``: the words are a message like any other here.

    Raises ``TurnError``: ``not_found`` or ``unauthenticated``, or ``internal`` when the
    database cannot be used.
    """
    try:
        done = await run_in_db_pool(_run, user_id, request, command)
    except TurnError as error:
        error.client_id = request.client_id
        raise
    except DatabaseError:
        logger.exception("A command could not be carried out")
        raise internal_error(client_id=request.client_id) from None
    if done is None:
        return None
    result, persona = done
    await turns.stop_all(result.stop)
    if request.conversation is not None and result.shown_anew is not None:
        await conversation_changed(
            user_id, request.conversation, message=result.shown_anew
        )
    return {
        "type": "command.result",
        "client_id": request.client_id,
        "command": command.name,
        "text": result.text,
        "conversation": str(result.conversation) if result.conversation else None,
        "persona": persona,
        "route": result.route,
        "choices": [each._asdict() for each in result.choices],
    }


def _run(
    user_id: int, request: TurnRequest, command: Command
) -> tuple[Result, str | None] | None:
    """Run a command; return also with whom a new conversation begins, if one does."""
    place = _place(user_id, request)
    result = run(command, place)
    if result is None:
        return None
    persona = result.persona
    if result.new_thread and persona is None:
        persona = place.persona.name
    return result, persona


def _place(user_id: int, request: TurnRequest) -> Place:
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise TurnError("unauthenticated", "You are signed out.")
    try:
        if request.conversation is None:
            persona = get_persona_for_user(user, request.persona)
            return Place(
                user, persona, None, request.channel, temporary=request.temporary
            )
        conversation = get_conversation_for_user(user, request.conversation)
    except Http404 as error:
        raise TurnError("not_found", str(error)) from None
    return Place(user, conversation.persona, conversation, request.channel)
