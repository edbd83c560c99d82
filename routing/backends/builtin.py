"""The built-in model: a small one that runs on this machine without key or account.

The supervisor starts its process on first use and tells the address on the control
socket; ``CORTEX_BUILTIN_URL`` names one instead. The process speaks the same protocol
as any OpenAI-compatible server and takes only calls that carry its key, which is the
user part of the address. After an unreachable address the supervisor is asked once
more, because the process may have been restarted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from accounts.control import is_own_socket
from routing import net
from routing.backends.base import (
    ConnectionFailed,
    ContextTooLong,
    Event,
    Prompt,
    Target,
    Timeouts,
)
from routing.backends.local_openai import open_chat
from routing.backends.openai_wire import request_body
from routing.backends.plain_texts import spelled_out, texts_of
from routing.errors import NetError, Unreachable
from routing.tokens import estimate_tokens

HARD_INPUT_TOKENS: Final = 1200
"""Above this the wait for the first word becomes too long; prompts aim at 900."""
START_S: Final = 65.0
"""How long the supervisor may take to start the process."""


class Builtin:
    """The back end of type ``builtin``."""

    type = "builtin"

    def __init__(self) -> None:
        self._address = ""

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
        prompt = spelled_out(prompt)
        _refuse_long(prompt)
        body = request_body(prompt, "builtin", max_output_tokens=max_output_tokens)
        async with AsyncExitStack() as stack:
            known = bool(self._address)
            try:
                call = open_chat(await self._locate(target), body, timeouts)
                events = await stack.enter_async_context(call)
            except ConnectionFailed:
                self._address = ""
                if not known:
                    raise
                call = open_chat(await self._locate(target), body, timeouts)
                events = await stack.enter_async_context(call)
            yield events

    async def _locate(self, target: Target) -> Target:
        """Return the target with the address and key of the running process."""
        self._address = self._address or settings.CORTEX_BUILTIN_URL
        if not self._address:
            self._address = await _ask_supervisor()
        parts = urlsplit(self._address)
        host = parts.netloc.rpartition("@")[2]
        return replace(
            target,
            base_url=f"{parts.scheme}://{host}/v1",
            api_key=parts.username or "",
            trusted_origin=True,
        )


async def _ask_supervisor() -> str:
    """Return the address; the supervisor starts the process if it must.

    Raises:
        ConnectionFailed: There is none; the sentence says what to do.
    """
    path = settings.CORTEX_CONTROL_SOCKET
    try:
        if not is_own_socket(path):
            raise Unreachable
        line = await net.ask_unix_socket(path, "builtin", timeout_s=START_S)
        answer = json.loads(line)
    except (NetError, ValueError):
        raise ConnectionFailed(
            "The built-in model runs only while Cortex does; start it with `make run`."
        ) from None
    if not answer.get("url"):
        raise ConnectionFailed(
            str(answer.get("error") or "The built-in model did not start.")
        )
    return str(answer["url"])


def _refuse_long(prompt: Prompt) -> None:
    if sum(map(estimate_tokens, texts_of(prompt))) > HARD_INPUT_TOKENS:
        raise ContextTooLong(
            "The built-in model reads only short messages; choose a larger model."
        )
