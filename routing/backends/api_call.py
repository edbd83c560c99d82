"""One call to an API: open it, read its events, or say why there are none.

What the APIs differ in stands in a ``Dialect``; time limits, refusals, broken
connections and the end of an answer are the same for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from typing import Any, Final

from routing import net
from routing.backends.api_errors import ErrorReader
from routing.backends.base import (
    BackendError,
    ConnectionFailed,
    Event,
    Finished,
    TimedOut,
    Timeouts,
    UpstreamFailed,
)
from routing.backends.wire import AnswerStream
from routing.errors import CutOff, NetError, TookTooLong, TooLarge
from routing.interrupts import Patience

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 256 * 1024
MAX_WHOLE_ANSWER_BYTES: Final = 16 * 1024 * 1024
LAST_WORDS_S: Final = 1.5
"""How long to wait for usage and end mark once the host said why the answer ends."""
REFUSAL_WITHIN_S: Final = 2.0
"""How long to wait for the words of a refusal; its status says enough."""
GOODBYE_S: Final = 0.02
"""How long to wait for the end of the response, so that its connection can be kept."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one API answers."""

    answer: Callable[[], AnswerStream]
    """Makes the reader of a streamed answer."""
    error_of: ErrorReader
    as_stream: Callable[[Any], bytes]
    """Turns an answer that came in one piece (JSON, ``None`` if it is none) into the
    stream that would have brought it; raises ``BackendError`` where it is no answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and where to."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    trusted_origins: frozenset[str]


@asynccontextmanager
async def open_call(
    request: Callable[[], Request], dialect: Dialect, timeouts: Timeouts
) -> AsyncIterator[AsyncIterator[Event]]:
    """Send a request and hand over the answer's events.

    Leaving the context ends the connection at once.

    Raises:
        BackendError: On opening, or while the events are read.
    """
    patience = Patience(timeouts)
    async with AsyncExitStack() as stack:
        stack.callback(patience.close)
        with as_backend_errors():
            made = request()
            call = net.stream(
                "POST",
                made.url,
                headers=made.headers,
                json_body=made.body,
                trusted_origins=made.trusted_origins,
                connect_s=timeouts.connect_s,
            )
            answer = await patience.wait(lambda: stack.enter_async_context(call))
            if answer.status != 200:
                raise await _refusal(answer, patience, dialect)
        content_type = answer.headers.get("Content-Type", "").partition(";")[0]
        whole = content_type.strip().lower() in {"application/json", "text/html"}
        reader = (_whole if whole else _events)(answer, patience, dialect)
        yield await stack.enter_async_context(aclosing(reader))


async def _events(
    answer: net.Stream, patience: Patience, dialect: Dialect
) -> AsyncGenerator[Event, None]:
    stream = dialect.answer()
    while not stream.ended and (data := await _read(answer, patience, stream)):
        events = stream.feed(data)
        if events:
            patience.progress()
            for event in events:
                yield event
        if stream.failure is not None:
            raise stream.failure
        if stream.finishing:
            patience.hasten(LAST_WORDS_S)
    if stream.ended:
        await _say_goodbye(answer)
    for event in _last(stream):
        yield event


def _last(stream: AnswerStream) -> Iterator[Event]:
    """Yield the events that end an answer.

    Raises:
        BackendError: It ends in an error, or it was cut.
    """
    last = stream.close()
    yield from last
    if stream.failure is not None:
        raise stream.failure
    if not any(isinstance(event, Finished) for event in last):
        raise ConnectionFailed("The host cut the answer short.")


async def _read(answer: net.Stream, patience: Patience, stream: AnswerStream) -> bytes:
    """Return the next bytes, ``b""`` at the end.

    A host that said why the answer ends may then fall silent or break off: the answer
    is whole.
    """
    try:
        with as_backend_errors():
            return await patience.wait(answer.read)
    except (ConnectionFailed, TimedOut):
        if stream.finishing:
            return b""
        raise


async def _whole(
    answer: net.Stream, patience: Patience, dialect: Dialect
) -> AsyncGenerator[Event, None]:
    """Read an answer from a server that does not stream."""
    with as_backend_errors():
        body = await patience.wait(lambda: answer.read_all(MAX_WHOLE_ANSWER_BYTES))
    try:
        data = net.parse_json(body)
    except ValueError:
        data = None
    if isinstance(data, dict) and data.get("error"):
        raise dialect.error_of(None, data)
    stream = dialect.answer()
    for event in stream.feed(dialect.as_stream(data)):
        yield event
    if stream.failure is not None:
        raise stream.failure
    for event in _last(stream):
        yield event


async def _say_goodbye(answer: net.Stream) -> None:
    with suppress(TimeoutError, NetError):
        async with asyncio.timeout(GOODBYE_S):
            while await answer.read():
                pass


async def _refusal(
    answer: net.Stream, patience: Patience, dialect: Dialect
) -> BackendError:
    """Return the error that a response without an answer means.

    Its status counts even if its body breaks off or never comes: a call that was
    refused has cost nothing.
    """
    body = b""
    with suppress(NetError, TimedOut, TimeoutError):
        async with asyncio.timeout(REFUSAL_WITHIN_S):
            body = await patience.wait(lambda: answer.read_all(MAX_ERROR_BYTES))
    try:
        data = net.parse_json(body)
    except ValueError:
        data = body.decode(errors="replace")
    retry_after = answer.headers.get("Retry-After")
    error = dialect.error_of(answer.status, data, retry_after=retry_after)
    logger.warning("model host answered %d: %s", answer.status, error.code)
    return error


@contextmanager
def as_backend_errors() -> Iterator[None]:
    """Turn errors of the network into errors of a back end."""
    try:
        yield
    except TookTooLong as error:
        late = TimedOut(str(error))
        late.worked = False
        raise late from None
    except TooLarge as error:
        raise UpstreamFailed(str(error)) from None
    except CutOff as error:
        cut = ConnectionFailed(str(error))
        cut.worked = True
        raise cut from None
    except NetError as error:
        raise ConnectionFailed(str(error)) from None
