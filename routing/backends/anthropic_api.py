"""Anthropic's API: messages, streamed.

The base URL is the part before ``/v1/messages``; without one it is the vendor's.

Source: Anthropic API reference, "Messages", "Versions".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from routing.backends.anthropic_errors import error_of
from routing.backends.anthropic_wire import MessageStream, as_stream, request_body
from routing.backends.api_call import Dialect, Request, open_call
from routing.backends.base import Event, Prompt, Target, Timeouts
from routing.backends.vendors import require_key, target_address

VERSION: Final = "2023-06-01"
MESSAGES: Final = Dialect(MessageStream, error_of, as_stream)


class AnthropicAPI:
    """The back end of type ``anthropic_api``."""

    type = "anthropic_api"

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
            body = request_body(
                prompt, target.model_name, max_output_tokens=max_output_tokens
            )
            headers = headers_for(target.api_key)
            return Request(address + "/v1/messages", headers, body, origins)

        async with open_call(request, MESSAGES, timeouts) as events:
            yield events


def headers_for(api_key: str) -> dict[str, str]:
    """Return the headers of every request to the API."""
    key = {"x-api-key": api_key} if api_key else {}
    return {"anthropic-version": VERSION, **key}
