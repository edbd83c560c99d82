"""A program's end of the API, against the real middleware and routes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.test import AsyncClient

from accounts import tokens
from accounts.models import User
from routing.db_pool import run_in_db_pool


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        """The number within its turn."""
        return int(self.id.rpartition(":")[2])


def events_of(text: str) -> list[Event]:
    """Return the events of a stream; comments and a cut last event are left out."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if line[:1] != ":"
        )
        if fields:
            found.append(
                Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
            )
    return found


class Api:
    """Sends requests with a token, as a script does."""

    def __init__(self, token: str | None = None, **headers: str) -> None:
        self.client = AsyncClient()
        self.headers = dict(headers)
        if token is not None:
            self.headers["authorization"] = f"Bearer {token}"

    async def get(self, path: str, **headers: str) -> Any:
        """Ask for an address."""
        return await self.client.get(path, headers=self.headers | headers)

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """Send a JSON value, or a text as it is."""
        return await self.client.post(
            path,
            data=body if isinstance(body, str | bytes) else json.dumps(body),
            content_type="application/json",
            headers=self.headers | headers,
        )

    async def chat(self, text: str, **fields: Any) -> list[Event]:
        """Say something to ``inara`` and return all events of the turn."""
        body = {"persona": "inara", "text": text, "model": "scripted"} | fields
        response = await self.post("/chat", body)
        assert response.status_code == 200, await_text(response)
        return events_of(await whole(response))


def await_text(response: Any) -> str:
    """Return the body of an answer that is no stream."""
    return "" if response.streaming else response.content.decode()


async def whole(response: Any) -> str:
    """Return everything that a stream sends."""
    return b"".join([part async for part in response.streaming_content]).decode()


async def api_of(user: User, **options: Any) -> Api:
    """Return the API as a program of this person sees it, with a new token."""
    return Api(await run_in_db_pool(lambda: tokens.create_token(user, **options)))
