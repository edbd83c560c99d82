"""Fills a persona's memory for tests in a browser and for the picture of its page."""

from __future__ import annotations

from datetime import date, timedelta

from django.utils import timezone

from personas.conversations import start_conversation
from personas.files import MEMORY_FILES, get_file, save_file
from personas.memory.lines import entry_line
from personas.models import MemoryRun, MemorySettings, Message, Persona

SHORT, MID, LONG = MEMORY_FILES
DAY = date(2026, 11, 20)


def fill(username: str, name: str) -> None:
    """Write lines into all three files, a run that waits, and two that are over."""
    persona = Persona.objects.get(owner__username=username, name=name)
    MemoryRun.objects.filter(persona=persona).delete()
    there, gone = (_message(persona, text) for text in ("On Mondays.", "In Rome."))
    Message.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    old = entry_line(
        "Looks for a room to practise in.",
        said_on=DAY - timedelta(days=3),
        sources=[there.pk],
    )
    texts = {
        SHORT: [
            old,
            entry_line(
                "Practises the Bach suites in the evening.",
                said_on=DAY - timedelta(days=1),
                sources=[there.pk],
            ),
            entry_line(
                "Has a cello lesson on Mondays at six, with Frau Sommer.",
                said_on=DAY,
                sources=[there.pk],
            ),
            entry_line(
                "Was in Rome last summer.",
                said_on=DAY - timedelta(days=2),
                sources=[gone.pk],
            ),
        ],
        MID: [
            entry_line(
                "Works on a talk about bridges for the spring; wants honest criticism.",
                said_on=DAY - timedelta(days=20),
                sources=[there.pk],
            ),
            entry_line(
                "Sleeps badly before journeys.",
                said_on=DAY - timedelta(days=16),
                private=True,
            ),
        ],
        LONG: [
            entry_line("Prefers short answers, and tea to coffee.", pinned=True),
            entry_line(
                "Has a sister, Mira, in Porto; they speak on Sundays.",
                said_on=DAY - timedelta(days=90),
            ),
        ],
    }
    for file, lines in texts.items():
        save_file(persona, file, "\n".join([*lines, ""]), author=persona.owner)
    _runs(persona, old, there)
    settings = {"review_days": 3, "asked_at": None}
    MemorySettings.objects.update_or_create(persona=persona, defaults=settings)


def change_lines(username: str, name: str) -> None:
    """Write into the short memory what another device would have written."""
    persona = Persona.objects.get(owner__username=username, name=name)
    text = get_file(persona, SHORT).text.replace("Mondays", "Fridays")
    save_file(persona, SHORT, text, author=persona.owner)


def _message(persona: Persona, text: str) -> Message:
    chat = start_conversation(persona.owner, persona)
    return Message.objects.create(
        conversation=chat, owner=persona.owner, role="user", text=text
    )


def _runs(persona: Persona, old: str, source: Message) -> None:
    found = entry_line(
        "Found a room to practise in, by the river; free from Sunday on.",
        said_on=DAY + timedelta(days=1),
        sources=[source.pk],
    )
    values = {"persona": persona, "model": "small", "cost_nano_usd": 410_000}
    MemoryRun.objects.create(
        step="short",
        state="empty",
        messages=3,
        explanation="There was nothing in it that should be kept.",
        **values,
    )
    MemoryRun.objects.create(
        step="mid",
        state="applied",
        changes=[
            {
                "file": MID,
                "remove": [],
                "add": [entry_line("Sleeps badly before journeys.", private=True)],
            }
        ],
        **values,
    )
    MemoryRun.objects.create(
        step="short",
        state="waiting",
        messages=14,
        changes=[{"file": SHORT, "remove": [old], "add": [found]}],
        passes_at=timezone.now() + timedelta(days=3),
        **values,
    )
