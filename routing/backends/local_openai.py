"""Any OpenAI-compatible server: Ollama, Open WebUI, llama.cpp, vLLM and others.

The base URL is the part before ``/chat/completions``: ``http://box:11434/v1`` for
Ollama, llama.cpp and vLLM, ``http://box:8080/api`` for Open WebUI. Redirects are not
followed, so the key reaches its own host only.

Ollama reads no more than its own context and drops the rest without a word; where the
count it reports gives that away, the answer ends with a note.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from routing.backends.api_call import Dialect, Request, open_call
from routing.backends.base import (
    Event,
    Finished,
    Prompt,
    Target,
    Timeouts,
    Usage,
    UsageReported,
)
from routing.backends.openai_errors import error_of
from routing.backends.openai_wire import ChatStream, as_stream, request_body
from routing.backends.plain_texts import texts_of
from routing.backends.vendors import target_address
from routing.tokens import estimate_tokens

CHAT: Final = Dialect(ChatStream, error_of, as_stream)
SUSPICIOUS_TOKENS: Final = 2000
"""Below this an estimate says too little about what a host should have read."""


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
        async with (
            open_chat(target, body, timeouts) as events,
            aclosing(_watched(events, prompt)) as watched,
        ):
            yield watched


def open_chat(
    target: Target, body: dict[str, Any], timeouts: Timeouts
) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
    """Send ``body`` to the target and hand over the answer's events.

    Raises:
        BackendError: On opening, or while the events are read.
    """

    def request() -> Request:
        address, origins = target_address(target)
        url = address + "/chat/completions"
        return Request(url, bearer(target.api_key), body, origins)

    return open_call(request, CHAT, timeouts)


def bearer(api_key: str) -> dict[str, str]:
    """Return the header that carries a key; none without one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


async def _watched(
    events: AsyncIterator[Event], prompt: Prompt
) -> AsyncGenerator[Event, None]:
    """Pass the events on; tell at the end if the prompt seems to have been cut."""
    usage = Usage()
    async for event in events:
        if isinstance(event, UsageReported):
            usage = event.usage
        elif isinstance(event, Finished):
            event = replace(event, note=note_on(prompt, usage))
        yield event


def note_on(prompt: Prompt, usage: Usage) -> str:
    """Return a sentence if a host read far less of a prompt than was sent, else "".

    Half of the estimate is far beyond the error that estimates have. Hosts that count
    only what they had not kept from the call before say so, and are believed.
    """
    if not usage.input_tokens or usage.cache_read_tokens:
        return ""
    sent = sum(map(estimate_tokens, texts_of(prompt)))
    if sent < SUSPICIOUS_TOKENS or usage.input_tokens * 2 > sent:
        return ""
    return (
        f"The host seems to have read only {usage.input_tokens:,} of about {sent:,} "
        "tokens; its context is smaller than the one registered here."
    )
