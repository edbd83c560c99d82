"""A turn as server-sent events: one event for each frame, ids to go on from.

The generation belongs to the turn: a reader that leaves ends nothing. Each event is
``id: <turn>:<seq>``, ``event: <type of the frame>``, ``data: <the frame as JSON>``.
Source: WHATWG, HTML Living Standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse

from channels_app.api.schemas import UUID
from channels_app.streams import Frame, TurnStream, encode

COMMENT_EVERY_S = 15.0
"""After so long without an event a comment says that the connection is alive."""
COMMENT = ": still here\n\n"
EVENT_ID_PATTERN = f"^{UUID}:[0-9]+$"
MAX_SEQ_DIGITS = 15
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def last_seen(turn: uuid.UUID, last_event_id: str | None) -> int:
    """Return the number of the last event of a turn that a reader saw; -1 = none.

    What is no id of this turn counts as none: a reader that comes from elsewhere gets
    everything.
    """
    name, _, seq = (last_event_id or "").partition(":")
    is_number = seq.isascii() and seq.isdigit() and len(seq) <= MAX_SEQ_DIGITS
    return int(seq) if is_number and name == str(turn) else -1


def stream_response(
    stream: TurnStream, after: int = -1
) -> StreamingHttpResponse | None:
    """Return what follows event ``after``; ``None`` when nothing ever will."""
    if stream.finished and after >= stream.next_seq - 1:
        return None
    return _response(_events(stream, after))


def single_response(frame: dict[str, Any]) -> StreamingHttpResponse:
    """Return a stream of one event that belongs to no turn."""
    return _response(_once(f"event: {frame['type']}\ndata: {encode(frame)}\n\n"))


def _response(events: AsyncIterator[str]) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        events, content_type="text/event-stream; charset=utf-8", headers=_HEADERS
    )


async def batches(
    stream: TurnStream, after: int
) -> AsyncIterator[Sequence[Frame] | None]:
    """Yield the frames after ``after``; ``None`` when nothing came for a while."""
    reading = stream.read(after)
    while True:
        try:
            async with asyncio.timeout(COMMENT_EVERY_S):
                frames = await anext(reading, None)
        except TimeoutError:
            # The timeout has ended the reader; a new one begins where it stood.
            reading = stream.read(after)
            yield None
            continue
        if frames is None:
            return
        after = frames[-1].seq
        yield frames


async def _events(stream: TurnStream, after: int) -> AsyncIterator[str]:
    """Yield the events after ``after`` until the turn has finished."""
    async for frames in batches(stream, after):
        if frames is None:
            yield COMMENT
            continue
        yield "".join(_event(stream.turn, frame) for frame in frames)
        if frames[-1].type == "turn.finished":
            return


def _event(turn: uuid.UUID, frame: Frame) -> str:
    return f"id: {turn}:{frame.seq}\nevent: {frame.type}\ndata: {frame.json}\n\n"


async def _once(event: str) -> AsyncIterator[str]:
    yield event
