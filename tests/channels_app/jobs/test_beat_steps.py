"""What the steps of the heartbeat find and do; the digest has a file of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.utils import timezone

from accounts.models import Invite, PasswordReset, User
from accounts.secrets import encrypt
from channels_app import mails
from channels_app.care import nightly
from channels_app.care.errors import BackupFailed
from channels_app.jobs.beat_step import StepFailed
from channels_app.jobs.beat_steps import backup, budgets, hosts, retention
from channels_app.jobs.heartbeat import beat
from channels_app.models import (
    Beat,
    Channel,
    MailDelivery,
    PairingCode,
    QueuedTask,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.webhooks import announcing, sending
from ledger.models import Budget, BudgetNotice, BudgetPeriod, LedgerEntry
from personas.conversations import delete_conversation
from personas.models import Conversation, Message, Persona
from routing.backends import programs
from routing.backends.base import AuthenticationFailed, Finished, TextDelta
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool as now
from routing.models import Host
from routing.seeds import seed_registry
from tests.support.ledger import book

pytestmark = pytest.mark.django_db(transaction=True)
ONE_CALL = 60_000
"""What ``book`` books, in nano-dollars."""


# --- hosts --------------------------------------------------------------------


@pytest.fixture
def ready_host(
    admin_user: User, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    """A seeded host that has its key and waits for its test."""
    monkeypatch.setattr("routing.hosts.price_for", lambda *_: None)
    types = {**settings.MODEL_BACKENDS}
    settings.MODEL_BACKENDS = types | {"claude_cli": types["scripted"]}
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    program.chmod(0o700)
    settings.CORTEX_CLAUDE_CLI = str(program)
    settings.CORTEX_GEMINI_CLI = str(tmp_path / "none")
    programs.forget_programs()
    seed_registry()
    host = Host.objects.get(type="claude_cli")
    host.key_encrypted = encrypt("host_key", "k")
    host.save()
    yield host
    programs.forget_programs()


async def test_a_host_that_is_able_to_answer_goes_in_use(ready_host: Host) -> None:
    answers: dict[str, list[Any]] = {"haiku": [TextDelta("OK"), Finished()]}
    assert await now(hosts.find) == 3
    with playing(**answers):
        report = await beat(steps=[hosts.STEP])
    await now(ready_host.refresh_from_db)
    assert ready_host.flagged == ""
    assert (report.done, ready_host.enabled) == ({"hosts": 1}, True)
    assert report.model_calls == 1
    row = await now(LedgerEntry.objects.get, kind="settle")
    assert (row.channel, row.user_id, row.role) == ("heartbeat", None, "test")
    with playing(**answers):
        again = await beat(steps=[hosts.STEP])
    # The other two wait for keys, which is nothing to do.
    assert (again.found, again.model_calls) == ({"hosts": 0}, 0)


async def test_a_host_that_failed_its_test_is_left_alone_for_a_while(
    ready_host: Host,
) -> None:
    calls = LedgerEntry.objects.filter(kind="reserve").count
    with playing(haiku=[AuthenticationFailed("No.")]):
        await beat(steps=[hosts.STEP])
    assert (await now(calls), await now(hosts.find)) == (1, 0)
    with playing(haiku=[TextDelta("OK"), Finished()]):
        await beat(steps=[hosts.STEP])
    assert await now(calls) == 1


# --- budgets ------------------------------------------------------------------


def cap(user: User, limit: int, **columns: Any) -> Budget:
    """Give a person a budget for background work."""
    return Budget.objects.create(
        user=user,
        scope="background",
        period="day",
        limit_nano_usd=limit,
        **columns,
    )


@pytest.fixture
def hook(alice: User, monkeypatch: pytest.MonkeyPatch) -> WebhookEndpoint:
    """Alice's address that wants to hear of budgets; nothing is sent."""
    monkeypatch.setattr(sending.COURIERS, "wake", lambda _: None)
    return WebhookEndpoint.objects.create(
        owner=alice, url="https://example.org/", events=["budget.warning"]
    )


async def test_a_period_that_is_over_begins_anew(alice: User) -> None:
    def make() -> BudgetPeriod:
        today = timezone.now()
        return BudgetPeriod.objects.create(
            user_id=alice.pk,
            period="day",
            start=today - timedelta(days=3),
            end=today - timedelta(days=2),
            zone="UTC",
        )

    row = await now(make)
    assert await now(budgets.find) == 1
    assert await budgets.work() == 1
    await now(row.refresh_from_db)
    assert row.start <= timezone.now() < row.end
    assert await now(budgets.find) == 0


