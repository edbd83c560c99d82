"""What becomes of a task that is repeated, and which ones are not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import leases, queue
from channels_app.jobs.kinds import Done
from channels_app.jobs.queue import QueueRefused
from channels_app.models import QueuedTask
from tests.support.jobs import add, take

pytestmark = pytest.mark.django_db


def test_what_was_cancelled_before_its_time_keeps_it(alice: User) -> None:
    later = timezone.now() + timedelta(days=900)
    waiting = queue.cancel(add(alice, not_before=later))
    assert queue.retry(waiting).not_before == later

    QueuedTask.objects.all().delete()
    due = queue.cancel(add(alice))
    assert queue.retry(due).not_before > due.not_before  # behind what came meanwhile


def test_what_was_begun_once_is_due_when_it_is_repeated(alice: User) -> None:
    add(alice)
    leases.settle_failed(take(), "internal", "No.", retryable=True)
    waiting = QueuedTask.objects.get()
    assert waiting.not_before > timezone.now()
    assert queue.retry(queue.cancel(waiting)).not_before <= timezone.now()


def test_a_task_that_is_not_repeated_says_why(alice: User) -> None:
    task = add(alice)

    def said() -> str:
        with pytest.raises(QueueRefused) as caught:
            queue.retry(task)
        assert caught.value.code == "conflict"
        return caught.value.message

    assert said() == "This task is not over: waiting."
    running = take()
    assert said() == "This task is not over: running."
    leases.settle_done(running, Done("42"))
    assert said() == "This task is done; queue it again as a new one."
