"""``POST /chat`` and ``GET /chat/<turn>``: a turn as a stream of events.

The same pipeline as the chat socket's. Whoever wrote the token is the person, so
nobody else reads along.
"""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from channels_app import turns
from channels_app.api import sse
from channels_app.api.auth import Auth, caller_of
from channels_app.api.schemas import ChatIn, as_uuid, failing
from channels_app.errors import TurnError
from channels_app.turn_requests import TurnRequest
from channels_app.typed_commands import answer_command, command_in

router = Router(tags=["Chat"], auth=Auth("chat"))

_ANSWERED = {
    False: "This message was answered before; its events are kept no longer.",
    True: "Cortex stopped while this message was being answered.",
}
"""What a repeat is told, by whether the row says that the answer is being written."""
EVENTS = {
    "description": "The events of the turn; the last one is “turn.finished”.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "description": "Each event is “id: <turn>:<seq>”, “event: <type>” and "
                "“data: <frame as JSON>”; a comment comes after 15 s of silence.",
            }
        }
    },
}
LAST_ID_HEADER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that you saw; the events after it follow.",
    "schema": {"type": "string", "pattern": sse.LAST_ID_PATTERN},
}
NOTHING_FOLLOWS = {"description": "You have seen all events of this turn."}


def _last_seen(request: HttpRequest) -> tuple[uuid.UUID, int] | None:
    return sse.position_in(request.headers.get("Last-Event-ID"))


@router.post(
    "/chat",
    response=failing(400, 404, 409, 410, 413, ok=None),
    summary="Say something to a persona",
    openapi_extra={
        "parameters": [LAST_ID_HEADER],
        "responses": {200: EVENTS, 204: NOTHING_FOLLOWS},
    },
)
async def chat(request: HttpRequest, body: ChatIn) -> HttpResponseBase:
    """Store the message and stream the answer as it is written.

    Leaving does not end the answer. To go on reading, ask for `/chat/<turn>`, or send
    the same again with the same `client_id`.
    """
    last_seen = _last_seen(request)
    user_id = caller_of(request).user.pk
    wish = TurnRequest(
        client_id=body.client_id or str(uuid.uuid4()),
        text=body.text,
        persona=body.persona,
        conversation=as_uuid(body.conversation),
        model=body.model,
        tier=body.tier,
        channel="api",
    )
    command = command_in(wish)
    if command is not None:
        return sse.single_response(await answer_command(user_id, wish, command))
    started = await turns.start_turn(user_id, wish)
    if started.stream is None:
        raise TurnError("turn_gone", _ANSWERED[started.beginning.generating])
    is_resumed = last_seen is not None and last_seen[0] == started.turn
    after = last_seen[1] if last_seen is not None and is_resumed else -1
    return sse.stream_response(started.stream, after) or HttpResponse(status=204)


@router.get(
    "/chat/{uuid:turn}",
    response=failing(400, 404, 410, ok=None),
    summary="Go on reading an answer",
    openapi_extra={
        "parameters": [LAST_ID_HEADER],
        "responses": {200: EVENTS, 204: NOTHING_FOLLOWS},
    },
)
async def chat_turn(request: HttpRequest, turn: uuid.UUID) -> HttpResponseBase:
    """Stream the events of a turn again: all, or those after `Last-Event-ID`.

    A finished turn is kept for ten minutes; after that the answer is 410.
    """
    last_seen = _last_seen(request)
    if last_seen is not None and last_seen[0] != turn:
        raise TurnError("bad_request", "“Last-Event-ID” belongs to another turn.")
    stream = await turns.resume(caller_of(request).user.pk, turn)
    after = -1 if last_seen is None else last_seen[1]
    return sse.stream_response(stream, after) or HttpResponse(status=204)
