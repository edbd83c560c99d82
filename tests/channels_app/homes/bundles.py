"""Leaving bundles for tests: a person with one of everything, and zips that lie."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from accounts.models import User
from channels_app.homes.bundle_export import write_bundle
from channels_app.models import Schedule
from ledger import entries, previews
from ledger.models import LedgerEntry
from personas.files import save_file
from personas.memory.wishes import remember
from personas.models import (
    Conversation,
    MemoryRun,
    MemorySettings,
    Message,
    Persona,
)
from tests.support.briefs import make_brief
from tests.support.ledger import book, make_caller

LONG_AGO = datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=UTC)
MANIFEST = "manifest.json"


def fill(persona: Persona) -> Message:
    """Give a persona's owner one of everything; return the answer in their chat."""
    user = persona.owner
    User.objects.filter(pk=user.pk).update(
        first_name="Alice", last_name="Liddell", time_zone="Europe/Berlin"
    )
    Persona.objects.filter(pk=persona.pk).update(created_at=LONG_AGO)
    MemorySettings.objects.create(persona=persona, review_days=3, idle_minutes=None)
    chat = Conversation.objects.create(
        owner=user, persona=persona, title="Cellos & violas", memory_paused=True
    )
    asked = say(chat, "user", "I play the cello.", None)
    answer = say(
        chat,
        "assistant",
        "Lovely – “since when”?\n",
        asked,
        seams=[{"at": 3, "model": "opus"}],
        model="haiku",
        input_tokens=12,
        cost_nano_usd=345,
        finished_at=LONG_AGO + timedelta(seconds=4),
    )
    say(
        chat,
        "assistant",
        "Another answer.",
        asked,
        state="failed",
        forgotten_at=LONG_AGO,
    )
    guest = say(chat, "user", "Me too!", answer, author_name="Zoë", from_guest=True)
    Conversation.objects.filter(pk=chat.pk).update(
        created_at=LONG_AGO, current_message=guest
    )
    _remember(persona, asked)
    brief = make_brief(persona, conversation=chat, enabled=False)
    Schedule.objects.filter(pk=brief.pk).update(created_at=LONG_AGO)
    _spend(user, answer)
    return answer


def say(
    chat: Conversation, role: str, text: str, parent: Message | None, **fields: Any
) -> Message:
    """Store a message a second after its parent."""
    values = {"state": "complete", "created_at": LONG_AGO, "distilled_at": LONG_AGO}
    if parent is not None:
        values["created_at"] = parent.created_at + timedelta(seconds=1)
    return Message.objects.create(
        conversation=chat,
        owner=chat.owner,
        role=role,
        text=text,
        parent=parent,
        **(values | fields),
    )


def _remember(persona: Persona, asked: Message) -> None:
    save_file(
        persona,
        "MEMORY_SHORT.md",
        "- An older line.\n",
        author=None,
        reason="Distilled",
    )
    save_file(persona, "Übungen 1.txt", "Tonleitern\n", author=persona.owner)
    Conversation.objects.filter(pk=asked.conversation_id).update(memory_paused=False)
    asked = Message.objects.get(pk=asked.pk)
    wished = remember(persona, "Plays the cello.", author=persona.owner, source=asked)
    assert wished.run is not None
    MemoryRun.objects.filter(pk=wished.run.pk).update(created_at=LONG_AGO)
    Conversation.objects.filter(pk=asked.conversation_id).update(memory_paused=True)


def _spend(user: User, answer: Message) -> None:
    caller = make_caller(user, turn_id=answer.pk, persona_name="inara")
    attempt = book(user, caller=caller, preview="I play the cello.")
    entries.adjust(attempt, note="the bill", cost_nano_usd=77)
    nowhere = make_caller(user, turn_id=None)
    book(user, caller=nowhere, outcome="failed", input_tokens=None, output_tokens=None)
    assert previews.for_user(user, [attempt])
    assert LedgerEntry.objects.filter(user_id=user.pk).count() == 5


# --- zips ---------------------------------------------------------------------


def bundle_of(user: User, path: Path) -> Path:
    """Write a person's bundle."""
    with open(path, "w+b") as file:
        write_bundle(User.objects.get(pk=user.pk), file)
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return what is in a bundle, by name."""
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def changed(
    path: Path, changes: Mapping[str, bytes | None], *, truthful: bool = True
) -> Path:
    """Write a bundle again with other entries (``None`` = without it).

    ``truthful``: the manifest is changed too, so that it names what is there.
    """
    found: dict[str, Any] = contents(path) | dict(changes)
    found = {name: data for name, data in found.items() if data is not None}
    if truthful and MANIFEST not in changes:
        manifest = json.loads(found[MANIFEST])
        manifest["entries"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in found.items()
            if name != MANIFEST
        }
        found[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in found.items():
            zipped.writestr(name, data)
    return path


def edited(path: Path, name: str, edit: Callable[[str], str]) -> Path:
    """Write a bundle again with one entry's text changed; the manifest agrees."""
    before = contents(path)[name].decode()
    after = edit(before)
    assert after != before, "the test changes nothing"
    return changed(path, {name: after.encode()})


def with_entry(path: Path, info: zipfile.ZipInfo, data: bytes = b"x") -> Path:
    """Append one raw entry to a bundle."""
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as zipped:
        zipped.writestr(info, data)
    path.write_bytes(buffer.getvalue())
    return path
