"""What only the engine of PostgreSQL has: jobs beside the rows, and a library's worker.

The run on PostgreSQL tries it.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from procrastinate.jobs import Status

from accounts.models import User
from channels_app.jobs import engines, leases, queue, tick
from channels_app.jobs.engines import procrastinate_jobs
from channels_app.jobs.engines.procrastinate import ClaimingManager
from channels_app.jobs.queue import NewTask
from routing.db_pool import run_in_db_pool
from tests.channels_app.jobs.engines.conftest import Hall, until
from tests.support.jobs import add

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        "connection.vendor != 'postgresql'", reason="Procrastinate is for PostgreSQL"
    ),
]


def jobs() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT args, scheduled_at, status::text, priority FROM procrastinate_jobs"
            " ORDER BY id"
        )
        return list(cursor.fetchall())


def forget_jobs() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


def take(limit: int = 10) -> list[Any]:
    return procrastinate_jobs.take("w", limit)


def test_a_job_carries_an_id_and_comes_and_goes_with_its_row(alice: User) -> None:
    at = timezone.now() + timedelta(hours=1)
    now, later = add(alice, "secret"), add(alice, not_before=at)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add(alice, "rolled back")
        raise ZeroDivisionError
    assert [(json.loads(job[0]), job[1], job[2]) for job in jobs()] == [
        ({"task": str(now.pk)}, None, "todo"),
        ({"task": str(later.pk)}, at, "todo"),
    ]
    assert take() == [now]
    assert len(jobs()) == 1
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add(alice, "next")
        raise ZeroDivisionError
    assert take() == [] and len(jobs()) == 1


def test_a_claim_that_is_rolled_back_leaves_job_and_row(alice: User) -> None:
    task = add(alice)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert take() == [task]
        raise ZeroDivisionError
    task.refresh_from_db()
    assert (task.state, len(jobs())) == ("pending", 1)


def test_the_job_of_a_cancelled_task_ends_silently(alice: User) -> None:
    first, second = add(alice), add(alice)
    queue.cancel(first)
    assert take(1) == [second]
    assert jobs() == []


def test_given_back_and_repeated_tasks_have_a_job_again(alice: User) -> None:
    add(alice)
    for end in (
        leases.give_back,
        lambda task: leases.settle_failed(task, "x", "No.", retryable=True),
    ):
        (task,) = take()
        assert jobs() == []
        assert end(task)
        assert len(jobs()) == 1
        type(task).objects.update(not_before=timezone.now())
        forget_jobs()
        assert engines.sweep() == 1


def test_the_tick_announces_what_has_no_job(alice: User) -> None:
    add(alice, not_before=timezone.now() + timedelta(hours=1))
    tasks = [add(alice) for _ in range(3)]
    assert engines.sweep() == 0
    forget_jobs()
    (step,) = [step for name, step in tick.STEPS if name == "announced_tasks"]
    assert [step(), step()] == [3, 0]
    assert take() == tasks


def test_lines_of_people_take_turns(alice: User, bob: User) -> None:
    of_alice = queue.enqueue_many(alice, [NewTask(str(n)) for n in range(6)])
    assert take(3) == of_alice[:3]
    of_bob = queue.enqueue_many(bob, [NewTask(str(n)) for n in range(2)])
    assert take(5) == [of_alice[3], of_bob[0], of_alice[4], of_bob[1], of_alice[5]]


def test_what_became_due_is_lined_up_like_what_is_queued_now(
    alice: User, bob: User
) -> None:
    at = timezone.now() + timedelta(hours=1)
    of_alice = [
        add(alice, str(n), not_before=at + timedelta(seconds=n)) for n in range(3)
    ]
    past = at - timedelta(hours=2)
    for number, task in enumerate(of_alice):
        task.not_before = past + timedelta(seconds=number)
        task.save(update_fields=["not_before"])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = scheduled_at - interval '2h'"
        )
    of_alice.append(add(alice, "now"))
    of_bob = add(bob)
    assert take(2) == [of_alice[0], of_bob]
    assert sorted(job[3] for job in jobs()) == [-3, -2, -1]
    assert [take(1)[0] for _ in range(3)] == of_alice[1:]
    assert take() == jobs() == []


def test_jobs_for_later_are_not_looked_at(alice: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at)"
            " SELECT 'cortex', 'x', now() + interval '7 days'"
            " FROM generate_series(1, 5000)"
        )
        add(alice)
        looks: list[tuple[str, list[Any]]] = [
            (procrastinate_jobs._TAKE, ["cortex", 1]),
            (procrastinate_jobs._TAKE_DUE, ["cortex", 1]),
            (procrastinate_jobs._ROUND, []),
        ]
        for sql, values in looks:
            cursor.execute(f"EXPLAIN {sql}", values)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "cortex_jobs_" in plan and "Seq Scan" not in plan, plan


def test_its_tables_are_not_for_the_admin(admin_user: User, client_for: Any) -> None:
    model = apps.get_model("procrastinate", "ProcrastinateJob")
    assert not admin.site.is_registered(model)
    client: Client = client_for(admin_user)
    assert "procrastinate" not in client.get("/admin/").content.decode().lower()


def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


async def test_what_was_claimed_and_has_not_begun_is_given_back(
    hall: Hall,
) -> None:
    manager = ClaimingManager(None, "w", 4)
    await hall.add_many(3)
    job = await manager.fetch_job(None, 1)
    assert job and len(manager.claimed) == 3
    await manager.give_back()
    assert {row.state for row in await hall.rows()} == {"pending"}


async def test_one_claim_fills_the_places_that_become_free_together(
    hall: Hall,
) -> None:
    manager = ClaimingManager(None, "w", 4)
    await hall.add_many(8)
    first = [await manager.fetch_job(None, 1) for _ in range(4)]
    manager.claimed.clear()
    fetching = asyncio.create_task(manager.fetch_job(None, 1))
    for job in first:
        assert job
        await manager.finish_job(job, Status.SUCCEEDED, False)
        await asyncio.sleep(0)
    assert await fetching and len(manager.claimed) == 4


async def test_a_worker_is_known_while_it_runs(hall: Hall) -> None:
    def workers() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM procrastinate_workers")
            return int(cursor.fetchone()[0])

    async def one() -> bool:
        return await run_in_db_pool(workers) == 1

    loop = hall.start()
    await until(one)
    await hall.stop(loop)
    assert await run_in_db_pool(workers) == 0
