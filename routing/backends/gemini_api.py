"""The Gemini API: content, streamed.

The base URL is the part before ``/v1beta/models``; without one it is the vendor's. The
key travels in a header alone, because addresses end up in logs.

Source: Gemini API reference, "Generating content".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

from routing.backends.api_call import Dialect, Request, open_call
from routing.backends.base import Event, Prompt, Target, Timeouts
from routing.backends.gemini_errors import error_of
from routing.backends.gemini_wire import ContentStream, as_stream, request_body
from routing.backends.vendors import require_key, target_address

CONTENT: Final = Dialect(ContentStream, error_of, as_stream)


class GeminiAPI:
    """The back end of type ``gemini_api``."""

    type = "gemini_api"

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

        def request() -> Request:
            require_key(target.host_type, target.base_url, target.api_key)
            address, origins = target_address(target)
            url = address + path_for(target.model_name)
            body = request_body(
                prompt, target.model_name, max_output_tokens=max_output_tokens
            )
            return Request(url, headers_for(target.api_key), body, origins)

        async with open_call(request, CONTENT, timeouts) as events:
            yield events


def path_for(model_name: str) -> str:
    """Return path and query of a model's streamed answers."""
    name = quote(model_name.removeprefix("models/"), safe="")
    return f"/v1beta/models/{name}:streamGenerateContent?alt=sse"


def headers_for(api_key: str) -> dict[str, str]:
    """Return the header that carries the key; none without one."""
    return {"x-goog-api-key": api_key} if api_key else {}
