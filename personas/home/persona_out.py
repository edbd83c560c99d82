"""Writes a persona as a folder of the old tree.

Files are written as they are. Conversations are written as sessions, except temporary
and deleted ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from personas.conversations import conversations_visible_to
from personas.home.disk import Folder, opened
from personas.home.persona_folder import SESSIONS
from personas.home.report import Report
from personas.home.session_text import own_name, own_text, session_text
from personas.models import Conversation, HomeSession, Persona


def write_persona(persona: Persona, folder: Folder, where: str, report: Report) -> None:
    """Write all of a persona into an open empty folder.

    Raises:
        Unreadable: The disk refuses something.
    """
    files = list(persona.files.order_by("name"))
    for file in files:
        folder.write(file.name, file.text.encode())
    sessions = 0
    texts = _sessions(persona)
    first = next(texts, None)
    if first is not None:
        with opened(folder.make_folder(SESSIONS)) as inner:
            for name, text in chain([first], texts):
                inner.write(name, text.encode())
                sessions += 1
    report.taken(where, f"{len(files):,} files and {sessions:,} sessions are written.")


def _sessions(persona: Persona) -> Iterator[tuple[str, str]]:
    """Yield name and text of each session; those of old homes under their names."""
    there = conversations_visible_to(persona.owner).filter(
        persona=persona, temporary=False
    )
    old = HomeSession.objects.filter(persona=persona, conversation__in=there)
    names = set()
    for session in old.select_related("conversation").order_by("name"):
        names.add(session.conversation_id)
        yield session.name, session_text(session)
    own: list[Conversation] = list(there.exclude(pk__in=names).order_by("created_at"))
    for conversation in own:
        if conversation.current_message_id or conversation.messages.exists():
            yield own_name(conversation), own_text(conversation)
