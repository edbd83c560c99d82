"""Long random lives of a queue, compared with a small model of its rules.

Workers claim, renew, settle, settle too late, give back and die; owners queue, cancel
and repeat; the clock jumps both ways. After every step the database has to say what
the model says.
"""

from __future__ import annotations

import copy
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from accounts.models import User
from channels_app.jobs import leases, queue, rescuing
from channels_app.jobs.kinds import Done
from channels_app.jobs.queue import QueueRefused
from channels_app.models import QueuedTask
from tests.support.jobs import Clock, add, set_clock

STEPS = 400
WORKERS = ("one", "two", "three")


@dataclass
class Known:
    """What the model knows of a task."""

    owner: int
    state: str = "pending"
    attempts: int = 0
    tries: int = 0
    cancel_asked: bool = False
    worker: str = ""
    not_before: datetime | None = None
    lease_until: datetime | None = None

    def seen(self) -> tuple[Any, ...]:
        return (self.state, self.attempts, self.tries, self.cancel_asked)

    def wait(self) -> None:
        self.state, self.lease_until = "pending", None

    def end(self, state: str) -> None:
        self.state, self.lease_until, self.cancel_asked = state, None, False


@dataclass
class Life:
    """A queue, its model, and everybody who does something with it."""

    dice: random.Random
    owners: list[User]
    clock: Clock
    known: dict[uuid.UUID, Known] = field(default_factory=dict)
    copies: list[QueuedTask] = field(default_factory=list)
    """What workers hold, or have held and still believe to hold."""
    effects: Counter[uuid.UUID] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)

    def step(self) -> None:
        name = self.dice.choice(
            ["queue", "queue", "claim", "claim", "claim", "renew", "done", "failed"]
            + ["back", "cancelled", "cancel", "retry", "rescue", "time", "time"]
        )
        getattr(self, name)()
        self.steps[name] += 1
        self.compare()

    # --- owners ---------------------------------------------------------------

    def queue(self) -> None:
        owner = self.dice.choice(self.owners)
        for _ in range(self.dice.choice((1, 1, 1, 4))):
            key = self.dice.choice(("", "", "a", "b", "c"))
            task = add(owner, idempotency_key=key)
            assert task.is_new == (task.pk not in self.known)
            if task.is_new:
                self.known[task.pk] = Known(owner.pk, not_before=task.not_before)

    def one(self) -> tuple[QueuedTask, Known] | None:
        if not self.known:
            return None
        pk = self.dice.choice(list(self.known))
        return QueuedTask.objects.get(pk=pk), self.known[pk]

    def cancel(self) -> None:
        if (found := self.one()) is None:
            return
        task, known = found
        if known.state not in ("pending", "processing"):
            with pytest.raises(QueueRefused):
                queue.cancel(task)
            return
        queue.cancel(task)
        if known.state == "pending":
            known.end("cancelled")
        else:
            known.cancel_asked = True

    def retry(self) -> None:
        if (found := self.one()) is None:
            return
        task, known = found
        if known.state in ("failed", "dead", "cancelled"):
            queue.retry(task)
            known.wait()
            known.tries = 0
        else:
            with pytest.raises(QueueRefused):
                queue.retry(task)

    # --- workers --------------------------------------------------------------

    def claim(self) -> None:
        limit, worker = self.dice.randint(1, 6), self.dice.choice(WORKERS)
        now = self.clock.now()
        due = Counter(
            each.owner
            for each in self.known.values()
            if each.state == "pending" and each.not_before and each.not_before <= now
        )
        tasks = leases.claim(worker, limit)
        assert len(tasks) >= min(limit, sum(due.values()))
        got = Counter(task.owner_id for task in tasks)
        for owner, count in due.items():
            if got[owner] < count:  # who still waits got as many as anybody, but one
                assert got[owner] >= max(got.values()) - 1
        for task in tasks:
            known = self.known[task.pk]
            assert known.state == "pending"
            assert known.not_before and known.not_before <= self.clock.now()
            known.state, known.worker = "processing", worker
            known.attempts += 1
            known.tries += 1
            known.lease_until = task.lease_until
            self.copies.append(task)

    def held(self) -> tuple[QueuedTask, Known, bool] | None:
        """Return some worker's task, and whether it is still the worker's own."""
        if not self.copies:
            return None
        task = copy.copy(self.dice.choice(self.copies[-12:]))
        known = self.known[task.pk]
        own = (known.state, known.attempts) == ("processing", task.attempts)
        return task, known, own

    def renew(self) -> None:
        worker = self.dice.choice(WORKERS)
        mine = {task.pk: task.attempts for task in self.copies if task.worker == worker}
        renewal = leases.renew(worker, mine)
        now = self.clock.now()
        for pk, attempt in mine.items():
            known = self.known[pk]
            own = (known.state, known.attempts) == ("processing", attempt)
            assert (pk in renewal.lost) == (not own)
            assert (pk in renewal.cancelled) == (own and known.cancel_asked)
            if own:
                known.lease_until = now + leases.LEASE

    def done(self) -> None:
        if (found := self.held()) is None:
            return
        task, known, own = found
        pk = task.pk
        done = Done("x", effect=lambda: self.effects.update([pk]))
        assert leases.settle_done(task, done) == own
        if own:
            known.end("done")

    def failed(self) -> None:
        if (found := self.held()) is None:
            return
        task, known, own = found
        again = self.dice.random() < 0.7
        assert leases.settle_failed(task, "internal", "x", retryable=again) == own
        if not own:
            return
        if known.cancel_asked:
            known.end("cancelled")
        elif again and known.tries < leases.MAX_ATTEMPTS:
            known.wait()
        else:
            known.end("dead" if again else "failed")

    def back(self) -> None:
        if (found := self.held()) is None:
            return
        task, known, own = found
        assert leases.give_back(task) == own
        if own and known.cancel_asked:
            known.end("cancelled")
        elif own:
            known.wait()
            known.tries -= 1

    def cancelled(self) -> None:
        if (found := self.held()) is None:
            return
        task, known, own = found
        assert leases.settle_cancelled(task) == own
        if own:
            known.end("cancelled")

    # --- time -----------------------------------------------------------------

    def time(self) -> None:
        jump = self.dice.choice((1.0, 6.0, 6.0, 31.0, 700.0, -40.0))
        self.clock.pass_by(jump)

    def rescue(self) -> None:
        before = self.clock.now()
        count = rescuing.rescue()
        rescued = 0
        for known in self.known.values():
            if known.lease_until is None or known.lease_until > before:
                continue
            rescued += 1
            if known.cancel_asked:
                known.end("cancelled")
            elif known.tries >= leases.MAX_ATTEMPTS:
                known.end("dead")
            else:
                known.wait()
        assert count == rescued

    # --- the comparison -------------------------------------------------------

    def compare(self) -> None:
        rows = {row.pk: row for row in QueuedTask.objects.all()}
        assert rows.keys() == self.known.keys()
        for pk, known in self.known.items():
            row = rows[pk]
            seen = (row.state, row.attempts, row.tries, row.cancel_asked)
            assert seen == known.seen()
            assert (row.lease_until is None) == (known.lease_until is None)
            assert (row.finished_at is None) == (row.state in ("pending", "processing"))
            # Pauses have jitter and leases are cut when the clock was set back.
            known.not_before, known.lease_until = row.not_before, row.lease_until
            assert self.effects[pk] == (row.state == "done")


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_keeps_to_the_rules(
    seed: int, alice: User, bob: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    life = Life(dice, [alice, bob, charlie], set_clock(monkeypatch))
    for _ in range(STEPS):
        life.step()
    assert len(life.steps) == 11
    assert len(life.effects) >= 3
    assert {"done", "cancelled"} <= {known.state for known in life.known.values()}
