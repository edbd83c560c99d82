"""Messages for the tests of memory, and a model that distils by a script."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

from django.utils import timezone

from personas.conversations import start_conversation
from personas.files import save_file
from personas.memory.files import SHORT, memory_of
from personas.memory.sources import Said
from personas.models import Conversation, MemoryRun, Message, Persona
from routing.backends.base import Finished, TextDelta, Usage, UsageReported
from routing.backends.scripted import playing
from routing.models import Host, Model, RoleSlot

DAY = date(2026, 11, 20)


def said(text: str, answer: str = "") -> Said:
    """Return a message as it is read, without a database."""
    return Said(uuid.uuid4(), uuid.UUID(int=1), DAY, text, answer)


def say(
    persona: Persona,
    text: str,
    answer: str = "",
    *,
    conversation: Conversation | None = None,
    ago: timedelta = timedelta(hours=2),
    at: datetime | None = None,
    **fields: Any,
) -> Message:
    """Store a message of the owner, in a conversation of its own, with its answer.

    In a conversation that is given it stands below the newest message.
    """
    if conversation is None:
        conversation = start_conversation(persona.owner, persona, first_text=text)
    moment = at or timezone.now() - ago
    above = conversation.messages.order_by("created_at", "id").last()
    values = {"role": "user", "text": text, "created_at": moment} | fields
    values.setdefault("parent", above)
    message = Message.objects.create(
        conversation=conversation, owner=persona.owner, **values
    )
    if answer:
        Message.objects.create(
            conversation=conversation,
            owner=persona.owner,
            parent=message,
            role="assistant",
            text=answer,
            created_at=moment,
        )
    return message


def add_distiller(name: str = "distiller", *, is_local: bool = True) -> Model:
    """Register a scripted model and make it the shared chain for ``distill``."""
    host = Host.objects.create(name=name, type="scripted", is_local=is_local)
    model = Model.objects.create(
        host=host, name=name, label=name, context_tokens=32_000, max_output_tokens=2_000
    )
    place = RoleSlot.objects.filter(role="distill").count()
    RoleSlot.objects.create(role="distill", position=place, model=model)
    return model


def answer(text: str) -> list[Any]:
    """Return the script of a model that says this."""
    return [TextDelta(text), UsageReported(Usage(900, 40)), Finished()]


@contextmanager
def answering(*texts: str) -> Iterator[None]:
    """Let the distiller give these answers in turn; the last one repeats."""
    with playing(distiller=[answer(text) for text in texts]):
        yield


def memory(persona: Persona, name: str = SHORT) -> str:
    """Return the text of a memory file."""
    return memory_of(persona)[name].text


def write(persona: Persona, text: str, name: str = SHORT) -> None:
    """Save a memory file."""
    save_file(persona, name, text, author=persona.owner)


def newest(persona: Persona) -> MemoryRun:
    """Return the newest run."""
    return persona.memory_runs.order_by("-created_at")[0]
