"""``POST /v1/chat/completions``: a persona behind the door of OpenAI's clients.

The client brings the whole conversation and nothing of it is stored. With the header
``X-Cortex-Conversation`` (an id, or ``new``) it is the other way round: only the
client's newest message counts, and it becomes a message of that conversation, marked by
its channel ``openai``. Both are turns of the one pipeline.

Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from accounts.models import User
from channels_app import turns
from channels_app.api import openai_messages
from channels_app.api.auth import Auth, caller_of
from channels_app.api.openai_answers import Answer, whole
from channels_app.api.openai_errors import (
    UnknownModel,
    checked_name,
    failing,
    refusal,
)
from channels_app.api.openai_requests import CompletionRequest
from channels_app.api.openai_stream import stream_response
from channels_app.api.stop_words import StopWords
from channels_app.errors import TurnError
from channels_app.live_turns import stop_local
from channels_app.streams import TurnStream
from channels_app.turn_requests import TurnRequest, UnstoredRequest, checked_text
from personas.conversations import get_conversation_for_user
from routing.db_pool import run_in_db_pool

router = Router(tags=["OpenAI clients"], auth=Auth("chat"))

CHANNEL = "openai"
"""Channel of messages and ledger rows; what came by it is never distilled."""
CONVERSATION = "X-Cortex-Conversation"
NEW = "new"
LARGE_BODY_BYTES = 64 * 1024
"""Conversations in larger bodies are read on a thread, so that nobody waits."""
EVENTS = {
    "description": "The answer, or its events where `stream` is true.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "One event; its data is a chunk as JSON, that of the "
                "last one “[DONE]”. A comment comes after 15 s of silence.",
                "required": ["data"],
                "properties": {"data": {"type": "string"}},
            }
        },
    },
    "headers": {
        CONVERSATION: {
            "description": "Id of the conversation, where the request named one.",
            "schema": {"type": "string"},
        }
    },
}
CONVERSATION_HEADER = {
    "name": CONVERSATION,
    "in": "header",
    "required": False,
    "description": "Id of one of your conversations with the persona, or “new”: the "
    "newest message is stored there with its answer, and the others do not count.",
    "schema": {"type": "string"},
}


@dataclass(frozen=True, slots=True)
class Running:
    """A turn that was started for a request."""

    stream: TurnStream
    conversation: uuid.UUID | None = None
    """Where it is stored; ``None`` = nowhere, so it ends with its client."""

    def stop(self) -> None:
        """End the turn."""
        stop_local(self.stream.turn)

    def left(self) -> None:
        """Take note that nobody reads any more."""
        if self.conversation is None:
            self.stop()


@router.post(
    "/v1/chat/completions",
    response=failing(400, 402, 404, 409, 413, 422, 502, 503, 504),
    summary="Let a persona answer",
    openapi_extra={"parameters": [CONVERSATION_HEADER], "responses": {200: EVENTS}},
)
async def chat_completions(
    request: HttpRequest, body: CompletionRequest
) -> HttpResponseBase:
    """Answer the conversation in the body, as a persona of yours named by `model`.

    Persona files stand in front, then your system messages. Nothing is stored but the
    row in the ledger, and a client that leaves ends the answer.
    """
    try:
        running = await _start(request, body)
    except TurnError as error:
        return refusal(request, error)
    response = await _response(request, body, running)
    if running.conversation is not None:
        response.headers[CONVERSATION] = str(running.conversation)
    return response


async def _response(
    request: HttpRequest, body: CompletionRequest, running: Running
) -> HttpResponseBase:
    stream = running.stream
    answer = Answer(str(stream.turn), body.model, StopWords(body.stop or ()))
    response: HttpResponseBase
    try:
        if body.stream:
            response = await stream_response(
                request,
                answer,
                stream,
                with_usage=body.with_usage,
                on_stop_word=running.stop,
                on_left=running.left,
            )
        else:
            response = JsonResponse(await whole(answer, stream, running.stop))
    except TurnError as error:
        return refusal(request, error)
    except asyncio.CancelledError:  # the client has gone
        running.left()
        raise
    return response


async def _start(request: HttpRequest, body: CompletionRequest) -> Running:
    """Begin the turn; raises ``TurnError``."""
    user = caller_of(request).user
    checked_name(body.model)
    place = request.headers.get(CONVERSATION)
    if place is None:
        if len(request.body) > LARGE_BODY_BYTES:
            wish = await asyncio.to_thread(_wish, body)
        else:
            wish = _wish(body)
        return await _start_unstored(user, wish)
    for name in ("tools", "stop"):
        if getattr(body, name):
            raise TurnError(
                "bad_request", f"“{name}” cannot be used together with {CONVERSATION}."
            )
    return await _start_stored(user, place.strip(), body)


def _wish(body: CompletionRequest) -> UnstoredRequest:
    return UnstoredRequest(
        messages=openai_messages.messages_of(body),
        persona=body.model,
        system=openai_messages.system_of(body),
        tools=openai_messages.tools_of(body),
        channel=CHANNEL,
        max_output_tokens=body.most_tokens,
    )


async def _start_unstored(user: User, wish: UnstoredRequest) -> Running:
    try:
        return Running(await turns.start_unstored(user.pk, wish))
    except TurnError as error:
        if error.code == "not_found":
            raise UnknownModel from None
        raise


async def _start_stored(user: User, place: str, body: CompletionRequest) -> Running:
    text = checked_text(openai_messages.last_user_text(body))
    conversation = None
    if place.lower() != NEW:
        conversation = await run_in_db_pool(_checked_place, user, place, body.model)
    wish = TurnRequest(
        client_id=str(uuid.uuid4()),
        text=text,
        persona=body.model,
        conversation=conversation,
        channel=CHANNEL,
        max_output_tokens=body.most_tokens,
    )
    try:
        started = await turns.start_turn(user.pk, wish)
    except TurnError as error:
        if error.code == "not_found" and conversation is None:
            raise UnknownModel from None
        raise
    assert started.stream is not None  # noqa: S101  a new client id begins a new turn
    return Running(started.stream, started.beginning.conversation)


def _checked_place(user: User, place: str, persona: str) -> uuid.UUID:
    """Return the id of a person's conversation with a persona of that name."""
    try:
        conversation = get_conversation_for_user(user, place)
    except Http404 as error:
        raise TurnError("not_found", str(error)) from None
    name = conversation.persona.name
    if name != persona:
        raise TurnError(
            "bad_request", f"This conversation is with “{name}”: name that as “model”."
        )
    return conversation.pk
