"""What the pages about briefs show: each brief with its last run, runs, price in words.

Nothing here loads the result of a run.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.core.paginator import Page, Paginator
from django.db.models import OuterRef, QuerySet, Subquery

from channels_app.job_models import QueuedTask, Schedule
from channels_app.jobs import cron
from channels_app.web.explanation import UNKNOWN, amount

RUNS_SHOWN: Final = 10
_State = QueuedTask.State
_BADGES: Final = {
    _State.PENDING: "",
    _State.PROCESSING: "accent",
    _State.DONE: "good",
    _State.FAILED: "danger",
    _State.DEAD: "danger",
    _State.CANCELLED: "",
}


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of a brief, in words."""

    run: QueuedTask

    @property
    def badge(self) -> str:
        """Class of the state's badge."""
        return _BADGES[_State(self.run.state)]

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.run.state in (_State.PENDING, _State.PROCESSING)

    @property
    def took(self) -> str:
        """How long its last attempt took; empty while that is not over."""
        began, ended = self.run.started_at, self.run.finished_at
        if began is None or ended is None or ended < began:
            return ""
        return in_time(ended - began)

    @property
    def cost(self) -> str:
        """What all its attempts cost."""
        if self.is_open:
            return ""
        nano = self.run.cost_nano_usd
        if nano is None:
            # Without a model nobody was asked, so that nothing is unknown.
            return "unknown" if self.run.model else UNKNOWN
        return amount(nano)


@dataclass(frozen=True, slots=True)
class BriefLine:
    """One brief of the list."""

    brief: Schedule
    when: str
    last: RunLine | None


def brief_lines(briefs: QuerySet[Schedule]) -> list[BriefLine]:
    """Return briefs with their last runs, those that come next first."""
    newest = (
        QueuedTask.objects.filter(schedule=OuterRef("pk"))
        .order_by("-created_at")
        .values("pk")[:1]
    )
    rows = list(briefs.select_related("persona").annotate(last_run=Subquery(newest)))
    ids = [each.last_run for each in rows if each.last_run]
    runs = QueuedTask.objects.defer("text", "result").in_bulk(ids)
    far = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    rows.sort(key=lambda each: (each.next_at or far, each.name))
    return [
        BriefLine(
            each,
            when_in_words(each.cron, each.time_zone),
            RunLine(runs[each.last_run]) if each.last_run in runs else None,
        )
        for each in rows
    ]


def when_in_words(expression: str, zone: str) -> str:
    """Return a brief's time as a sentence; the expression where it is none."""
    try:
        return cron.in_words(expression, zone)
    except ValueError:
        return expression


def run_page(runs: QuerySet[QueuedTask], number: str) -> Page[RunLine]:
    """Return a page of runs, newest first; a number that is none means the first."""
    newest = runs.defer("text", "result").order_by("-created_at")
    page = Paginator(newest, RUNS_SHOWN).get_page(number)
    lines: Page[RunLine] = page  # type: ignore[assignment]
    lines.object_list = [RunLine(run) for run in page.object_list]
    return lines


def any_open(lines: Iterable[RunLine]) -> bool:
    """Say whether one of these runs has not ended."""
    return any(line.is_open for line in lines)


def in_time(span: datetime.timedelta) -> str:
    """Write how long something took: ``0.8 s``, ``12 s``, ``3 min``, ``1 h 5 min``."""
    seconds = span.total_seconds()
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
