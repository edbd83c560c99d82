"""From a persona and a conversation to the prompt of one model call.

Two steps. ``load_material`` reads everything that could be needed, with at most three
queries; ``build_prompt`` is pure and cuts it to the budget of one model, so that the
dispatcher can call it again for each candidate:

    material = load_material(conversation, upto=message)
    prompt = build_prompt(material, 6_000)

What enters by context tier: 1 the identity; 2 also soul, user, short and mid memory;
3 also the long memory and the persona's free Markdown and text files. Files take at
most half of the budget, in this order of priority, whatever the length of the history:
the beginning of a prompt then stays the same from message to message, and hosts can
reuse what they computed for it. A file that does not fit is left out; memory keeps its
last lines and an identity its first ones, cut between lines. Then come as many of
the newest messages as fit, each whole, and always the one to be answered.

A very small model loses the thread over instructions like these. Where the budget is
at most ``SMALL_MODEL_TOKENS``, they are one paragraph: the persona's name and the first
paragraph of its identity.

Texts of files and messages are data: they are joined, never formatted or expanded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from personas.errors import TooLong
from personas.files import IDENTITY, MEMORY_FILES, SOUL, STANDARD_FILES, USER
from personas.models import Conversation, Message, Persona, PersonaFile
from personas.prepared import Prepared
from personas.privacy import readable_text
from personas.tree import PathText, path_length, path_texts
from routing.backends.base import Prompt, PromptMessage
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens

HISTORY_LIMIT = 200
"""Messages of the branch that are read; older ones count as left out."""
COUNT_LIMIT = 10_000
"""Older messages are counted up to here, so that no branch makes a turn slow."""
SMALL_MODEL_TOKENS = 1000
"""Models with less room than this are too small to follow more than a few sentences."""
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


@dataclass(frozen=True, slots=True)
class FileText:
    """A persona file as it may be read in this conversation."""

    name: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message of the branch; ``tokens`` includes the overhead of a message."""

    role: Literal["user", "assistant"]
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Material:
    """Everything a prompt can be made of, in plain values; needs no database."""

    opening: str
    """Who speaks with whom; the first line of the instructions."""
    introduction: str
    """The same for a very small model, which knows this form from its training."""
    files: tuple[FileText, ...]
    """By priority, most important first; only those of the context tier."""
    closing: str
    """The date and time; the last line of the instructions."""
    history: tuple[HistoryMessage, ...]
    """Earlier messages of the branch that have a text, oldest first."""
    current: HistoryMessage | None
    """The message to be answered; ``None`` only in a preview."""
    older_messages: int = 0
    """Messages of the branch before ``history``."""


