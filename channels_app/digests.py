"""The daily digest: what a person's day before brought, and what it cost.

It is made after seven in the morning of the person's own time zone, about their local
day before, and only where something happened. It holds counts and amounts, the names of
personas and briefs, and never a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from accounts import newcomers
from accounts.models import User
from accounts.zones import zone_of
from channels_app import mails
from channels_app.digest_care import Care, care_of
from channels_app.models import MailDelivery, QueuedTask
from channels_app.money_amounts import Figure, Own
from ledger import statistics
from ledger.allowances import standings_of
from ledger.periods import next_start, start_of
from personas.models import Message

FROM: Final = time(7)
"""Local time from which on it is sent."""
TOLD: Final = (
    QueuedTask.State.DONE,
    QueuedTask.State.FAILED,
    QueuedTask.State.DEAD,
)
"""What becomes of tasks that is worth telling; who cancels one knows."""
SUBJECT: Final = "Cortex on {day:%A}, {day.day} {day:%B %Y}"


@dataclass(frozen=True, slots=True)
class Day:
    """One local day of a person."""

    date: date
    start: datetime
    end: datetime

    def within(self, column: str) -> Q:
        """Return the condition that a moment lies in this day."""
        return Q(**{f"{column}__gte": self.start, f"{column}__lt": self.end})


@dataclass(frozen=True, slots=True)
class Talk:
    """What was said to and by one persona."""

    persona: str
    conversations: int
    messages: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How many tasks, or runs of one brief, ended how."""

    name: str
    done: int = 0
    failed: int = 0
    gave_up: int = 0

    @property
    def words(self) -> str:
        """Say it in a few words: ``3 done, 1 failed``."""
        counts = {
            "done": self.done,
            "failed": self.failed,
            "gave up": self.gave_up,
        }
        return ", ".join(f"{count} {how}" for how, count in counts.items() if count)


@dataclass(frozen=True, slots=True)
class Digest:
    """Everything that one mail tells."""

    day: Day
    talks: list[Talk]
    tasks: list[Ended]
    briefs: list[Ended]
    costs: list[Figure]
    """Of the day, and of the month up to its end."""
    budgets: list[Own] = field(default_factory=list)
    care: Care | None = None
    """For administrators: how the installation is."""


def due(now: datetime | None = None) -> list[User]:
    """Return the people whose digest should be made now, and would tell something."""
    if not mails.is_set_up():
        return []
    now = now or timezone.now()
    people = User.objects.filter(daily_digest=True, is_active=True).exclude(email="")
    people = people.exclude(pk__in=newcomers.waiting().values("pk"))
    days = {
        person: day_before(person, now)
        for person in people
        if now.astimezone(zone_of(person)).time() >= FROM
    }
    keys = {key_of(person, day): person for person, day in days.items()}
    stored = MailDelivery.objects.filter(key__in=keys)
    for key in stored.values_list("key", flat=True):
        del days[keys[key]]
    return _with_news(days)


def store(person: User, now: datetime | None = None) -> bool:
    """Store a person's digest as a mail; ``False`` when it is stored already."""
    digest = digest_of(person, now or timezone.now())
    day = digest.day.date
    zone = zone_of(person)
    context = {
        "person": person,
        "digest": digest,
        "zone": zone,
        "url": settings.CORTEX_PUBLIC_URL,
    }
    with timezone.override(zone):
        text = render_to_string("jobs/digest_mail.txt", context)
    return mails.store(
        person, key_of(person, digest.day), SUBJECT.format(day=day), text
    )


def key_of(person: User, day: Day) -> str:
    """Return the key that makes one mail of each day."""
    return f"digest:{person.pk}:{day.date.isoformat()}"


def day_before(person: User, now: datetime) -> Day:
    """Return the person's local yesterday, which may have 23 or 25 hours."""
    zone = zone_of(person)
    today = start_of("day", now, zone)
    start = start_of("day", today - timedelta(days=1), zone)
    return Day(start.date(), start, next_start("day", start))


