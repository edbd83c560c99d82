"""The list of a person's conversations with one persona, grouped by day.

Groups follow the calendar of the person's time zone: Today, Yesterday, Last 7 days,
Last 30 days, then months. An answer that is being written marks its conversation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from itertools import groupby

from django.db.models import Case, Exists, OuterRef, QuerySet, Subquery, When
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from channels_app.models import Channel
from personas.conversations import conversations_visible_to
from personas.models import Conversation, Message, Persona

PAGE_SIZE = 60
MAX_SHOWN = 1200


@dataclass(frozen=True, slots=True)
class ChatList:
    """What the sidebar shows, newest first."""

    groups: list[tuple[str, list[Conversation]]] = field(default_factory=list)
    more: int | None = None
    """How many to ask for to see older ones; ``None`` when all are shown."""


def chat_list(user: User, persona: Persona | None, wanted: int = PAGE_SIZE) -> ChatList:
    """Return the newest ``wanted`` conversations with a persona; one query."""
    if persona is None:
        return ChatList()
    wanted = max(PAGE_SIZE, min(wanted, MAX_SHOWN))
    rows = list(
        listed(user).filter(persona=persona).order_by("-last_active_at")[: wanted + 1]
    )
    more = wanted + PAGE_SIZE if len(rows) > wanted and wanted < MAX_SHOWN else None
    return ChatList(group_by_day(rows[:wanted], zone_of(user)), more)


def listed(user: User) -> QuerySet[Conversation]:
    """Return the person's conversations with the marks that the list shows.

    ``running``: an answer is being written; ``door``: by which channel it began,
    ``None`` before the first message. What others read along was made for a room, so
    that the owner's own first word on the web page does not hide which one.
    """
    messages = Message.objects.filter(conversation=OuterRef("pk"))
    running = messages.filter(state=Message.State.GENERATING)
    channels = messages.order_by("created_at").values("channel")
    by_bots = channels.filter(channel__in=Channel.Kind.values)
    door = Case(
        When(shared=True, then=Subquery(by_bots[:1])), default=Subquery(channels[:1])
    )
    return conversations_visible_to(user).annotate(running=Exists(running), door=door)


def group_by_day(
    conversations: Iterable[Conversation],
    zone: tzinfo,
    now: datetime | None = None,
) -> list[tuple[str, list[Conversation]]]:
    """Cut a newest-first list into named groups, keeping the order."""
    today = (now or timezone.now()).astimezone(zone).date()

    def label(conversation: Conversation) -> str:
        day = conversation.last_active_at.astimezone(zone).date()
        return _label(day, today)

    return [(name, list(rows)) for name, rows in groupby(conversations, label)]


def _label(day: date, today: date) -> str:
    age = (today - day).days
    if age <= 0:
        return "Today"
    if age == 1:
        return "Yesterday"
    if age < 7:
        return "Last 7 days"
    if age < 30:
        return "Last 30 days"
    return f"{day:%B}" if day.year == today.year else f"{day:%B %Y}"
