"""Search over one's own messages, titles and memory.

The full text index names candidates; ``messages_visible_to`` says which of them the
person may see, ``personas.search.ranking`` puts them in order. Memory stands in files
and is read from there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.utils import timezone

from accounts.models import User
from personas.conversations import conversations_visible_to, messages_visible_to
from personas.files import MEMORY_FILES, USER
from personas.memory.lines import Entry, entries_of
from personas.models import Conversation, Message, Persona, PersonaFile, SearchEntry
from personas.search.filters import Scope, scope_of
from personas.search.index import text_index
from personas.search.index_base import Wanted
from personas.search.queries import SearchQuery, parse
from personas.search.ranking import fit, newness
from personas.search.similar import similar_words
from personas.search.snippets import Snippet, snippet
from personas.search.words import Term, fold

COMPARED: Final = 300
"""Newest hits that are put in order."""
SIFTED: Final = 2500
"""Newest hits that are sifted where a filter asks for what the index does not know."""
ASKED_AT_ONCE: Final = 800
TITLES: Final = 2000
MEMORY_HITS: Final = 5
TITLE_HITS: Final = 3
READ: Final = 2000
"""Characters of a text that decide about its place."""

Groups = Sequence[Sequence[Term]]


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found: a message, a conversation's title or a memory line."""

    persona: Persona
    snippet: Snippet
    said_at: datetime | None = None
    message_id: uuid.UUID | None = None
    conversation: Conversation | None = None
    role: str = ""
    author_name: str = ""
    channel: str = ""
    file: str = ""
    """The memory file, for a line of memory."""
    line: Entry | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One page of hits."""

    hits: tuple[Hit, ...] = ()
    more: bool = False
    notice: str = ""
    """One sentence about how it was searched; mostly empty."""


def search(
    user: User,
    text: str,
    *,
    limit: int = 20,
    offset: int = 0,
    doors: Mapping[str, str] | None = None,
) -> Found:
    """Find what a person wrote, was answered, or has in a persona's memory.

    Where no word is found, words that are spelt alike are tried.

    Args:
        limit: Messages of one page; lines of memory and titles come on top of the
            first.
        doors: Folded names of ways in for ``in:``, and what messages say of them.

    Raises:
        BadFilter: A filter is not understood; ``str()`` says what to write.
    """
    query = parse(text)
    if query.is_empty:
        return Found()
    scope = scope_of(user, query, doors or {})
    groups: Groups = [(term,) for term in query.terms]
    found = _page(user, query, scope, groups, limit, offset)
    if found.hits or offset or not query.words:
        return found
    similar = [similar_words(user.pk, term) or (term,) for term in query.words]
    if all(group == (term,) for group, term in zip(similar, query.words, strict=True)):
        return found
    groups = [*similar, *((term,) for term in query.phrases)]
    found = _page(user, query, scope, groups, limit, offset)
    return replace(found, notice=_instead(similar)) if found.hits else found


def _instead(similar: Groups) -> str:
    words = [" ".join(term.words) for group in similar for term in group]
    listed = ", ".join(f"“{word}”" for word in dict.fromkeys(words))
    return f"Nothing has exactly these words. This was found with {listed}."


def _page(
    user: User,
    query: SearchQuery,
    scope: Scope,
    groups: Groups,
    limit: int,
    offset: int,
) -> Found:
    rows = _messages(user, scope)
    if groups:
        ids, is_cut = _candidates(user, scope, groups)
        ranked = _ranked(rows, ids, groups)
        chosen = ranked[offset : offset + limit + 1]
    else:
        newest = rows.order_by("-created_at").values_list("pk", flat=True)
        chosen, is_cut = list(newest[offset : offset + limit + 1]), False
    hits: list[Hit] = []
    terms = [term for group in groups for term in group]
    said = _message_hits(rows, chosen[:limit], terms)
    if not offset and groups:
        hits += _memory_hits(user, query, scope, groups)
        # A title is mostly the beginning of a message, which then stands for it.
        shown = {hit.conversation.pk for hit in said if hit.conversation}
        hits += [
            hit
            for hit in _title_hits(user, scope, groups)
            if hit.conversation and hit.conversation.pk not in shown
        ]
    hits += said
    notice = _CUT if is_cut and hits else ""
    return Found(tuple(hits), len(chosen) > limit, notice)


_CUT: Final = (
    "Many messages have these words; only the newest were compared. Another word or a "
    "filter finds older ones."
)


def _messages(user: User, scope: Scope) -> QuerySet[Message]:
    """Return the messages among which is searched."""
    rows = messages_visible_to(user).filter(conversation__temporary=False)
    if scope.persona:
        rows = rows.filter(conversation__persona=scope.persona)
    if scope.since:
        rows = rows.filter(created_at__gte=scope.since)
    if scope.until:
        rows = rows.filter(created_at__lt=scope.until)
    if scope.messages is not None:
        rows = rows.filter(scope.messages)
    return rows.exclude(text="")


def _candidates(user: User, scope: Scope, groups: Groups) -> tuple[list[int], bool]:
    """Return ids of entries that match, and whether there are more."""
    limit = COMPARED if scope.messages is None else SIFTED
    wanted = Wanted(
        owner_id=user.pk,
        groups=groups,
        persona_id=scope.persona.pk if scope.persona else None,
        since=scope.since,
        until=scope.until,
    )
    ids = text_index().newest(connection, wanted, limit)
    return ids, len(ids) == limit


def _ranked(rows: QuerySet[Message], ids: list[int], groups: Groups) -> list[uuid.UUID]:
    """Return the ids of those messages of entries that may be seen, the best first.

    Asked in steps by primary keys: in one query SQLite would walk all messages.
    """
    newest: list[uuid.UUID] = []
    for at in range(0, len(ids), ASKED_AT_ONCE):
        some = ids[at : at + ASKED_AT_ONCE]
        entries = SearchEntry.objects.filter(pk__in=some)
        by_entry = dict(entries.values_list("pk", "message_id"))
        seen = set(rows.filter(pk__in=by_entry.values()).values_list("pk", flat=True))
        newest += [by_entry[pk] for pk in some if by_entry.get(pk) in seen]
        if len(newest) >= COMPARED:
            break
    now = timezone.now()
    texts = SearchEntry.objects.filter(message__in=newest[:COMPARED]).values_list(
        "message_id", "said_at", Substr("text", 1, READ)
    )
    scored = [
        (sum(fit(text, group) for group in groups) * newness(said_at, now), said_at, pk)
        for pk, said_at, text in texts
    ]
    return [pk for _, _, pk in sorted(scored, reverse=True)]


def _message_hits(
    rows: QuerySet[Message], ids: list[uuid.UUID], terms: list[Term]
) -> list[Hit]:
    by_id = rows.select_related("conversation__persona").in_bulk(ids)
    return [_message_hit(by_id[pk], terms) for pk in ids if pk in by_id]


def _message_hit(message: Message, terms: list[Term]) -> Hit:
    return Hit(
        persona=message.conversation.persona,
        snippet=snippet(message.text, terms),
        said_at=message.created_at,
        message_id=message.pk,
        conversation=message.conversation,
        role=message.role,
        author_name=message.author_name,
        channel=message.channel,
    )


def _has_all(text: str, groups: Groups) -> bool:
    folded = fold(text)
    return all(fit(folded, group) for group in groups)


def _memory_hits(
    user: User, query: SearchQuery, scope: Scope, groups: Groups
) -> list[Hit]:
    """Return lines of memory, newest first; they were said by nobody and nowhere."""
    if query.by or query.where:
        return []
    files = PersonaFile.objects.filter(
        persona__owner=user, name__in=(*MEMORY_FILES, USER)
    ).select_related("persona")
    if scope.persona:
        files = files.filter(persona=scope.persona)
    hits = [
        (entry, file)
        for file in files
        for entry in entries_of(file.text)
        if _is_within(entry, query) and _has_all(entry.text, groups)
    ]
    hits.sort(key=lambda hit: str(hit[0].said_on or ""), reverse=True)
    terms = [term for group in groups for term in group]
    return [
        Hit(
            persona=file.persona,
            snippet=snippet(entry.text, terms),
            file=file.name,
            line=entry,
        )
        for entry, file in hits[:MEMORY_HITS]
    ]


def _is_within(entry: Entry, query: SearchQuery) -> bool:
    if query.before is None and query.after is None:
        return True
    if entry.said_on is None:
        return False
    return (query.before is None or entry.said_on < query.before) and (
        query.after is None or entry.said_on >= query.after
    )


def _title_hits(user: User, scope: Scope, groups: Groups) -> list[Hit]:
    """Return conversations whose titles have the words, where no filter stands."""
    if scope != Scope(persona=scope.persona):
        return []
    rows = conversations_visible_to(user).filter(temporary=False).exclude(title="")
    if scope.persona:
        rows = rows.filter(persona=scope.persona)
    titles = rows.order_by("-last_active_at").values_list("pk", "title")[:TITLES]
    ids = [pk for pk, title in titles if _has_all(title, groups)][:TITLE_HITS]
    terms = [term for group in groups for term in group]
    by_id = rows.in_bulk(ids)
    return [
        Hit(
            persona=by_id[pk].persona,
            snippet=snippet(by_id[pk].title, terms),
            said_at=by_id[pk].last_active_at,
            conversation=by_id[pk],
        )
        for pk in ids
        if pk in by_id
    ]