async def test_what_background_work_used_is_told_by_webhook(
    alice: User, hook: WebhookEndpoint
) -> None:
    def spend() -> None:
        cap(alice, 2 * ONE_CALL, hard=False)
        book(alice, background=True)

    await now(spend)
    assert await now(budgets.find) == 1
    assert await budgets.work() == 1
    told = await now(WebhookDelivery.objects.get)
    assert (told.event, told.payload["data"]["percent"]) == ("budget.warning", 50)
    assert not await now(MailDelivery.objects.exists)  # half is not worth one
    assert await now(budgets.find) == 0


async def test_what_could_not_be_stored_is_told_by_the_next_heartbeat(
    alice: User, hook: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spend() -> None:
        cap(alice, ONE_CALL, hard=False)
        book(alice, background=True)

    def fail(*_: Any) -> None:
        raise OperationalError("on purpose")

    await now(spend)
    with monkeypatch.context() as broken:
        broken.setattr(announcing, "store", fail)
        assert "budgets" in (await beat(steps=[budgets.STEP])).failed
    assert not await now(MailDelivery.objects.exists)
    for _ in range(2):
        await beat(steps=[budgets.STEP])
    assert await now(WebhookDelivery.objects.count) == 1
    assert await now(MailDelivery.objects.count) == 1


async def test_a_budget_that_is_used_up_is_told_by_mail_once(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spend() -> None:
        cap(alice, ONE_CALL, hard=False)
        book(alice, background=True)

    monkeypatch.setattr(mails.COURIERS, "wake", lambda _: None)
    await now(spend)
    for _ in range(2):
        await beat(steps=[budgets.STEP])
    mail = await now(MailDelivery.objects.get)
    assert mail.owner_id == alice.pk
    assert "is used up" in mail.text


async def test_nobody_is_told_who_cannot_hear_it_or_used_nothing(
    alice: User, bob: User, settings: Any
) -> None:
    def spend() -> None:
        cap(alice, ONE_CALL, hard=False)
        cap(bob, 0)
        book(alice, background=True)

    await now(spend)
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert await now(budgets.find) == 0
    assert await budgets.work() == 0
    assert not await now(BudgetNotice.objects.exists)  # the next answer tells it


# --- retention ----------------------------------------------------------------


def old(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


def make_old_and_new(alice: User, persona: Persona) -> None:
    """Make two of everything: one that is old enough, and one that is not."""
    channel = Channel.objects.create(owner=alice, kind="nextcloud_talk")
    tasks = {"owner": alice, "text": "x"}
    for number, (task, beaten, code, month, hour) in enumerate(
        [(101, 31, 1.1, 31, 1.1 / 24), (99, 29, 0.9, 29, 0.9 / 24)]
    ):
        for state in ("done", "failed", "dead", "cancelled"):
            QueuedTask.objects.create(state=state, finished_at=old(task), **tasks)
        Beat.objects.create(started_at=old(beaten), running=None)
        for used_at, expires_at in ((None, old(code)), (old(code), old(-1))):
            PairingCode.objects.create(
                channel=channel, expires_at=expires_at, used_at=used_at
            )
        for closed in (
            {"expires_at": old(month)},
            {"expires_at": old(-1), "used_at": old(month)},
            {"expires_at": old(-1), "revoked_at": old(month)},
        ):
            hash = f"{number}{sorted(closed)}"
            Invite.objects.create(token_hash=hash, **closed)
        PasswordReset.objects.create(token_hash=str(number), expires_at=old(month))
        ended = number == 0
        Session.objects.create(
            session_key=str(number), expire_date=old(1 if ended else -1)
        )
        UserSession.objects.create(
            user=alice,
            ip="127.0.0.1",
            session_key=str(number),
            last_seen_at=old(2),
        )
        talk = Conversation.objects.create(owner=alice, persona=persona)
        Message.objects.create(conversation=talk, owner=alice, role="user", text="x")
        delete_conversation(talk)
        Conversation.objects.filter(pk=talk.pk).update(deleted_at=old(hour))
        MailDelivery.objects.create(
            owner=alice, key=str(number), created_at=old(task), state="sent"
        )
        WebhookEndpoint.objects.create(
            owner=alice,
            url="",
            previous_secret="x",
            previous_until=old(1 if ended else -1),
        )
    for state in ("pending", "processing"):
        QueuedTask.objects.create(state=state, created_at=old(200), **tasks)
    Beat.objects.create(started_at=old(40), running=True)


KINDS: tuple[Any, ...] = (
    *(QueuedTask, Beat, PairingCode, Invite, PasswordReset, Session, UserSession),
    *(Conversation, Message, MailDelivery),
)


async def test_what_is_old_goes_and_everything_else_stays(
    alice: User, persona: Persona
) -> None:
    await now(make_old_and_new, alice, persona)
    await now(book, alice)
    entries = await now(LedgerEntry.objects.count)

    def counts() -> dict[str, int]:
        return {kind.__name__: kind._default_manager.count() for kind in KINDS}

    before = await now(counts)
    found = await now(retention.find)
    assert await retention.work() == found == 4 + 1 + 2 + 3 + 1 + 1 + 1 + 1 + 1 + 1
    assert before == {
        **{"QueuedTask": 10, "Beat": 3, "PairingCode": 4, "Invite": 6},
        **{"PasswordReset": 2, "Session": 2, "UserSession": 2},
        **{"Conversation": 2, "Message": 2, "MailDelivery": 2},
    }
    assert await now(counts) == {
        **{"QueuedTask": 6, "Beat": 2, "PairingCode": 2, "Invite": 3},
        **{"PasswordReset": 1, "Session": 1, "UserSession": 1},
        **{"Conversation": 1, "Message": 1, "MailDelivery": 1},
    }
    secrets = WebhookEndpoint.objects.order_by("pk").values_list("previous_secret")
    assert await now(lambda: list(secrets)) == [("",), ("x",)]
    assert await now(LedgerEntry.objects.count) == entries
    assert await now(retention.find) == 0


async def test_much_goes_in_batches(
    alice: User, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    monkeypatch.setattr("personas.conversations.PURGED_AT_ONCE", 2)
    removed: list[int] = []
    remove = retention._remove_rows

    def count() -> int:
        removed.append(remove())
        return removed[-1]

    def make() -> None:
        for _ in range(5):
            Beat.objects.create(started_at=old(31), running=None)
            Conversation.objects.create(owner=alice, persona=persona, deleted_at=old(1))

    await now(make)
    purges = [*retention.PURGES[:-1], retention.Purge(retention._count_rows, count)]
    monkeypatch.setattr(retention, "PURGES", purges)
    assert await retention.work() == 10
    assert removed == [2, 2, 1, 0]


async def test_looking_for_old_rows_costs_little(
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    def look() -> None:
        with django_assert_max_num_queries(15) as looked:
            assert retention.find() == 0
        assert not any("DELETE" in each["sql"] for each in looked.captured_queries)

    await now(look)


# --- the backup ---------------------------------------------------------------


async def test_the_backup_is_written_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(nightly, "due", lambda _: not threads)
    monkeypatch.setattr(
        nightly, "run", lambda: threads.append(threading.current_thread())
    )
    first, second = [await beat(steps=[backup.STEP]) for _ in range(2)]
    assert (first.done, second.found, second.done) == (
        {"backup": 1},
        {"backup": 0},
        {},
    )
    (thread,) = threads
    assert thread.daemon  # nobody who stops the worker waits for it


async def test_a_backup_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BackupFailed("There is no room on the disk.")

    monkeypatch.setattr(nightly, "run", fail)
    with pytest.raises(StepFailed, match="no room"):
        await backup.work()


async def test_a_backup_that_failed_is_tried_again_after_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise BackupFailed("There is no room on the disk.")

    monkeypatch.setattr(nightly, "due", lambda _: True)
    monkeypatch.setattr(nightly, "run", fail)
    for _ in range(3):
        await beat(steps=[backup.STEP])
    assert len(tries) == 1
    await beat(by_hand=True, steps=[backup.STEP])
    assert len(tries) == 2
    await now(Beat.objects.update, alive_at=old(1.01 / 24))
    await beat(steps=[backup.STEP])
    assert len(tries) == 3


async def test_nobody_waits_for_a_backup_when_the_heartbeat_is_cut_off() -> None:
    begun, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait(10)

    running = asyncio.create_task(backup.in_own_thread(hang))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    goes_on.set()
