"""The daily digest: when it is due, whom it is for, and what it tells."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from channels_app import digests, mails
from channels_app.jobs.beat_steps import digest as step
from channels_app.models import (
    Beat,
    MailDelivery,
    QueuedTask,
    Schedule,
    WebhookDelivery,
    WebhookEndpoint,
)
from ledger import entries
from ledger.models import Budget, LedgerEntry
from ledger.types import Prices, Settlement
from personas.models import Message, Persona
from routing.db_pool import run_in_db_pool as now
from routing.models import Host
from tests.support.ledger import make_caller, make_reservation

pytestmark = pytest.mark.django_db(transaction=True)
BERLIN = "Europe/Berlin"
MORNING = datetime(2026, 1, 15, 7, 30, tzinfo=UTC)
"""Half past eight in Berlin."""
YESTERDAY = datetime(2026, 1, 14, 12, tzinfo=UTC)


@pytest.fixture
def reader(alice: User) -> User:
    """Alice, who lives in Berlin and wants the digest."""
    return wants_it(alice)


def wants_it(user: User, zone: str = BERLIN) -> User:
    user.time_zone, user.daily_digest = zone, True
    user.save()
    return user


def say(persona: Persona, when: datetime, *texts: str) -> None:
    """Add a conversation with these messages."""
    talk = persona.conversations.create(owner=persona.owner, title="Secret title")
    for text in texts:
        Message.objects.create(
            conversation=talk,
            owner=persona.owner,
            role=Message.Role.USER,
            text=text,
            created_at=when,
        )


def pay(
    user: User, when: datetime, monkeypatch: pytest.MonkeyPatch, *, price: int | None
) -> None:
    """Book a call of a thousand tokens at a price a million."""
    caller = make_caller(user_id=user.pk, user_name=user.username)
    prices = Prices(price, price, None, None)
    reservation = make_reservation(caller=caller, prices=prices)
    with monkeypatch.context() as patched:
        patched.setattr(timezone, "now", lambda: when)
        entries.reserve(reservation)
        ended = Settlement("complete", 1, input_tokens=1000, output_tokens=0)
        entries.settle(reservation.attempt_id, ended)


def text_of(user: User, moment: datetime = MORNING) -> str:
    """Return the digest as it would be mailed."""
    assert digests.store(user, moment)
    return MailDelivery.objects.get(owner=user).text


# --- when and for whom --------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "moment", "expected"),
    [
        ("Europe/Berlin", datetime(2026, 1, 15, 5, 59, tzinfo=UTC), False),
        ("Europe/Berlin", datetime(2026, 1, 15, 6, 0, tzinfo=UTC), True),
        ("Europe/Berlin", datetime(2026, 7, 15, 5, 0, tzinfo=UTC), True),  # summer
        ("Asia/Tokyo", datetime(2026, 1, 14, 21, 59, tzinfo=UTC), False),
        ("Asia/Tokyo", datetime(2026, 1, 14, 22, 0, tzinfo=UTC), True),
        ("America/New_York", datetime(2026, 1, 15, 11, 59, tzinfo=UTC), False),
        ("America/New_York", datetime(2026, 1, 15, 12, 0, tzinfo=UTC), True),
        ("Asia/Kathmandu", datetime(2026, 1, 15, 1, 14, tzinfo=UTC), False),
        ("Asia/Kathmandu", datetime(2026, 1, 15, 1, 15, tzinfo=UTC), True),
    ],
)
def test_it_is_due_from_seven_in_the_persons_own_zone(
    alice: User, persona: Persona, zone: str, moment: datetime, expected: bool
) -> None:
    wants_it(alice, zone)
    day = digests.day_before(alice, moment)
    say(persona, day.start, "hello")
    assert digests.due(moment) == ([alice] if expected else [])


@pytest.mark.parametrize(
    ("moment", "hours", "start"),
    [
        # The clocks of Berlin go forward on 29 March 2026 and back on 25 October.
        (datetime(2026, 3, 30, 6, tzinfo=UTC), 23, "2026-03-28T23:00"),
        (datetime(2026, 3, 29, 6, tzinfo=UTC), 24, "2026-03-27T23:00"),
        (datetime(2026, 10, 26, 7, tzinfo=UTC), 25, "2026-10-24T22:00"),
    ],
)
def test_a_day_is_the_local_one_also_where_clocks_change(
    reader: User, moment: datetime, hours: int, start: str
) -> None:
    day = digests.day_before(reader, moment)
    assert day.start.astimezone(UTC).isoformat() == f"{start}:00+00:00"
    assert day.end - day.start.astimezone(UTC) == timedelta(hours=hours)


def test_nothing_happened_so_nothing_is_told(reader: User, persona: Persona) -> None:
    assert digests.due(MORNING) == []
    say(persona, MORNING, "this morning")
    say(persona, MORNING - timedelta(days=2), "too long ago")
    assert digests.due(MORNING) == []
    say(persona, YESTERDAY, "hello")
    assert digests.due(MORNING) == [reader]


def test_looking_for_news_costs_the_same_for_many(
    reader: User,
    persona: Persona,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    with CaptureQueriesContext(connection) as few:
        assert digests.due(MORNING) == []
    User.objects.bulk_create(
        User(
            username=f"p{number}",
            email=f"p{number}@example.org",
            time_zone=BERLIN,
            daily_digest=True,
        )
        for number in range(20)
    )
    with django_assert_num_queries(len(few)):
        assert digests.due(MORNING) == []
    paid, told, _ = User.objects.filter(username__in=["p3", "p5", "p7"]).order_by("pk")
    pay(paid, YESTERDAY, monkeypatch, price=1)
    QueuedTask.objects.create(owner=told, text="x", state="dead", finished_at=YESTERDAY)
    say(persona, YESTERDAY, "hello")
    assert digests.due(MORNING) == [reader, paid, told]


@pytest.mark.parametrize(
    "changes",
    [
        {"daily_digest": False},
        {"is_active": False},
        {"email": ""},
        {"password": make_password(None)},  # waits for an invite
    ],
)
def test_only_who_wants_it_and_can_get_it(
    reader: User, persona: Persona, changes: dict[str, Any]
) -> None:
    say(persona, YESTERDAY, "hello")
    User.objects.update(**changes)
    assert digests.due(MORNING) == []


def test_without_a_mail_server_none_is_made(
    reader: User, persona: Persona, settings: Any
) -> None:
    say(persona, YESTERDAY, "hello")
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert digests.due(MORNING) == []


def test_there_is_one_for_each_day(reader: User, persona: Persona) -> None:
    say(persona, YESTERDAY, "hello")
    assert digests.store(reader, MORNING)
    assert digests.due(MORNING) == []
    assert not digests.store(reader, MORNING)
    say(persona, YESTERDAY + timedelta(days=1), "hello")
    assert digests.due(MORNING + timedelta(days=1)) == [reader]
    assert MailDelivery.objects.get().key == f"digest:{reader.pk}:2026-01-14"


async def test_the_heartbeat_sends_it(
    reader: User, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare() -> None:
        local = timezone.now().astimezone(zone_of(reader))
        say(persona, digests.day_before(reader, local).start, "hello")

    monkeypatch.setattr(digests, "FROM", time(0))
    await now(prepare)
    assert await now(step.find) == 1
    assert await step.work() == 1
    await mails.deliver_due()
    (sent,) = mail.outbox
    assert sent.to == ["alice@example.org"]
    assert sent.subject.startswith("Cortex on ")
    assert await now(step.find) == 0


# --- what it tells ------------------------------------------------------------


def test_it_counts_conversations_and_holds_no_text(
    reader: User, persona: Persona
) -> None:
    say(persona, YESTERDAY, "my secret", "another secret")
    say(persona, YESTERDAY, "a third")
    text = text_of(reader)
    assert "Wednesday, 14 January 2026" in text
    assert "- Inara: 3 messages in 2 conversations" in text
    assert "ecret" not in text
    assert "Tasks" not in text and "Briefs" not in text
    assert "The installation" not in text
    assert "That day: $0.00" in text


def test_it_tells_of_tasks_and_briefs(reader: User, persona: Persona) -> None:
    brief = Schedule.objects.create(
        owner=reader, persona=persona, name="News", prompt="secret", cron="0 7 * * *"
    )
    for state, schedule in (
        ("done", None),
        ("done", None),
        ("failed", None),
        ("dead", None),
        ("cancelled", None),
        ("done", brief),
        ("failed", brief),
    ):
        QueuedTask.objects.create(
            owner=reader,
            text="secret",
            result="secret",
            state=state,
            schedule=schedule,
            kind="brief" if schedule else "task",
            finished_at=YESTERDAY,
        )
    QueuedTask.objects.create(
        owner=reader, text="secret", state="done", finished_at=MORNING
    )
    text = text_of(reader)
    assert "- 2 done, 1 failed, 1 gave up\n  http://127.0.0.1:8000/jobs/\n" in text
    assert "- News: 1 done, 1 failed\n" in text
    assert "secret" not in text


def test_it_tells_what_the_day_and_the_month_cost(
    reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Budget.objects.create(
        user=reader, scope="person", period="month", limit_nano_usd=10**10
    )
    dollar_a_call = 10**12  # for a million tokens
    for days in (0, 1, 2, 20):  # today, that day, the day before, December
        moment = YESTERDAY + timedelta(days=1 - days)
        pay(reader, moment, monkeypatch, price=dollar_a_call)
    text = text_of(reader)
    assert "- That day: $1.00\n" in text
    assert "- That month until then: $2.00\n" in text
    assert "- Your budget for this month: " in text


def test_what_is_unknown_is_not_told_as_nothing(
    reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(reader, YESTERDAY, monkeypatch, price=None)
    assert LedgerEntry.objects.filter(kind="settle", cost_nano_usd=None).exists()
    text = text_of(reader)
    assert "- That day: unknown\n" in text
    assert "$0.00" not in text


def test_administrators_hear_how_the_installation_is(
    admin_user: User, alice: User
) -> None:
    wants_it(admin_user)
    Host.objects.create(name="idle", type="gemini_api", enabled=False, flagged="x")
    assert digests.due(MORNING) == []
    Host.objects.create(name="Gemini", type="gemini_api", flagged="It refuses the key.")
    endpoint = WebhookEndpoint.objects.create(owner=alice, url="", secret="")
    for number, state in enumerate(("failed", "unknown", "sent")):
        WebhookDelivery.objects.create(
            endpoint=endpoint, subject=str(number), state=state, created_at=YESTERDAY
        )
    Beat.objects.create(running=None, finished_at=MORNING)
    assert digests.due(MORNING) == [admin_user]
    text = text_of(admin_user)
    assert "- The host Gemini needs attention: It refuses the key.\n" in text
    assert "idle" not in text
    assert "- 2 answers, webhooks or mails could not be delivered\n" in text
    assert "- Last nightly backup: none\n" in text
    assert "- Last heartbeat: 15 January 2026, 08:30\n" in text  # in Berlin


# --- the profile --------------------------------------------------------------


def test_it_is_switched_on_and_off_in_the_profile(alice: User, client_for: Any) -> None:
    client: Client = client_for(alice)
    form = {"language": "en", "time_zone": BERLIN}
    client.post("/settings/profile/", {**form, "daily_digest": "on"})
    alice.refresh_from_db()
    assert alice.daily_digest
    assert "checked" in client.get("/settings/profile/").content.decode()
    client.post("/settings/profile/", form)
    alice.refresh_from_db()
    assert not alice.daily_digest


def test_the_profile_says_why_none_would_come(
    alice: User, client_for: Any, settings: Any
) -> None:
    client: Client = client_for(alice)
    assert "none is sent" not in client.get("/settings/profile/").content.decode()
    User.objects.update(email="")
    assert "needs an e-mail" in client.get("/settings/profile/").content.decode()
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "none is sent" in client.get("/settings/profile/").content.decode()
