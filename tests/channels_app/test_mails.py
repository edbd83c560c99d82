"""Mails on their way to a server that answers in every way it can."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from channels_app import mails
from channels_app.deliveries import MAX_ATTEMPTS
from channels_app.jobs import chores
from channels_app.models import MailDelivery
from routing.db_pool import run_in_db_pool as now
from tests.support.mail_server import HANG_UP, MailServer
from tests.support.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)
State = MailDelivery.State


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    """A mail server that Cortex is set up for."""
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_TIMEOUT = 5
        settings.DEFAULT_FROM_EMAIL = "Cortex <cortex@example.org>"
        yield server


async def send(owner: User, *, times: int = 1) -> MailDelivery:
    """Store a mail and try to send it, as if pauses were over."""
    await now(mails.store, owner, "brief:1", "Grüße\n am Morgen", "Es ist 7 Uhr. 🌍\n")
    for _ in range(times):
        waiting = MailDelivery.objects.filter(state=State.PENDING)
        await now(waiting.update, next_at=timezone.now())
        await mails.deliver_due()
    return await now(MailDelivery.objects.get)


async def test_mail_arrives_plain_with_who_sends_it(
    alice: User, server: MailServer
) -> None:
    row = await send(alice)
    (mail,) = server.received
    assert mail["Subject"] == "Grüße am Morgen"
    assert (mail["From"], mail["To"]) == (
        "Cortex <cortex@example.org>",
        "alice@example.org",
    )
    assert mail["Message-ID"] == f"<{row.pk}@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content() == "Es ist 7 Uhr. 🌍\r\n"
    assert (row.state, row.attempts, row.text, row.error) == (State.SENT, 1, "", "")
    assert row.sent_at


async def test_the_same_is_sent_once(
    alice: User, bob: User, server: MailServer
) -> None:
    assert await now(mails.store, alice, "brief:1", "One", "1")
    assert not await now(mails.store, alice, "brief:1", "Two", "2")
    assert not await now(mails.store, bob, "brief:1", "Three", "3")
    await mails.deliver_due()
    assert not await now(mails.store, alice, "brief:1", "Four", "4")
    await mails.deliver_due()
    assert [mail["Subject"] for mail in server.received] == ["One"]


async def test_what_is_rolled_back_is_not_sent(alice: User, server: MailServer) -> None:
    def fail() -> None:
        with transaction.atomic():
            mails.store(alice, "brief:1", "One", "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await now(fail)
    assert await mails.deliver_due() == 0


@pytest.mark.parametrize("key", ["", "x" * 101])
def test_a_key_that_does_not_fit_is_a_fault(alice: User, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        mails.store(alice, key, "Subject", "Text")


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("RCPT", 451, mails.REFUSED_ADDRESS),
        ("MAIL", 452, "The mail server answered 452."),
        (".", 421, "The mail server answered 421."),
        ("DATA", HANG_UP, mails.BROKE_OFF),
        (".", HANG_UP, mails.BROKE_OFF),
    ],
)
async def test_what_may_pass_is_tried_again(
    alice: User, server: MailServer, command: str, code: int, sentence: str
) -> None:
    server.refuse[command] = code
    row = await send(alice)
    assert (row.state, row.error) == (State.PENDING, sentence)
    assert row.next_at > timezone.now()
    assert row.text  # it is still needed
    server.refuse.clear()
    row = await send(alice)
    assert (row.state, row.attempts, row.error) == (State.SENT, 2, "")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("RCPT", 550, mails.REFUSED_ADDRESS),
        (".", 554, "The mail server answered 554."),
    ],
)
async def test_what_is_refused_for_good_is_given_up(
    alice: User, server: MailServer, command: str, code: int, sentence: str
) -> None:
    server.refuse[command] = code
    row = await send(alice, times=2)
    assert (row.state, row.attempts, row.error) == (State.FAILED, 1, sentence)


async def test_an_address_in_other_letters_is_not_tried(
    alice: User, server: MailServer
) -> None:
    alice.email = "jürgen@example.org"
    await now(alice.save)
    row = await send(alice, times=2)
    assert (row.state, row.error) == (State.FAILED, mails.NOT_PLAIN)
    assert server.commands == []


async def test_letters_that_the_server_does_not_take_are_not_tried_again(
    alice: User, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPNotSupportedError

    monkeypatch.setattr(smtplib.SMTP, "sendmail", refuse)
    row = await send(alice, times=2)
    assert (row.state, row.attempts, row.error) == (State.FAILED, 1, mails.NOT_PLAIN)


async def test_a_server_that_is_away_is_asked_eight_times(
    alice: User, settings: Any, server: MailServer
) -> None:
    settings.EMAIL_PORT = free_port()
    row = await send(alice, times=MAX_ATTEMPTS + 2)
    assert (row.state, row.attempts) == (State.FAILED, MAX_ATTEMPTS)
    assert row.error == mails.UNREACHABLE


async def test_a_server_that_is_silent_does_not_hold_up_for_ever(
    alice: User, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "SENT_WITHIN_S", 0.0)
    row = await send(alice)
    assert (row.state, row.error) == (
        State.PENDING,
        "The mail server did not answer in time.",
    )


async def test_nobody_without_an_address_or_account_is_written_to(
    alice: User, server: MailServer
) -> None:
    await now(User.objects.filter(pk=alice.pk).update, email="")
    row = await send(alice)
    assert (row.state, row.error) == (State.FAILED, mails.NO_ADDRESS)
    await now(User.objects.update, email="a@example.org", is_active=False)
    await now(MailDelivery.objects.update, state=State.PENDING)
    row = await send(alice)
    assert (row.state, row.error) == (State.FAILED, mails.NOT_ACTIVE)
    assert server.commands == []


async def test_without_a_mail_server_nothing_is_printed(
    alice: User, settings: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    row = await send(alice)
    assert (row.state, row.error) == (State.FAILED, mails.NO_SERVER)
    assert "7 Uhr" not in "".join(capfd.readouterr())


async def test_worker_sends_what_waits(
    alice: User, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(mails.COURIERS, "wake", woken.append)
    await chores.CHORES["mails"]()
    assert woken == []
    await now(mails.store, alice, "brief:1", "Subject", "Text")
    await chores.CHORES["mails"]()
    assert woken == [mails.PLACE]
    later = timezone.now() + timedelta(seconds=90)
    await now(MailDelivery.objects.update, next_at=later)
    await chores.CHORES["mails"]()
    assert woken == [mails.PLACE]
