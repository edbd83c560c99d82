"""Queued tasks and what their owner may at the moment they run: S5, S36."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from accounts import people
from accounts.models import AuditEvent, User
from channels_app.jobs import leases, queue
from channels_app.jobs.kinds import TaskFailed, work_of
from channels_app.jobs.queue import NewTask
from channels_app.models import QueuedTask
from personas.models import Persona
from routing.backends.base import ConnectionFailed
from routing.backends.scripted import calls, playing
from routing.models import Host, Model
from tests.support.chat_fixtures import *  # noqa: F403

CANARY = "canary-of-the-queue"
pytestmark = pytest.mark.usefixtures("turns_running")


def claimed(owner: User, **fields: Any) -> QueuedTask:
    """Queue a task while its owner may do everything, and claim it."""
    task = queue.enqueue(owner, NewTask(CANARY, **fields))
    running = leases.claim_this("test", task.pk)
    assert running is not None
    return running


async def test_s05_a_task_runs_with_the_rights_its_owner_has_then(
    alice: User, scripted: Model, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice))
    await seen(lambda: people.deactivate(alice))

    with playing(), pytest.raises(TaskFailed) as caught:
        await work_of(task)(task)

    assert caught.value.code == "forbidden"
    assert calls == []


async def test_s05_a_task_reaches_no_host_that_is_its_owners_no_more(
    alice: User, bob: User, scripted: Model, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice))
    await seen(lambda: Host.objects.update(owner=bob))

    with playing(), pytest.raises(TaskFailed):
        await work_of(task)(task)

    assert calls == []


async def test_s05_a_persona_that_became_private_leaves_the_house_no_more(
    alice: User, persona: Persona, scripted: Model, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice, persona=persona))
    await seen(lambda: Host.objects.update(is_local=False))
    await seen(lambda: Persona.objects.update(private=True))

    with playing(), pytest.raises(TaskFailed):
        await work_of(task)(task)

    assert calls == []


async def test_s36_no_log_and_no_audit_event_repeats_a_task(
    alice: User, scripted: Model, seen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    task = await seen(lambda: claimed(alice))
    with (
        playing(scripted=[ConnectionFailed("refused")]),
        pytest.raises(TaskFailed) as caught,
    ):
        await work_of(task)(task)

    def end() -> str:
        leases.settle_failed(
            task, caught.value.code, caught.value.sentence, retryable=False
        )
        queue.forget(queue.cancel(queue.retry(task)))
        return str(list(AuditEvent.objects.values()))

    assert CANARY not in await seen(end)
    said = [
        f"{record.getMessage()} {record.exc_text or ''}"
        for record in caplog.records
        if not record.name.startswith("django.db")
    ]
    assert CANARY not in "\n".join(said)
