"""The chat socket against the real application."""

from __future__ import annotations

import pytest

from accounts.models import User
from personas.models import Persona
from tests.support.chat import connected, scripted_model

pytestmark = [pytest.mark.usefixtures("turns_running")]


async def test_a_message_is_answered(
    alice: User, persona: Persona, alice_session: str
) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(scripted_model)()
    async with connected(alice_session) as socket:
        finished = await socket.ask("one two three", model="scripted")
        print(socket.raw)
        assert finished["outcome"] == "complete"
        assert socket.text_of(finished["turn"]) == "one two three"
