"""Which times of a brief queue a run, and which do not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import queue, schedules, slots
from channels_app.jobs.slots import enqueue_due
from channels_app.models import QueuedTask, Schedule
from personas.models import Persona
from tests.support.briefs import make_brief, moment

pytestmark = pytest.mark.django_db
State = QueuedTask.State
SEVEN = "2026-11-23 07:00"


def due_times() -> list[str]:
    runs = QueuedTask.objects.order_by("due_at").values_list("due_at", flat=True)
    return [f"{run:%Y-%m-%d %H:%M}" for run in runs if run]


def end_all() -> None:
    QueuedTask.objects.update(state=State.DONE)


def fault() -> str:
    return Schedule.objects.get().fault


def test_a_run_is_queued_when_its_time_has_come(persona: Persona) -> None:
    brief = make_brief(persona, SEVEN, tier=2)

    assert enqueue_due(moment("2026-11-23 06:59")) == 0
    assert enqueue_due(moment("2026-11-23 07:00")) == 1
    assert enqueue_due(moment("2026-11-23 07:00")) == 0

    task = QueuedTask.objects.get()
    assert (task.kind, task.source, task.schedule) == ("brief", "schedule", brief)
    assert (task.text, task.tier, task.persona) == ("What is new?", 2, persona)
    assert (task.owner, task.late, task.by_hand) == (persona.owner, False, False)
    assert due_times() == [SEVEN]
    brief.refresh_from_db()
    assert brief.next_at == moment("2026-11-24 07:00")


@pytest.mark.parametrize(("seconds", "late"), [(119, False), (121, True)])
def test_a_run_is_late_after_two_minutes(
    persona: Persona, seconds: int, late: bool
) -> None:
    make_brief(persona, SEVEN)

    enqueue_due(moment(SEVEN) + timedelta(seconds=seconds))

    assert QueuedTask.objects.get().late is late


def test_of_missed_times_only_the_last_comes(persona: Persona) -> None:
    make_brief(persona, "2026-11-23 07:00", cron="*/5 * * * *")

    assert enqueue_due(moment("2027-05-01 12:03")) == 1

    task = QueuedTask.objects.get()
    assert task.late
    assert due_times() == ["2027-05-01 12:00"]
    assert Schedule.objects.get().next_at == moment("2027-05-01 12:05")


def test_what_came_while_it_was_off_is_not_made_up_for(persona: Persona) -> None:
    brief = make_brief(persona, SEVEN)
    schedules.switch(brief, False)
    assert enqueue_due(moment("2026-11-25 12:00")) == 0

    schedules.switch(brief, True)
    assert brief.next_at is not None
    assert brief.next_at > timezone.now()
    assert enqueue_due() == 0


def test_a_time_is_left_out_while_the_run_before_is_open(persona: Persona) -> None:
    make_brief(persona, SEVEN)
    enqueue_due(moment("2026-11-23 07:00"))

    assert enqueue_due(moment("2026-11-24 07:00")) == 0
    assert fault().startswith("The run of 24 November, 07:00 was left out")
    assert due_times() == [SEVEN]

    end_all()
    assert enqueue_due(moment("2026-11-25 07:00")) == 1


def test_a_run_by_hand_is_in_nobodys_way(persona: Persona) -> None:
    brief = make_brief(persona, SEVEN)
    schedules.run_now(brief)

    assert enqueue_due(moment(SEVEN)) == 1
    assert QueuedTask.objects.count() == 2


def test_a_clock_that_is_set_back_brings_nothing_twice(persona: Persona) -> None:
    make_brief(persona, SEVEN)
    enqueue_due(moment("2026-11-23 07:01"))
    end_all()

    for now in ("06:40", "06:59", "07:00", "07:03"):
        assert enqueue_due(moment(f"2026-11-23 {now}")) == 0
    assert enqueue_due(moment("2026-11-24 07:00")) == 1
    assert due_times() == [SEVEN, "2026-11-24 07:00"]


def test_a_clock_that_ran_years_ahead_holds_up_nothing(persona: Persona) -> None:
    make_brief(persona, SEVEN)
    enqueue_due(moment("2038-01-19 03:14"))
    end_all()

    assert enqueue_due(moment("2026-11-23 06:00")) == 0
    assert enqueue_due(moment("2026-11-23 07:00")) == 1


def test_a_run_that_a_clock_far_ahead_has_queued_is_in_nobodys_way(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_brief(persona, SEVEN)
    monkeypatch.setattr(queue, "clock_now", lambda: moment("2026-12-23 08:00"))
    assert enqueue_due(moment("2026-12-23 08:00")) == 1
    monkeypatch.setattr(queue, "clock_now", lambda: moment("2026-11-23 06:00"))

    assert enqueue_due(moment("2026-11-23 06:00")) == 0
    assert enqueue_due(moment("2026-11-23 07:00")) == 1
    assert fault() == ""


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        (User, {"is_active": False}, "The account is switched off"),
        (Schedule, {"cron": "nonsense"}, "Write five fields"),
        (Schedule, {"time_zone": "Mars/Olympus"}, "There is no time zone"),
    ],
)
def test_what_cannot_run_says_why(
    persona: Persona, table: type, change: dict[str, object], told: str
) -> None:
    make_brief(persona, SEVEN)
    table.objects.update(**change)  # type: ignore[attr-defined]

    assert enqueue_due(moment("2026-11-23 07:00")) == 0
    assert told in fault()
    assert enqueue_due(moment("2026-11-23 07:00")) == 0


def test_somebody_elses_persona_does_not_answer(persona: Persona, bob: User) -> None:
    make_brief(persona, SEVEN)
    Persona.objects.update(owner=bob)

    assert enqueue_due(moment(SEVEN)) == 0
    assert fault() == slots.NOT_THEIRS


def test_a_full_queue_is_told(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise queue.QueueRefused("too_many", "You have 1,000 open tasks.")

    make_brief(persona, SEVEN)
    monkeypatch.setattr(queue, "enqueue", refuse)

    assert enqueue_due(moment(SEVEN)) == 0
    assert fault() == "You have 1,000 open tasks."
    assert Schedule.objects.get().next_at == moment("2026-11-24 07:00")


def test_a_proposal_never_runs(persona: Persona) -> None:
    brief = make_brief(persona, SEVEN)
    Schedule.objects.update(proposed_until=moment("2030-01-01 00:00"))

    assert enqueue_due(moment("2026-11-23 07:00")) == 0
    assert not schedules.schedules_visible_to(brief.owner).exists()


@pytest.mark.parametrize("fault", [RuntimeError, IntegrityError, DataError])
def test_one_briefs_fault_does_not_hold_up_the_others(
    persona: Persona, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    bad = make_brief(persona, SEVEN, name="bad")
    make_brief(persona, SEVEN, name="good")
    real = schedules.run_of

    def run_of(schedule: Schedule, **fields: object) -> queue.NewTask:
        if schedule.pk == bad.pk:
            raise fault("on purpose")
        return real(schedule, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(schedules, "run_of", run_of)

    assert enqueue_due(moment(SEVEN)) == 1


def test_a_database_that_is_away_ends_the_look(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("The database is away.")

    make_brief(persona, SEVEN)
    monkeypatch.setattr(schedules, "run_of", away)

    with pytest.raises(OperationalError):
        enqueue_due(moment(SEVEN))


def test_an_idle_look_takes_no_lock(persona: Persona) -> None:
    make_brief(persona, SEVEN)
    with CaptureQueriesContext(connection) as queries:
        enqueue_due(moment("2026-11-23 06:00"))

    assert len(queries) == 2
    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)
