"""``POST /chat`` and ``GET /chat/<turn>``: a turn as a stream of events.

The same pipeline as the chat socket's. Whoever wrote the token is the person, so
nobody else reads along.
"""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from channels_app import slash_brief, turns
from channels_app.api import sse
from channels_app.api.auth import Auth, caller_of
from channels_app.api.schemas import ChatIn, as_uuid, failing
from channels_app.errors import TurnError
from channels_app.streams import TurnStream
from channels_app.turn_requests import TurnRequest
from channels_app.typed_commands import answer_command, command_in

router = Router(tags=["Chat"], auth=Auth("chat"))

_ANSWERED = {
    False: "This message was answered before; its events are kept no longer.",
    True: "Cortex stopped while this message was being answered.",
}
"""What a repeat is told, by whether the row says that the answer is being written."""
EVENTS = {
    "description": "The events of the turn, of which the last one is “turn.finished”; "
    "a comment comes after 15 s of silence. A command is answered by the one event "
    "“command.result”, without an id.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "One event.",
                "required": ["event", "data"],
                "properties": {
                    "id": {"type": "string", "pattern": sse.EVENT_ID_PATTERN},
                    "event": {
                        "type": "string",
                        "description": "The type of the frame.",
                        "pattern": r"^(turn\.[a-z_]+|command\.result)$",
                    },
                    "data": {
                        "type": "string",
                        "description": "The frame.",
                        "contentMediaType": "application/json",
                    },
                },
            }
        }
    },
}
LAST_ID_HEADER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that you saw; the events after it follow. "
    "An id of another turn counts as none.",
    "schema": {"type": "string"},
}
NOTHING_FOLLOWS = {"description": "You have seen all events of this turn."}


def _following(request: HttpRequest, stream: TurnStream) -> HttpResponseBase:
    """Return the events that the caller has not seen yet; 204 = there are none."""
    after = sse.last_seen(stream.turn, request.headers.get("Last-Event-ID"))
    return sse.stream_response(stream, after) or HttpResponse(status=204)


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
    if command is not None and command.name == slash_brief.NAME:
        # What it sets up goes on when this token has ended.
        caller_of(request).demand("task")
    frame = await answer_command(user_id, wish, command) if command else None
    if frame is not None:
        return sse.single_response(frame)
    started = await turns.start_turn(user_id, wish)
    if started.stream is None:
        raise TurnError("turn_gone", _ANSWERED[started.beginning.generating])
    return _following(request, started.stream)


@router.get(
    "/chat/{uuid:turn}",
    response=failing(404, 410, ok=None),
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
    stream = await turns.resume(caller_of(request).user.pk, turn)
    return _following(request, stream)
