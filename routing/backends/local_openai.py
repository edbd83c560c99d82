"""Any OpenAI-compatible server: Ollama, Open WebUI, llama.cpp, vLLM and others.

The base URL is the part before ``/chat/completions``: ``http://box:11434/v1`` for
Ollama, llama.cpp and vLLM, ``http://box:8080/api`` for Open WebUI. Redirects are not
followed, so the key reaches its own host only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, Final

from routing import net
from routing.addresses import origin_of
from routing.backends.base import (
    BackendError,
    ConnectionFailed,
    Event,
    Prompt,
    Target,
    TimedOut,
    Timeouts,
    UpstreamFailed,
)
from routing.backends.openai_errors import error_of
from routing.backends.openai_wire import ChatStream, request_body, whole_answer
from routing.errors import CutOff, NetError, TookTooLong, TooLarge
from routing.interrupts import Patience

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 256 * 1024
MAX_WHOLE_ANSWER_BYTES: Final = 16 * 1024 * 1024
LAST_WORDS_S: Final = 1.5
"""How long to wait for usage and end mark once the host said why the answer ends."""
GOODBYE_S: Final = 0.02
"""How long to wait for the end of the response, so that its connection can be kept."""


class LocalOpenAI:
    """The back end of type ``local_openai``."""

    type = "local_openai"

    @asynccontextmanager
    async def stream(
        self,
        prompt: Prompt,
        target: Target,
        *,
        max_output_tokens: int,
        timeouts: Timeouts,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Open one call, see ``routing.backends.base.Backend.stream``."""
        body = request_body(
            prompt, target.model_name, max_output_tokens=max_output_tokens
        )
        async with open_chat(target, body, timeouts) as events:
            yield events


@asynccontextmanager
async def open_chat(
    target: Target, body: dict[str, Any], timeouts: Timeouts
) -> AsyncIterator[AsyncIterator[Event]]:
    """Send ``body`` to the target and hand over the answer's events.

    Raises:
        BackendError: On opening, or while the events are read.
    """
    patience = Patience(timeouts)
    async with AsyncExitStack() as stack:
        stack.callback(patience.close)
        with _as_backend_errors():
            request = net.stream(
                "POST",
                target.base_url.rstrip("/") + "/chat/completions",
                headers=bearer(target.api_key),
                json_body=body,
                trusted_origins=trusted_origins_of(target),
                connect_s=timeouts.connect_s,
            )
            answer = await patience.wait(lambda: stack.enter_async_context(request))
            if answer.status != 200:
                raise await _refusal(answer, patience)
        content_type = answer.headers.get("Content-Type", "").partition(";")[0]
        whole = content_type.strip() in {"application/json", "text/html"}
        reader = (_whole if whole else _events)(answer, patience)
        events = await stack.enter_async_context(aclosing(reader))
        yield events


def bearer(api_key: str) -> dict[str, str]:
    """Return the header that carries a key; none without one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def trusted_origins_of(target: Target) -> frozenset[str]:
    """Return the target's own origin if an administrator saved it."""
    return frozenset({origin_of(target.base_url)} if target.trusted_origin else ())


async def _events(
    answer: net.Stream, patience: Patience
) -> AsyncGenerator[Event, None]:
    chat = ChatStream()
    while not chat.ended and (data := await _read(answer, patience, chat)):
        events = chat.feed(data)
        if events:
            patience.progress()
            for event in events:
                yield event
        if chat.failure is not None:
            raise chat.failure
        if chat.finishing:
            patience.hasten(LAST_WORDS_S)
    if chat.ended:
        await _say_goodbye(answer)
    last = chat.close()
    if not last:
        raise ConnectionFailed("The host cut the answer short.")
    for event in last:
        yield event


async def _read(answer: net.Stream, patience: Patience, chat: ChatStream) -> bytes:
    """Return the next bytes, ``b""`` at the end.

    A host that said why the answer ends may then fall silent or break off: the answer
    is whole.
    """
    try:
        with _as_backend_errors():
            return await patience.wait(answer.read)
    except (ConnectionFailed, TimedOut):
        if chat.finishing:
            return b""
        raise


async def _whole(answer: net.Stream, patience: Patience) -> AsyncGenerator[Event, None]:
    """Read an answer from a server that does not stream."""
    with _as_backend_errors():
        body = await patience.wait(lambda: answer.read_all(MAX_WHOLE_ANSWER_BYTES))
    for event in whole_answer(body):
        yield event


async def _say_goodbye(answer: net.Stream) -> None:
    with suppress(TimeoutError, NetError):
        async with asyncio.timeout(GOODBYE_S):
            while await answer.read():
                pass


async def _refusal(answer: net.Stream, patience: Patience) -> BackendError:
    """Return the error that a response without an answer means."""
    try:
        body = await patience.wait(lambda: answer.read_all(MAX_ERROR_BYTES))
    except NetError:
        body = b""
    try:
        data = net.parse_json(body)
    except ValueError:
        data = body.decode(errors="replace")
    error = error_of(answer.status, data, retry_after=answer.headers.get("Retry-After"))
    logger.warning("model host answered %d: %s", answer.status, error.code)
    return error


@contextmanager
def _as_backend_errors() -> Iterator[None]:
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
