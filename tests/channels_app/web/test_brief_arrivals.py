"""Open pages learn of what briefs answered in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app.jobs.brief_turns import first_id
from channels_app.models import QueuedTask
from channels_app.web import sockets
from channels_app.web.brief_arrivals import BriefArrivals
from personas.conversations import start_conversation
from personas.models import Message, Persona
from tests.support.chat import connected

pytestmark = pytest.mark.django_db(transaction=True)
Seen = Callable[..., Any]


def ended_run(persona: Persona, seconds_ago: float = 0, **fields: Any) -> Message:
    """Make a run that has ended, as another process does, and return its answer."""
    chat = start_conversation(persona.owner, persona)
    task = QueuedTask.objects.create(
        **{"kind": "brief", "owner": persona.owner, "attempts": 1} | fields,
        text="What is new?",
        state=QueuedTask.State.DONE,
        conversation=chat,
        finished_at=timezone.now() - timedelta(seconds=seconds_ago),
    )
    return Message.objects.create(
        conversation=chat,
        owner=persona.owner,
        role=Message.Role.ASSISTANT,
        channel="schedule",
        client_id=first_id(task),
    )


async def test_each_run_is_told_once(persona: Persona, bob: User, seen: Seen) -> None:
    arrivals = BriefArrivals()
    owner = persona.owner_id
    await seen(lambda: ended_run(persona, 3600))
    assert await arrivals.look([owner]) == []

    answer = await seen(ended_run, persona)
    await seen(lambda: ended_run(persona, kind="task"))

    assert await arrivals.look([bob.pk]) == []
    assert await arrivals.look([owner]) == [
        {
            "type": "conversation.changed",
            "user_id": owner,
            "conversation": str(answer.conversation_id),
            "turn": str(answer.pk),
        }
    ]
    assert await arrivals.look([owner]) == []
    # One that was committed late, although it ended before.
    late = await seen(lambda: ended_run(persona, 2))
    (note,) = await arrivals.look([owner])
    assert note["turn"] == str(late.pk)


async def test_an_open_page_is_told(
    persona: Persona, alice_session: str, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LOOK_EVERY_S", 0.05)
    async with connected(alice_session) as tab:
        answer = await seen(ended_run, persona)
        async with asyncio.timeout(10):
            frame = await tab.receive()
    assert frame["type"] == "conversation.changed"
    assert frame["turn"] == str(answer.pk)
