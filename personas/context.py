"""From a persona and a conversation to the prompt of one model call.

Two steps. ``load_material`` reads everything that could be needed, with at most three
queries; ``personas.prompts.build_prompt`` is pure and cuts it to the budget of one
model, so that the dispatcher can call it again for each candidate:

    material = load_material(conversation, upto=message)
    prompt = build_prompt(material, 6_000)

What enters by context tier: 1 the identity; 2 also soul, user, short and mid memory;
3 also the long memory and the persona's free Markdown and text files, in this order of
priority. A temporary conversation gets no memory. ``personas.prompts`` says how the
material is cut, ``personas.recollections`` adds what matters of old conversations.

Texts of files and messages are data: they are joined, never formatted or expanded.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from personas.files import IDENTITY, MEMORY_FILES, SOUL, STANDARD_FILES, USER
from personas.models import Conversation, Message, Persona, PersonaFile
from personas.prepared import Prepared
from personas.privacy import readable_text
from personas.prompts import FileText, HistoryMessage, Material
from personas.tree import PathText, path_length, path_texts
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens

HISTORY_LIMIT = 200
"""Messages of the branch that are read; older ones count as left out."""
COUNT_LIMIT = 10_000
"""Older messages are counted up to here, so that no branch makes a turn slow."""
SHARED = (
    "Several people write here; the name of each stands before what they wrote, and "
    "everybody reads your answers."
)
"""What a persona is told about a room of several."""
_SHORT, _MID, _LONG = MEMORY_FILES
_FILES_OF_TIER = {1: (IDENTITY,), 2: (IDENTITY, SOUL, USER, _SHORT, _MID)}
_FILES_OF_TIER[3] = (*_FILES_OF_TIER[2], _LONG)


def _file_rows(names: tuple[str, ...] | None) -> Prepared[PersonaFile]:
    """Return the query for a persona's files of these names, or for all of them."""

    def build(persona_id: int) -> QuerySet[PersonaFile]:
        files = PersonaFile.objects.filter(persona=persona_id)
        return files if names is None else files.filter(name__in=names)

    return Prepared(build, [(Persona._meta.get_field("id"), -7)])


_FILE_ROWS_OF_TIER = {
    tier: _file_rows(None if tier == 3 else names)
    for tier, names in _FILES_OF_TIER.items()
}


def load_material(
    conversation: Conversation,
    *,
    upto: Message,
    alone: bool = True,
    now: datetime | None = None,
) -> Material:
    """Read what a prompt that answers ``upto`` can be made of.

    Args:
        conversation: With its persona and owner, as the ``get_…`` functions give it.
        upto: The end of the branch: the message to be answered; only its id is read.
        alone: Whether the owner is the only one who reads the answer; otherwise
            private files and lines stay out. In a shared conversation they always do.
        now: For tests; by default the current time.

    Raises:
        ValueError: ``upto`` is not a message of the conversation.
    """
    path = path_texts(conversation, upto.pk, limit=HISTORY_LIMIT)
    if not path:
        raise ValueError("The message is not of this conversation.")
    alone = alone and not conversation.shared
    older = 0
    if len(path) == HISTORY_LIMIT:
        older = path_length(conversation, upto.pk, limit=COUNT_LIMIT) - HISTORY_LIMIT
    history = _as_history(path[:-1])
    (current,) = _as_history(path[-1:]) or [HistoryMessage("user", "", 0)]
    persona, owner = conversation.persona, conversation.owner
    opening = _opening(persona, owner if alone else None)
    return Material(
        opening=f"{opening} {SHARED}" if conversation.shared else opening,
        introduction=_introduction(persona),
        files=_readable_files(persona, alone=alone, memory=not conversation.temporary),
        closing=_closing(owner, now or timezone.now()),
        history=tuple(history),
        current=current,
        older_messages=older,
    )


def persona_material(
    persona: Persona, *, alone: bool = True, now: datetime | None = None
) -> Material:
    """Read a persona's part alone, for the preview of its instructions."""
    return Material(
        opening=_opening(persona, persona.owner if alone else None),
        introduction=_introduction(persona),
        files=_readable_files(persona, alone=alone),
        closing=_closing(persona.owner, now or timezone.now()),
        history=(),
        current=None,
    )


def _as_history(path: Iterable[PathText]) -> list[HistoryMessage]:
    """Return a branch without the answers that failed before their first word."""
    return [_as_said(message) for message in path if message.text.strip()]


def _as_said(message: PathText) -> HistoryMessage:
    """Return a message as the model reads it: who wrote it stands before the text.

    In a room of several the model could not tell them apart otherwise. Guests are
    marked, because they can call themselves like the owner.
    """
    text, by_person = message.text, message.role == Message.Role.USER
    if by_person and message.author_name:
        guest = " (guest)" if message.from_guest else ""
        text = f"{message.author_name}{guest}: {text}"
    return HistoryMessage(
        "user" if by_person else "assistant",
        text,
        estimate_tokens(text) + MESSAGE_OVERHEAD_TOKENS,
    )


def _readable_files(
    persona: Persona, *, alone: bool, memory: bool = True
) -> tuple[FileText, ...]:
    """Return the files of the persona's context tier that may be read, by priority."""
    wanted = _FILES_OF_TIER[persona.context_tier]
    texts = {
        file.name: readable_text(file.text, alone=alone)
        for file in _FILE_ROWS_OF_TIER[persona.context_tier].all(persona.pk)
        if (alone or not file.private) and (memory or file.name not in MEMORY_FILES)
    }
    free = [
        name
        for name in texts
        if name not in STANDARD_FILES and name.endswith((".md", ".txt"))
    ]
    return tuple(
        FileText(name, texts[name], estimate_tokens(texts[name]))
        for name in (*wanted, *free)
        if texts.get(name)
    )


def _opening(persona: Persona, owner: User | None) -> str:
    if owner is None:
        return f"You are {persona.display_name}."
    person = owner.get_full_name() or owner.username
    return f"You are {persona.display_name}, talking with {person}."


def _introduction(persona: Persona) -> str:
    return f"You are a helpful AI assistant named {persona.display_name}."


def _closing(owner: User, now: datetime) -> str:
    """Say the date and time where the owner lives, to the last quarter of an hour.

    The exact minute would change the instructions with nearly every message, and hosts
    could never reuse what they computed for the messages behind them.
    """
    local = now.astimezone(zone_of(owner))
    local = local.replace(minute=local.minute // 15 * 15)
    return (
        f"It is {local:%A}, {local.day} {local:%B %Y}, about {local:%H:%M} "
        f"({local.tzinfo})."
    )
