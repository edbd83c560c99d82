from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from channels_app.jobs import queue
from channels_app.jobs.queue import NewTask
from channels_app.models import Beat, QueuedTask, Schedule
from personas.models import Persona

PRIVATE = "a very private text"


@pytest.mark.django_db
def test_administrators_see_jobs_without_their_texts(
    admin_user: User,
    alice: User,
    persona: Persona,
    client_for: Callable[..., Client],
) -> None:
    brief = Schedule.objects.create(
        owner=alice,
        persona=persona,
        name=f"{PRIVATE} 1",
        prompt=PRIVATE,
        cron="0 7 * * *",
        time_zone="UTC",
    )
    task = queue.enqueue(
        alice, NewTask(PRIVATE, schedule=brief, idempotency_key=PRIVATE)
    )
    QueuedTask.objects.update(result=PRIVATE, state="done")
    beat = Beat.objects.create(running=None)
    admin = client_for(admin_user)

    for name, row in (("queuedtask", task), ("schedule", brief), ("beat", beat)):
        for address in ("", f"{row.pk}/change/"):
            answer = admin.get(f"/admin/channels_app/{name}/{address}")
            assert answer.status_code == 200, address
            page = answer.content.decode()
            assert PRIVATE not in page
            assert str(row.pk) in page
        assert (
            admin.post(f"/admin/channels_app/{name}/{row.pk}/delete/").status_code
            == 403
        )