def digest_of(person: User, now: datetime) -> Digest:
    """Return what a person's yesterday brought."""
    day = day_before(person, now)
    zone = zone_of(person)
    month = start_of("month", day.start, zone)
    costs = {
        each: sums
        for each, sums in statistics.by_date(person, since=month, zone=zone).items()
        if each <= day.date
    }
    ended = _ended_tasks(person, day)
    tasks = ended.filter(schedule=None).exclude(kind="brief")
    briefs = ended.filter(Q(kind="brief") | ~Q(schedule=None))
    return Digest(
        day=day,
        talks=list(_talks(person, day)),
        tasks=[each for each in [_ended("Tasks", tasks)] if each.words],
        briefs=list(_briefs(briefs)),
        costs=[
            Figure("That day", costs.get(day.date, statistics.Totals())),
            Figure("That month until then", statistics.add_up(costs.values())),
        ],
        budgets=[Own(each) for each in standings_of(person)],
        care=care_of(day.within) if person.is_admin else None,
    )


def _with_news(days: dict[User, Day]) -> list[User]:
    """Return the people whom a digest would tell anything.

    Asks a few questions for each time zone, however many people live there.
    """
    of_day: dict[Day, list[User]] = {}
    for person, day in days.items():
        of_day.setdefault(day, []).append(person)
    found: set[int] = set()
    for day, people in of_day.items():
        found |= _active(day, {person.pk for person in people})
        admins = {person.pk for person in people if person.is_admin} - found
        if admins and care_of(day.within).is_troubled:
            found |= admins
    return [person for person in days if person.pk in found]


def _active(day: Day, ids: set[int]) -> set[int]:
    """Return who of these people did something on a day, or had something done."""
    calls = statistics.rows_of(since=day.start).filter(created_at__lt=day.end)
    tasks = QueuedTask.objects.filter(day.within("finished_at"), state__in=TOLD)
    said = Message.objects.filter(
        day.within("created_at"), conversation__deleted_at=None
    )
    found: set[int] = set()
    for rows, column in ((calls, "user_id"), (tasks, "owner_id"), (said, "owner_id")):
        theirs = rows.filter(**{f"{column}__in": ids - found}).order_by()
        found |= set(theirs.values_list(column, flat=True).distinct())
    return found


def _messages(person: User, day: Day) -> QuerySet[Message]:
    return Message.objects.filter(
        day.within("created_at"), owner=person, conversation__deleted_at=None
    )


def _ended_tasks(person: User, day: Day) -> QuerySet[QueuedTask]:
    return QueuedTask.objects.filter(day.within("finished_at"), owner=person).order_by()


def _talks(person: User, day: Day) -> Iterator[Talk]:
    sums = (
        _messages(person, day)
        .values("conversation__persona__display_name")
        .annotate(count=Count("pk"), talks=Count("conversation", distinct=True))
        .order_by("-count")
    )
    for row in sums:
        name = row["conversation__persona__display_name"]
        yield Talk(name, row["talks"], row["count"])


def _briefs(rows: QuerySet[QueuedTask]) -> Iterator[Ended]:
    """Return how the runs of each brief ended, those of deleted ones together."""
    names = rows.values_list("schedule", "schedule__name").distinct()
    for schedule, name in sorted(names, key=lambda each: str(each[1])):
        ended = _ended(
            name or "Trials and deleted briefs", rows.filter(schedule=schedule)
        )
        if ended.words:
            yield ended


def _ended(name: str, rows: QuerySet[QueuedTask]) -> Ended:
    state = QueuedTask.State
    counts: dict[str, Any] = rows.aggregate(
        done=Count("pk", filter=Q(state=state.DONE)),
        failed=Count("pk", filter=Q(state=state.FAILED)),
        gave_up=Count("pk", filter=Q(state=state.DEAD)),
    )
    return Ended(name, **counts)