class FileUse(Enum):
    """How much of a file entered the prompt."""

    WHOLE = "whole"
    PART = "part"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Composition:
    """A prompt with the account of what it is made of."""

    prompt: Prompt
    files: tuple[tuple[FileText, FileUse], ...]
    """Every file of the material; a partly used one with the text that was used."""
    system_tokens: int
    """Estimated size of the instructions."""
    message_tokens: int
    """Estimated size of all messages sent, the current one included."""


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
    history = _as_history(path)
    current = history.pop() if history else HistoryMessage("user", "", 0)
    persona, owner = conversation.persona, conversation.owner
    opening = _opening(persona, owner if alone else None)
    return Material(
        opening=f"{opening} {SHARED}" if conversation.shared else opening,
        introduction=_introduction(persona),
        files=_readable_files(persona, alone=alone),
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


def _readable_files(persona: Persona, *, alone: bool) -> tuple[FileText, ...]:
    """Return the files of the persona's context tier that may be read, by priority."""
    wanted = _FILES_OF_TIER[persona.context_tier]
    texts = {
        file.name: readable_text(file.text, alone=alone)
        for file in _FILE_ROWS_OF_TIER[persona.context_tier].all(persona.pk)
        if alone or not file.private
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


def build_prompt(material: Material, budget_tokens: int) -> Prompt:
    """Cut the material to a budget of input tokens; pure and fast.

    What did not fit is counted in the prompt's ``left_out_messages`` and
    ``left_out_files`` (files that were shortened included).

    Raises:
        TooLong: Even the instructions' frame and the current message do not fit.
    """
    return compose(material, budget_tokens).prompt


def compose(material: Material, budget_tokens: int) -> Composition:
    """Do the work of ``build_prompt`` and account for every file."""
    small = budget_tokens <= SMALL_MODEL_TOKENS
    opening = material.introduction if small else material.opening
    closing = "" if small else material.closing
    frame_tokens = (
        estimate_tokens(opening) + estimate_tokens(closing) + MESSAGE_OVERHEAD_TOKENS
    )
    current_tokens = material.current.tokens if material.current else 0
    room = budget_tokens - frame_tokens - current_tokens
    if room < 0:
        raise TooLong(frame_tokens + current_tokens, budget_tokens)
    fit = _fit_first_paragraph if small else _fit_files
    files = fit(material.files, min(budget_tokens // 2, room))
    used = [file for file, use in files if use is not FileUse.LEFT_OUT]
    file_tokens = sum(file.tokens + 1 for file in used)
    history = _fit_history(material.history, room - file_tokens)
    messages = [*history, material.current] if material.current else history
    prompt = Prompt(
        system=(" " if small else "\n\n").join(
            part for part in (opening, *(file.text for file in used), closing) if part
        ),
        messages=_alternating(messages),
        passing=closing,
        left_out_messages=(
            material.older_messages + len(material.history) - len(history)
        ),
        left_out_files=tuple(
            file.name for file, use in files if use is not FileUse.WHOLE
        ),
    )
    return Composition(
        prompt=prompt,
        files=tuple(files),
        system_tokens=frame_tokens + file_tokens,
        message_tokens=sum(message.tokens for message in messages),
    )


def _fit_files(
    files: tuple[FileText, ...], room: int
) -> list[tuple[FileText, FileUse]]:
    """Take files in order while there is room; ``tokens + 1`` counts the blank line."""
    fitted = []
    for file in files:
        use = FileUse.WHOLE
        if file.tokens + 1 > room:
            part = _cut(file, room - 1)
            use = FileUse.PART if part else FileUse.LEFT_OUT
            file = part or file
        if use is not FileUse.LEFT_OUT:
            room -= file.tokens + 1
        fitted.append((file, use))
    return fitted


def _fit_first_paragraph(
    files: tuple[FileText, ...], room: int
) -> list[tuple[FileText, FileUse]]:
    """Take only the identity's first paragraph, on one line and without heading."""
    fitted = [(file, FileUse.LEFT_OUT) for file in files]
    for place, file in enumerate(files):
        if file.name == IDENTITY:
            text = _first_paragraph(file.text)
            part = FileText(IDENTITY, text, estimate_tokens(text))
            if text and part.tokens < room:
                fitted[place] = (part, FileUse.PART)
    return fitted


def _first_paragraph(text: str) -> str:
    """Return the first paragraph that is not a heading, on one line."""
    kept: list[str] = []
    for line in map(str.strip, text.split("\n")):
        if line and not line.startswith("#"):
            kept.append(line)
        elif kept:
            break
    return " ".join(kept)


def _cut(file: FileText, room: int) -> FileText | None:
    """Keep an identity's first or a memory's last lines; ``None`` for other files.

    A memory keeps its heading too: without it the lines would seem to be the end of
    whatever stands before them.
    """
    if file.name == IDENTITY:
        lines = _lines_within(file.text.split("\n"), room)
    elif file.name in MEMORY_FILES:
        head, *rest = file.text.split("\n")
        heading = [head] if head.startswith("#") else []
        room -= sum(estimate_tokens(line) + 1 for line in heading)
        rest = rest if heading else [head, *rest]
        newest = _lines_within(rest[::-1], room)[::-1]
        lines = [*heading, *newest] if any(map(str.strip, newest)) else []
    else:
        return None
    text = "\n".join(lines).strip()
    return FileText(file.name, text, estimate_tokens(text)) if text else None


def _lines_within(lines: list[str], room: int) -> list[str]:
    """Return the first lines that fit; a line's break counts as one token."""
    kept = []
    for line in lines:
        room -= estimate_tokens(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _fit_history(
    history: tuple[HistoryMessage, ...], room: int
) -> list[HistoryMessage]:
    """Return the newest messages that fit, oldest first, beginning with a person's."""
    kept = 0
    for message in reversed(history):
        room -= message.tokens
        if room < 0:
            break
        kept += 1
    fitted = list(history[len(history) - kept :])
    while fitted and fitted[0].role != "user":
        del fitted[0]
    return fitted


def _alternating(messages: Iterable[HistoryMessage]) -> tuple[PromptMessage, ...]:
    """Join neighbours of the same role, since many chat templates refuse them.

    They meet where an answer failed without a text.
    """
    joined: list[PromptMessage] = []
    for message in messages:
        text = message.text
        if joined and joined[-1].role == message.role:
            text = f"{joined.pop().text}\n\n{text}"
        joined.append(PromptMessage(message.role, text))
    return tuple(joined)
