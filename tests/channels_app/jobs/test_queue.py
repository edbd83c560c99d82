"""Queueing, finding, cancelling and repeating tasks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import engines, kinds, leases, queue
from channels_app.jobs.kinds import Done
from channels_app.jobs.queue import NewTask, QueueRefused
from channels_app.models import QueuedTask, Schedule
from ledger import entries
from ledger.models import LedgerEntry
from ledger.types import Settlement
from personas.models import Persona
from tests.support.jobs import WORKER, add, set_clock, take
from tests.support.ledger import make_caller, make_reservation

pytestmark = pytest.mark.django_db


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(QueueRefused) as caught:
        call()
    return caught.value.code


class Heard:
    """An engine that only notes what it was told."""

    def __init__(self) -> None:
        self.announced: list[uuid.UUID] = []
        self.woken = 0

    def announce(self, tasks: Any) -> None:
        assert connection.in_atomic_block
        self.announced += [task.pk for task in tasks]

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    engine = Heard()
    monkeypatch.setattr(engines, "engine", lambda: engine)
    return engine


def test_a_task_is_announced_with_its_row_and_its_workers_are_woken_after_the_commit(
    alice: User, heard: Heard, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        task = add(alice, "call\0 mum", tier=2)
        assert heard.woken == 0
    row = QueuedTask.objects.get()
    assert (row.pk, row.owner, row.text) == (task.pk, alice, "call\ufffd mum")
    assert (row.state, row.attempts, row.tier) == ("pending", 0, 2)
    assert task.is_new
    assert (heard.announced, heard.woken) == ([task.pk], 1)


def test_a_key_queues_once_for_each_person(
    alice: User, bob: User, heard: Heard
) -> None:
    first = add(alice, idempotency_key="k")
    again = add(alice, idempotency_key="k")
    others = add(bob, idempotency_key="k")
    assert (again.pk, again.is_new) == (first.pk, False)
    assert others.pk != first.pk
    assert heard.announced == [first.pk, others.pk]
    assert refusal(lambda: add(alice, "other", idempotency_key="k")) == "conflict"
    assert refusal(lambda: add(alice, kind="x", idempotency_key="k")) == "conflict"


def test_a_key_that_another_process_was_quicker_with_finds_its_row(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(alice, idempotency_key="k")
    real = queue._earlier
    answers = iter([lambda *_: None, real])
    monkeypatch.setattr(queue, "_earlier", lambda *given: next(answers)(*given))
    again = add(alice, idempotency_key="k")
    assert (again.pk, again.is_new) == (first.pk, False)
    assert QueuedTask.objects.count() == 1


def test_a_key_among_many_that_another_process_was_quicker_with_finds_its_row(
    alice: User, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(alice, "1", idempotency_key="k1")
    real = queue._earlier
    misses: list[Any] = [lambda *_: None] * 3
    answers = iter([*misses, real])
    monkeypatch.setattr(queue, "_earlier", lambda *given: next(answers)(*given))
    new = [NewTask(str(n), kind="test", idempotency_key=f"k{n}") for n in range(3)]
    rows = queue.enqueue_many(alice, new)
    assert [(row.text, row.is_new) for row in rows] == [
        ("0", True),
        ("1", False),
        ("2", True),
    ]
    assert heard.announced == [first.pk, rows[0].pk, rows[2].pk]
    assert QueuedTask.objects.count() == 3


def test_a_key_that_stands_twice_among_many_is_queued_once(
    alice: User, heard: Heard
) -> None:
    new = [NewTask("twice", kind="test", idempotency_key="k")] * 2
    first, again = queue.enqueue_many(alice, new)
    assert (again.pk, again.is_new) == (first.pk, False)
    assert heard.announced == [first.pk]


def test_a_time_of_a_brief_is_queued_once(alice: User, persona: Persona) -> None:
    brief = Schedule.objects.create(
        owner=alice, persona=persona, name="news", cron="0 7 * * *", time_zone="UTC"
    )
    due = timezone.now()
    first = add(alice, schedule=brief, due_at=due)
    again = add(alice, "a new prompt", schedule=brief, due_at=due)
    later = add(alice, schedule=brief, due_at=due + timedelta(days=1))
    assert (again.pk, again.is_new, later.is_new) == (first.pk, False, True)


def test_many_are_queued_in_their_order_and_each_key_once(
    alice: User, heard: Heard
) -> None:
    known = add(alice, "one", idempotency_key="1")
    new = [NewTask("one", kind="test", idempotency_key="1"), NewTask("two")]
    rows = queue.enqueue_many(alice, [*new, NewTask("three")])
    assert [row.text for row in rows] == ["one", "two", "three"]
    assert rows[0].pk == known.pk
    assert [row.is_new for row in rows] == [False, True, True]
    assert [task.text for task in leases.claim(WORKER, 9)] == ["one", "two", "three"]


def test_nobody_queues_more_than_their_share(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_OPEN", 2)
    add(alice)
    add(alice)
    assert take_one().owner == alice  # one that runs is open as well
    assert refusal(lambda: add(alice)) == "too_many"
    assert add(bob).is_new
    many = [NewTask("x")] * 2
    assert refusal(lambda: queue.enqueue_many(bob, many, most=2)) == "too_many"
    leases.settle_done(QueuedTask.objects.get(state="processing"), Done())
    assert add(alice).is_new


def take_one() -> QueuedTask:
    (task,) = leases.claim(WORKER, 1)
    return task


def test_tasks_are_their_owners_alone(alice: User, bob: User) -> None:
    task = add(alice)
    assert list(queue.tasks_visible_to(alice)) == [task]
    assert queue.get_task_for_user(alice, str(task.pk)) == task
    assert list(queue.tasks_visible_to(bob)) == []
    for user, id in ((bob, task.pk), (alice, uuid.uuid4()), (alice, "nonsense")):
        with pytest.raises(Http404):
            queue.get_task_for_user(user, id)


def test_lines_of_people_take_turns(alice: User, bob: User, charlie: User) -> None:
    hers = [add(alice, f"a{number}") for number in range(6)]
    his = [add(bob, f"b{number}") for number in range(2)]
    (last,) = [add(charlie, "c0")]
    assert [queue.position_of(task) for task in hers] == [3, 5, 6, 7, 8, 9]
    assert [queue.position_of(task) for task in [*his, last]] == [3, 5, 3]
    order = [leases.claim(WORKER, 1)[0].text for _ in range(9)]
    assert sorted(order[:3]) == ["a0", "b0", "c0"]
    assert sorted(order[3:5]) == ["a1", "b1"]
    assert order[5:] == ["a2", "a3", "a4", "a5"]
    row = QueuedTask.objects.get(pk=hers[0].pk)
    assert queue.position_of(row) == 0


def test_one_claim_of_several_is_fair_as_well(alice: User, bob: User) -> None:
    for number in range(4):
        add(alice, f"a{number}")
    add(bob, "b0")
    assert sorted(task.text for task in leases.claim(WORKER, 3)) == ["a0", "a1", "b0"]


def test_a_task_waits_for_its_time(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = set_clock(monkeypatch)
    add(alice, not_before=clock.now() + timedelta(hours=1))
    assert leases.claim(WORKER, 1) == []
    clock.pass_by(3601)
    assert len(leases.claim(WORKER, 1)) == 1


def test_what_waits_is_cancelled_at_once_and_whoever_must_know_is_told(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setitem(kinds.ENDINGS, "test", lambda task: told.append(task.state))
    task = queue.cancel(add(alice))
    assert (task.state, told) == ("cancelled", ["cancelled"])
    assert QueuedTask.objects.get().finished_at is not None
    assert leases.claim(WORKER, 1) == []
    assert refusal(lambda: queue.cancel(task)) == "conflict"


def test_what_runs_is_asked_to_end(alice: User) -> None:
    add(alice)
    task = take()
    assert queue.cancel(task).state == "processing"
    assert leases.look({task.pk: 1}).cancelled == {task.pk}
    assert queue.cancel(task).cancel_asked  # once more does no harm
    assert leases.settle_failed(task, "internal", "It broke.", retryable=True)
    assert QueuedTask.objects.get().state == "cancelled"


def test_a_task_that_ended_badly_can_be_repeated(alice: User, heard: Heard) -> None:
    add(alice)
    task = take()
    leases.settle_failed(task, "refused", "No.", retryable=False)
    again = queue.retry(task)
    assert (again.state, again.attempts, again.tries) == ("pending", 1, 0)
    assert (again.error, again.finished_at) == ("", None)
    assert heard.announced == [task.pk, task.pk]
    assert take().attempts == 2  # the fence only grows
    assert refusal(lambda: queue.retry(again)) == "conflict"
    leases.settle_done(QueuedTask.objects.get(), Done("done"))
    assert refusal(lambda: queue.retry(again)) == "conflict"


def test_a_cost_is_that_of_all_attempts(alice: User) -> None:
    add(alice)
    for spent in (1000, 500):
        task = QueuedTask.objects.get()
        if task.state != "pending":
            queue.retry(task)
        task = take()
        turn = kinds.attempt_turn(task)
        reservation = make_reservation(caller=make_caller(turn_id=turn))
        entries.reserve(reservation)
        assert queue.cost_of(task) is None  # a call that is open
        used = Settlement(
            outcome="failed", elapsed_ms=1, input_tokens=spent, output_tokens=0
        )
        entries.settle(reservation.attempt_id, used)
        leases.settle_failed(task, "refused", "No.", retryable=False)
    first, second = entries_cost()
    assert QueuedTask.objects.get().cost_nano_usd == first + second > 0


def entries_cost() -> list[int]:
    rows = LedgerEntry.objects.filter(kind="settle").order_by("id")
    return [int(cost) for cost in rows.values_list("cost_nano_usd", flat=True)]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_announced_for_a_refused_task(alice: User, heard: Heard) -> None:
    with pytest.raises(QueueRefused), transaction.atomic():
        add(alice, idempotency_key="k")
        add(alice, "other", idempotency_key="k")
    assert (QueuedTask.objects.count(), heard.woken) == (0, 0)
