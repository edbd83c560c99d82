"""When a persona distils: idle time, a number of messages, a time of day, or a wish.

Nothing here calls a model. Without a model for the role nothing is ever due, and
``why_off`` says so. After failed attempts the pauses grow, so that a model that is down
or answers nonsense costs little; whoever asks on the page is served all the same.

Synchronous; belongs into ``routing.db_pool``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from functools import cache
from typing import Final

from django.db.models import Count, Exists, Max, Min, OuterRef, Q
from django.utils import timezone

from accounts import newcomers
from accounts.models import User
from accounts.zones import zone_of
from personas.memory.sources import undistilled
from personas.models import MemorySettings, Persona
from routing.errors import RoutingError
from routing.registry import catalogue_for
from routing.router import RouteRequest, route

ROLE: Final = "distill"
OFF: Final = "Nothing is remembered by itself, because no model does it"
PRIVATE: Final = (
    "This persona is private, and no model in the house is set up for the role."
)
FIRST_PAUSE: Final = timedelta(minutes=15)
LONGEST_PAUSE: Final = timedelta(hours=24)
ASKED_HOLDS: Final = timedelta(hours=1)
"""What nobody could do so long, for want of a model, is not done weeks later."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a persona has to distil."""

    messages: int
    oldest: datetime
    newest: datetime


def why_off(user: User, *, private: bool = False) -> str:
    """Return why nothing is distilled for a person; empty = a model is there for it.

    Args:
        private: The persona is private, so only a model in the house may read along.
    """
    try:
        route(RouteRequest(ROLE, private=private), catalogue_for(user))
    except RoutingError as error:
        why = PRIVATE if error.code == "private_only" else str(error)
        return f"{OFF}: {why[:1].lower()}{why[1:]}"
    return ""


def ask(persona: Persona) -> None:
    """Have a persona distil as soon as the worker looks, within seconds."""
    MemorySettings.objects.update_or_create(
        persona=persona, defaults={"asked_at": timezone.now()}
    )


def last_asked() -> datetime | None:
    """Return when somebody last asked for what has not begun yet."""
    last: datetime | None = MemorySettings.objects.aggregate(last=Max("asked_at"))[
        "last"
    ]
    return last


def due(now: datetime) -> list[int]:
    """Return the ids of the personas that distil now, the longest waiting first.

    Messages are counted last, of those alone for whom nothing else forbids it. What
    somebody asked for more than ``ASKED_HOLDS`` ago is dropped.
    """
    late = MemorySettings.objects.filter(asked_at__lte=now - ASKED_HOLDS)
    if late.exists():
        late.update(asked_at=None)
    theirs = undistilled().filter(conversation__persona=OuterRef("pk"))
    personas = (
        Persona.objects.filter(
            Q(memory_settings__asked_at__isnull=False) | Exists(theirs),
            owner__is_active=True,
        )
        # Nothing is read or costs before its person has come.
        .exclude(owner__in=newcomers.waiting().values("pk"))
        .select_related("owner", "memory_settings")
        .order_by("pk")
    )
    is_off = _is_off()
    able = [
        persona
        for persona in personas
        if _may(_settings(persona), now) and not is_off(persona.owner, persona.private)
    ]
    waiting = _waiting(able)
    found = [
        persona
        for persona in able
        if is_due(
            _settings(persona), waiting.get(persona.pk), now, zone_of(persona.owner)
        )
    ]
    never = datetime.max.replace(tzinfo=now.tzinfo)
    found.sort(key=lambda one: waiting[one.pk].oldest if one.pk in waiting else never)
    return [persona.pk for persona in found]


def _may(settings: MemorySettings, now: datetime) -> bool:
    """Say whether a persona remembers by itself, and no pause holds it up."""
    if settings.asked_at is not None:
        return True
    tried = settings.tried_at
    paused = tried is not None and now < tried + pause_after(settings.failures)
    return settings.enabled and not paused


def is_due(
    settings: MemorySettings, waiting: Waiting | None, now: datetime, zone: tzinfo
) -> bool:
    """Say whether one of the triggers has come, and no pause holds it up.

    Args:
        settings: The persona's.
        waiting: What it has to distil; ``None`` = nothing.
        now: The moment that counts.
        zone: Where its owner lives.
    """
    if settings.asked_at is not None:
        return True
    if waiting is None or not _may(settings, now):
        return False
    tried = settings.tried_at
    idle, count = settings.idle_minutes, settings.after_messages
    if idle is not None and now >= waiting.newest + timedelta(minutes=idle):
        return True
    if count is not None and waiting.messages >= count:
        return True
    if settings.daily_at is None:
        return False
    moment = last_moment(now, settings.daily_at, zone)
    return waiting.oldest < moment and (tried is None or tried < moment)


def pause_after(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row."""
    if failures <= 0:
        return timedelta(0)
    return min(FIRST_PAUSE * (1 << min(failures - 1, 10)), LONGEST_PAUSE)


def last_moment(now: datetime, at: time, zone: tzinfo) -> datetime:
    """Return when it was last this time of day where somebody lives."""
    today = now.astimezone(zone).date()
    moment = datetime.combine(today, at, tzinfo=zone)
    if moment > now:
        moment = datetime.combine(today - timedelta(days=1), at, tzinfo=zone)
    return moment


def _waiting(personas: Sequence[Persona]) -> dict[int, Waiting]:
    """Return what each of these personas has to distil, in one query."""
    if not personas:
        return {}
    rows = (
        undistilled()
        .filter(conversation__persona__in=personas)
        .order_by()
        .values_list("conversation__persona")
        .annotate(Count("pk"), Min("created_at"), Max("created_at"))
    )
    return {persona: Waiting(*values) for persona, *values in rows}


def _settings(persona: Persona) -> MemorySettings:
    try:
        return persona.memory_settings
    except MemorySettings.DoesNotExist:
        return MemorySettings(persona=persona)


def _is_off() -> Callable[[User, bool], bool]:
    """Return ``why_off`` that reads the registry once for each person."""
    return cache(lambda user, private: bool(why_off(user, private=private)))
