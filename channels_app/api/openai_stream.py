"""A turn as the response of a client that asked for a stream of chunks.

The response waits for the first word, but not long: until it has begun, a failure can
still be told by the status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress

from django.http import HttpRequest, StreamingHttpResponse

from channels_app.api import openai_errors, sse
from channels_app.api.openai_answers import Answer, chunks
from channels_app.api.stop_words import StopWords
from channels_app.streams import Frame, TurnStream

WAIT_FOR_STATUS_S = 10.0
_CONTENT = frozenset({"turn.delta", "turn.thinking", "turn.tool_call"})


class _Events:
    """The events of a response; when it is closed, its reader has left."""

    def __init__(
        self, events: AsyncIterator[bytes], on_left: Callable[[], None]
    ) -> None:
        self._events = events
        self._on_left = on_left
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events

    def close(self) -> None:
        """Take note that the response is over; called on any thread."""
        self._loop.call_soon_threadsafe(self._on_left)


async def stream_response(
    request: HttpRequest,
    answer: Answer,
    stream: TurnStream,
    *,
    with_usage: bool,
    on_stop_word: Callable[[], None],
    on_left: Callable[[], None],
) -> StreamingHttpResponse:
    """Return the answer as a stream of events.

    ``on_left`` is called when nobody reads any more, also at the end.

    Raises:
        TurnError: The turn failed before its first word.
    """
    first = await _until_content(stream)
    if not any(frame.type in _CONTENT for frame in first):
        _check_end(answer, first)
    events = chunks(
        answer,
        _batches(stream, first),
        on_stop_word,
        with_usage=with_usage,
        error_of=lambda error: openai_errors.body_of(request, error),
    )
    response = StreamingHttpResponse(
        _Events(events, on_left), content_type="text/event-stream; charset=utf-8"
    )
    response.headers["X-Accel-Buffering"] = "no"  # proxies pass it on at once
    return response


async def _until_content(stream: TurnStream) -> list[Frame]:
    """Return the turn's frames up to the first of the answer, or the end."""
    first: list[Frame] = []
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(WAIT_FOR_STATUS_S),
            aclosing(stream.read()) as reading,  # type: ignore[type-var]
        ):
            async for frames in reading:
                first += frames
                if any(frame.type in _CONTENT for frame in frames):
                    break
    return first


def _check_end(answer: Answer, first: Sequence[Frame]) -> None:
    """Raise what a turn ended with that brought nothing; else do nothing."""
    ended = Answer(answer.turn, answer.persona, StopWords(()))
    for frame in first:
        ended.take(frame)
    if ended.finished is not None:
        ended.finish_reason()


async def _batches(
    stream: TurnStream, first: Sequence[Frame]
) -> AsyncIterator[Sequence[Frame] | None]:
    """Yield ``first``, then what follows; ``None`` when nothing came for a while."""
    after = -1
    if first:
        after = first[-1].seq
        yield first
    async for frames in sse.batches(stream, after):
        yield frames
