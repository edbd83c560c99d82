"""What the pages about the queue show: groups of tasks, and one task whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Count, QuerySet
from django.db.models.functions import Left
from django.utils import timezone

from accounts.models import User
from channels_app.jobs.queue import MAY_RETRY, OPEN, older_than, tasks_visible_to
from channels_app.jobs.shown_costs import noted_cost, shown_cost
from channels_app.models import QueuedTask
from ledger.money import write_amount

States = QueuedTask.State
GROUPS: Final = (
    (States.PROCESSING, "Running"),
    (States.PENDING, "Waiting"),
    (States.FAILED, "Failed"),
    (States.DEAD, "Gave up"),
    (States.DONE, "Done"),
    (States.CANCELLED, "Cancelled"),
)
"""States with their headings, what may need somebody first."""
IN_A_GROUP: Final = 10
ON_A_PAGE: Final = 30
TITLE_CHARS: Final = 160
SOON: Final = timedelta(minutes=1)
OFTEN, SELDOM = "2s", "30s"
"""How often the page looks: while something runs or soon will, and otherwise."""
_BADGES: Final = {
    States.PROCESSING: "accent",
    States.DONE: "good",
    States.FAILED: "danger",
    States.DEAD: "danger",
}
ADVICE: Final = {
    "budget_exceeded": ("Ask for more", "budgets", "#ask"),
    "no_model": ("Set up models", "models", ""),
    "private_only": ("Set up models", "models", ""),
    "upstream_auth": ("Look at its host", "models", ""),
}
"""Where a person can do something about an error: words, a page's name, a place."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task as it stands in a list."""

    task: QueuedTask

    @property
    def title(self) -> str:
        """Name of the brief, or how the task begins."""
        if self.task.schedule is not None:
            return self.task.schedule.name
        # Lists load no more of a text than this.
        text = getattr(self.task, "beginning", None) or self.task.text[:TITLE_CHARS]
        cut = "…" if len(text) == TITLE_CHARS else ""
        return " ".join(text.split()) + cut

    @property
    def word(self) -> str:
        """How it goes, in a word or two."""
        if self.is_ending:
            return "being cancelled"
        if self.is_cut:
            return "done, cut short"
        if self.task.state == States.PENDING and self.task.error:
            return "tried again"
        return str(self.task.get_state_display())

    @property
    def badge(self) -> str:
        """The colour of the word."""
        if self.is_cut or (self.task.state == States.PENDING and self.task.error):
            return "warn"
        return _BADGES.get(States(self.task.state), "")

    @property
    def is_ending(self) -> bool:
        """Whether a running task was asked to end."""
        return self.task.state == States.PROCESSING and self.task.cancel_asked

    @property
    def is_cut(self) -> bool:
        """Whether it is done, but its result ends too early."""
        return self.task.state == States.DONE and bool(self.task.error)

    @property
    def may_cancel(self) -> bool:
        """Whether it can be cancelled."""
        return self.is_open and not self.is_ending

    @property
    def may_retry(self) -> bool:
        """Whether it can be tried again."""
        return self.task.state in MAY_RETRY

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.task.state in OPEN

    @property
    def waits_until(self) -> bool:
        """Whether it waits for a time and not only for its turn."""
        waits = self.task.state == States.PENDING
        return waits and self.task.not_before > timezone.now()

    @property
    def cost(self) -> str:
        """What it cost, as far as the row says; empty while it says nothing."""
        nano = noted_cost(self.task)
        if self.is_open or self.task.attempts == 0:
            return "" if nano is None else write_amount(nano) if nano else ""
        return "cost unknown" if nano is None else write_amount(nano)

    @property
    def advice(self) -> tuple[str, str, str] | None:
        """Where its owner can do something about its error."""
        return ADVICE.get(self.task.error_code)


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks in one state."""

    state: str
    title: str
    count: int
    lines: tuple[TaskLine, ...]

    @property
    def has_more(self) -> bool:
        """Whether there are more than are shown."""
        return self.count > len(self.lines)


@dataclass(frozen=True, slots=True)
class Overview:
    """All of a person's tasks, the first of each state."""

    groups: tuple[Group, ...]
    digest: str
    """Another one as soon as anything else is shown."""
    every: str
    """How often to look again; empty when nothing can change."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the tasks in one state, newest first."""

    state: str
    title: str
    lines: tuple[TaskLine, ...]
    next: str
    """Id of the last task, where older ones follow."""


def overview_of(user: User) -> Overview:
    """Return what the queue's page shows."""
    counts = dict(
        tasks_visible_to(user)
        .order_by()
        .values_list("state")
        .annotate(count=Count("pk"))
    )
    groups = tuple(
        Group(state, title, counts[state], tuple(_first(user, state)))
        for state, title in GROUPS
        if counts.get(state)
    )
    lines = [line.task for group in groups for line in group.lines]
    return Overview(groups, digest_of(lines, counts.values()), _every(lines))


def _first(user: User, state: str) -> Iterable[TaskLine]:
    found = _rows(user).filter(state=state)
    if state == States.PENDING:
        found = found.order_by("not_before", "pk")
    return map(TaskLine, found[:IN_A_GROUP])


def _rows(user: User) -> QuerySet[QueuedTask]:
    """Return a person's tasks without their long texts."""
    found = tasks_visible_to(user).select_related("persona", "schedule")
    return found.annotate(beginning=Left("text", TITLE_CHARS)).defer("text", "result")


def page_of(user: User, state: str, before: QueuedTask | None) -> Page:
    """Return the tasks in a state, from the newest or from one of them on."""
    found = _rows(user).filter(state=state)
    if before is not None:
        found = older_than(found, before)
    rows = list(found[: ON_A_PAGE + 1])
    shown = rows[:ON_A_PAGE]
    more = str(shown[-1].pk) if len(rows) > ON_A_PAGE else ""
    return Page(state, dict(GROUPS)[States(state)], tuple(map(TaskLine, shown)), more)


def digest_of(tasks: Sequence[QueuedTask], more: Iterable[int] = ()) -> str:
    """Return a short text that is another one as soon as these tasks look different.

    ``more`` are figures that are shown with them, such as counts or a place in line.
    """
    now = timezone.now()
    shown = [
        (str(each.pk), each.state, each.attempts, each.cancel_asked, each.error)
        + (each.state == States.PENDING and each.not_before > now,)
        for each in tasks
    ]
    text = repr((shown, sorted(more)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _every(tasks: Iterable[QueuedTask]) -> str:
    """Return how often to look at these tasks again."""
    soon = timezone.now() + SOON
    open_tasks = [each for each in tasks if each.state in OPEN]
    if any(
        each.state == States.PROCESSING or each.not_before <= soon
        for each in open_tasks
    ):
        return OFTEN
    return SELDOM if open_tasks else ""


def often(task: QueuedTask) -> str:
    """Return how often to look at a task again; empty when it is over."""
    return _every([task])


def cost_words(task: QueuedTask) -> str:
    """Return what all attempts of a task cost, as the ledger knows it now."""
    if task.attempts == 0 and task.source != "import":
        return ""
    nano = shown_cost(task)
    return "unknown" if nano is None else write_amount(nano)
