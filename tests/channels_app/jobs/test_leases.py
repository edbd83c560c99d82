"""Claims, leases, ends and rescues of tasks."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from channels_app.jobs import kinds, leases, rescuing
from channels_app.jobs.kinds import Done
from channels_app.jobs.settling import settle_together
from channels_app.models import QueuedTask
from tests.support.jobs import WORKER, Clock, add, set_clock, take

pytestmark = pytest.mark.django_db
LEASE_S = leases.LEASE.total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch)


def row() -> QueuedTask:
    return QueuedTask.objects.get()


def test_an_idle_look_is_one_query_that_takes_no_lock(alice: User) -> None:
    add(alice)
    leases.settle_done(take(), Done())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert leases.claim(WORKER, 4) == []
        assert rescuing.rescue() == 0
    words = [query["sql"].split()[0] for query in queries.captured_queries]
    assert not {"BEGIN", "UPDATE", "SAVEPOINT"} & set(words)
    assert len(words) <= 6  # PostgreSQL asks for the time as well


def test_a_claim_tells_what_is_claimed(alice: User, clock: Clock) -> None:
    add(alice, "hello")
    task = take("w")
    stored = row()
    for each in (task, stored):
        assert (each.state, each.worker, each.attempts, each.tries) == (
            *("processing", "w", 1, 1),
        )
        assert each.lease_until and each.started_at
        assert each.lease_until - each.started_at == leases.LEASE
    assert leases.claim("other", 5) == []
    assert leases.claim_this("other", task.pk) is None


def test_one_task_can_be_claimed_by_its_id(alice: User, clock: Clock) -> None:
    first, second = add(alice), add(alice)
    claimed = leases.claim_this(WORKER, second.pk)
    assert claimed and (claimed.pk, claimed.attempts) == (second.pk, 1)
    later = add(alice, not_before=clock.now() + timedelta(seconds=60))
    assert leases.claim_these(WORKER, [first.pk, second.pk, later.pk]) == [first]


def test_a_renewed_lease_holds_and_a_lost_one_is_told(
    alice: User, clock: Clock
) -> None:
    add(alice)
    task = take()
    held = {task.pk: task.attempts, uuid.uuid4(): 1}
    for _ in range(4):
        clock.pass_by(LEASE_S - 5)
        renewal = leases.renew(WORKER, held)
        assert task.pk not in renewal.lost and len(renewal.lost) == 1
        assert rescuing.rescue() == 0
    clock.pass_by(LEASE_S + 1)
    assert rescuing.rescue() == 1
    assert leases.renew(WORKER, held).lost == set(held)
    assert leases.look({}) == leases.renew(WORKER, {}) == leases.Renewal(set(), set())


def test_what_an_attempt_wrote_is_kept(alice: User) -> None:
    add(alice)
    done = Done("it is\0 done", "haiku", 10, 20, 3000)
    assert leases.settle_done(take(), done)
    stored = row()
    assert (stored.state, stored.result) == ("done", "it is\ufffd done")
    assert (stored.model, stored.input_tokens, stored.output_tokens) == (
        "haiku",
        10,
        20,
    )
    assert (stored.cost_nano_usd, stored.lease_until) == (3000, None)
    assert stored.finished_at is not None


@pytest.mark.parametrize("count", [1, leases.WORTH_ONE_STATEMENT])
def test_a_result_that_is_not_whole_says_why(alice: User, count: int) -> None:
    for _ in range(count):
        add(alice)
    whole, cut = Done("42"), Done("4", error_code="too_long", error="Too long.")
    tasks = leases.claim(WORKER, count)
    ends = [cut] + [whole] * (count - 1)
    assert all(leases.settle_all_done(list(zip(tasks, ends, strict=True))))

    rows = [QueuedTask.objects.get(pk=task.pk) for task in tasks]
    assert {each.state for each in rows} == {"done"}
    said = [(each.result, each.error_code, each.error) for each in rows]
    assert said == [("4", "too_long", "Too long.")] + [("42", "", "")] * (count - 1)


def test_a_failure_that_may_pass_waits_longer_each_time(
    alice: User, clock: Clock
) -> None:
    add(alice)
    pauses = []
    for number in range(1, leases.MAX_ATTEMPTS + 1):
        task = take()
        assert task.attempts == number
        assert leases.settle_failed(task, "internal", "Broken.", retryable=True)
        pauses.append((row().not_before - clock.now()).total_seconds())
        clock.pass_by(1000)
    stored = row()
    assert (stored.state, stored.error_code, stored.error) == (
        *("dead", "internal", "Broken."),
    )
    for pause, usual in zip(pauses, (5, 10, 20, 40), strict=False):
        assert usual * 0.75 <= pause <= usual * 1.25
    assert max(leases.pause_s(tries) for tries in range(1, 60)) <= 720


def test_a_failure_for_good_ends_a_task(alice: User) -> None:
    add(alice)
    assert leases.settle_failed(take(), "refused", "No. " * 200, retryable=False)
    assert (row().state, len(row().error)) == ("failed", 300)


def test_what_is_given_back_waits_at_once_and_has_lost_nothing(alice: User) -> None:
    add(alice)
    for attempt in range(1, 8):
        task = take()
        assert (task.attempts, task.tries) == (attempt, 1)
        assert leases.give_back(task)
        assert not leases.give_back(task)
    assert (row().state, row().worker) == ("pending", "")


def test_an_end_has_its_effect_once_and_only_while_it_holds(
    alice: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects: list[str] = []
    monkeypatch.setitem(kinds.ENDINGS, "test", lambda task: effects.append(task.state))
    add(alice)
    old = take()
    clock.pass_by(LEASE_S + 1)
    rescuing.rescue()
    new = take()
    done = Done("old", effect=lambda: effects.append("old"))
    assert not leases.settle_done(old, done)
    assert not leases.settle_failed(old, "internal", "x", retryable=True)
    assert not leases.settle_cancelled(old)
    assert not leases.give_back(old)
    assert effects == []
    done = Done("new", effect=lambda: effects.append("new"))
    assert leases.settle_done(new, done)
    assert not leases.settle_done(new, done)
    assert effects == ["new", "done"]
    assert row().result == "new"


def test_an_effect_that_fails_takes_the_end_with_it(alice: User) -> None:
    add(alice)
    task = take()

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leases.settle_done(task, Done("x", effect=broken))
    assert row().state == "processing"
    assert leases.settle_done(task, Done("y"))


def test_the_first_rescue_is_at_once_and_later_ones_wait(
    alice: User, clock: Clock
) -> None:
    add(alice)
    waits = []
    for _ in range(leases.MAX_ATTEMPTS - 1):
        take()
        clock.pass_by(LEASE_S + 1)
        assert rescuing.rescue() == 1
        waits.append((row().not_before - clock.now()).total_seconds())
        assert row().error.startswith(rescuing.LOST)
        clock.pass_by(1000)
    assert waits[0] <= 0 < waits[1] < waits[2] < waits[3] < 30
    take()
    clock.pass_by(LEASE_S + 1)
    assert rescuing.rescue() == 1
    assert row().state == "dead" and "5 attempts" in row().error


def test_an_end_that_cannot_be_told_holds_up_no_rescue(
    alice: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: QueuedTask) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(kinds.ENDINGS, "test", broken)
    add(alice)
    add(alice)
    last, first = leases.claim(WORKER, 2)
    QueuedTask.objects.filter(pk=last.pk).update(tries=leases.MAX_ATTEMPTS)
    clock.pass_by(LEASE_S + 1)
    assert rescuing.rescue() == 2
    states = dict(QueuedTask.objects.values_list("pk", "state"))
    assert states == {last.pk: "dead", first.pk: "pending"}


def test_a_rescue_ends_what_was_to_be_cancelled(alice: User, clock: Clock) -> None:
    add(alice)
    QueuedTask.objects.filter(pk=take().pk).update(cancel_asked=True)
    clock.pass_by(LEASE_S + 1)
    assert rescuing.rescue() == 1
    assert row().state == "cancelled"


def test_a_clock_that_is_set_back_delays_a_rescue_by_one_lease(
    alice: User, clock: Clock
) -> None:
    add(alice)
    task = take()
    clock.pass_by(-3600)
    assert rescuing.rescue() == 0
    assert leases.renew(WORKER, {task.pk: 1}).lost == set()
    clock.pass_by(LEASE_S + 1)
    assert rescuing.rescue() == 1


def test_ends_that_wait_together_share_one_transaction_and_no_fault(
    alice: User,
) -> None:
    add(alice)
    add(alice)
    add(alice)
    first, second, third = leases.claim(WORKER, 3)

    def broken() -> bool:
        leases.settle_done(second, Done("never"))
        raise ZeroDivisionError

    results = settle_together(
        [
            lambda: leases.give_back(first),
            broken,
            lambda: leases.settle_done(third, Done("3")),
        ]
    )
    assert [results[0], results[2]] == [True, True]
    assert isinstance(results[1], ZeroDivisionError)
    states = dict(QueuedTask.objects.values_list("pk", "state"))
    assert [states[task.pk] for task in (first, second, third)] == [
        *("pending", "processing", "done"),
    ]
    assert QueuedTask.objects.get(pk=first.pk).tries == 0
