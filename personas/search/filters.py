"""Who and where the filters of a search mean, among one's own things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from django.db.models import Q

from accounts.models import User
from accounts.zones import zone_of
from personas.conversations import conversations_visible_to, messages_visible_to
from personas.models import Message, Persona
from personas.personas import personas_visible_to
from personas.search.queries import BadFilter, SearchQuery
from personas.search.words import fold

ME: Final = ("me", "ich", "myself")
TITLES: Final = 2000
"""Newest chats with such a title that are searched."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a search looks."""

    persona: Persona | None = None
    since: datetime | None = None
    until: datetime | None = None
    messages: Q | None = None
    """A condition on messages that the index does not know; ``None`` = none."""


def scope_of(user: User, query: SearchQuery, doors: Mapping[str, str]) -> Scope:
    """Return what the filters of a search mean.

    Args:
        doors: What ``in:`` may call the ways in, as ``Message.channel`` holds them.

    Raises:
        BadFilter: Nobody and nothing is called so.
    """
    persona = None
    if query.persona and not (persona := _persona(user, query.persona)):
        raise BadFilter(f"You have no persona called “{query.persona}”.")
    conditions = Q()
    if query.by:
        conditions &= _said_by(user, query.by)
    if query.where:
        conditions &= _said_in(user, query.where, doors)
    return Scope(
        persona=persona,
        since=_begins(user, query.after),
        until=_begins(user, query.before),
        messages=conditions if conditions else None,
    )


def _persona(user: User, name: str) -> Persona | None:
    wanted = fold(name)
    for persona in personas_visible_to(user):
        if wanted in (fold(persona.name), fold(persona.display_name)):
            return persona
    return None


def _said_by(user: User, name: str) -> Q:
    if fold(name) in ME:
        return Q(role=Message.Role.USER, from_guest=False)
    if persona := _persona(user, name):
        return Q(role=Message.Role.ASSISTANT, conversation__persona=persona)
    by_guest = Q(role=Message.Role.USER, author_name__icontains=name)
    if not messages_visible_to(user).filter(by_guest).exists():
        raise BadFilter(
            f"Nobody called “{name}” wrote here: try from:me, or from: with the name "
            "of a persona."
        )
    return by_guest


def _said_in(user: User, where: str, doors: Mapping[str, str]) -> Q:
    """Compare titles as words are: marks, accents and capital letters do not matter."""
    wanted = fold(where)
    door = doors.get(wanted)
    chats = conversations_visible_to(user).filter(temporary=False).exclude(title="")
    titles = chats.order_by("-last_active_at").values_list("pk", "title")
    named = [pk for pk, title in titles if wanted and wanted in fold(title)][:TITLES]
    if not named and not door:
        raise BadFilter(
            f"No chat has “{where}” in its title, and no door is called so: try "
            "in:talk or in:web, or a part of a title."
        )
    in_chats = Q(conversation__in=named)
    return in_chats | Q(channel=door) if door else in_chats


def _begins(user: User, day: date | None) -> datetime | None:
    """Return when a day begins where the person lives."""
    if day is None:
        return None
    return datetime.combine(day, time(), zone_of(user))
