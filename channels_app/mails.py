"""Mails that must arrive: stored with what they are about, then sent and tried again.

A mail goes to the address that its person has when it is sent. It keeps its Message-ID
from attempt to attempt, so that a mail which may have arrived before can be sent once
more and is still one mail for those who compare. Mails with links, which somebody waits
for, are sent at once by ``accounts.mails`` instead.

Source: RFC 5321, section 4.2.1 (replies that are permanent and those that are not);
RFC 5322, section 3.6.4 (Message-ID).
"""

from __future__ import annotations

import asyncio
import logging
import smtplib
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction

from accounts.mails import printed
from accounts.models import User
from channels_app import couriers, deliveries
from channels_app.deliveries import DeliveryError
from channels_app.models import MailDelivery
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

AT_ONCE: Final = 2
SENT_WITHIN_S: Final = 40.0
PLACE: Final = 0
"""There is one way out for all mails."""
KEY_LENGTH: Final = 100
SUBJECT_LENGTH: Final = 200
PERMANENT: Final = 500
"""Replies of a mail server from this number on will not change."""
NO_ADDRESS: Final = "There is no e-mail address."
NOT_ACTIVE: Final = "The account is not active."
NO_SERVER: Final = "No mail server is set up (EMAIL_URL)."
REFUSED_ADDRESS: Final = "The mail server does not take mails for this address."
UNREACHABLE: Final = "The mail server cannot be reached."
NOT_PLAIN: Final = "Mails can be sent only to addresses in plain letters (a to z)."
BROKE_OFF: Final = "The connection to the mail server broke off."


def is_set_up() -> bool:
    """Say whether mails leave this installation at all."""
    return not printed()


def store(owner: User, key: str, subject: str, text: str) -> bool:
    """Store a mail to a person, in the caller's transaction; ``wake`` it afterwards.

    Args:
        key: What it is about, at most 100 characters.
        subject: One line; what is too long is cut.
        text: Plain.

    Returns:
        False when a mail with this key exists; nothing is stored then.
    """
    if not key or len(key) > KEY_LENGTH:
        raise ValueError("a mail needs a key of at most 100 characters")
    line = " ".join(subject.split())[:SUBJECT_LENGTH]
    _, is_new = MailDelivery.objects.get_or_create(
        key=key, defaults={"owner": owner, "subject": line, "text": text}
    )
    return is_new


def wake() -> None:
    """Let what is due be sent, and return at once; call it in an event loop."""
    COURIERS.wake(PLACE)


async def wake_due() -> None:
    """Do the same where something is due."""
    if await run_in_db_pool(_any_due):
        wake()


async def deliver_due() -> int:
    """Send what is due; return how much was taken by the mail server."""
    return await COURIERS.deliver(PLACE)


# --- in the database ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    row: MailDelivery
    address: str

    def __repr__(self) -> str:
        return f"<mail {self.row.pk}>"


def _any_due() -> bool:
    return deliveries.due(MailDelivery.objects.all()).exists()


def _round(
    place: int, ended: list[tuple[_Job, str | DeliveryError]], free: int
) -> list[_Job]:
    """Write how attempts ended and claim the next ones."""
    if not ended and not (free and _any_due()):
        return []
    with transaction.atomic():
        for job, how in ended:
            if isinstance(how, DeliveryError):
                deliveries.settle_error(job.row, how)
            else:
                deliveries.settle_sent(job.row, text="")
        rows = [
            each.row for each in deliveries.claim_due(MailDelivery.objects.all(), free)
        ]
        people = User.objects.in_bulk({row.owner_id for row in rows})
        return list(_ready(rows, people))


def _ready(rows: list[MailDelivery], people: dict[Any, User]) -> Iterable[_Job]:
    """Give up what cannot be sent, and return the rest."""
    for row in rows:
        person = people[row.owner_id]
        why = obstacle(person)
        if why:
            deliveries.settle_failed(row, why)
        else:
            yield _Job(row, person.email)


def obstacle(person: User) -> str:
    """Return why a person cannot be sent mails; empty = they can."""
    if not is_set_up():
        return NO_SERVER
    if not person.is_active:
        return NOT_ACTIVE
    if not person.email:
        return NO_ADDRESS
    # Django would write such a name in another way, which is nobody's address.
    name, _, _ = person.email.rpartition("@")
    return "" if name.isascii() else NOT_PLAIN


# --- to the mail server -------------------------------------------------------


async def _send(job: _Job) -> str:
    """Make one attempt, on a thread of its own."""
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            return await asyncio.to_thread(_send_now, job)
    except TimeoutError:
        raise DeliveryError(
            "The mail server did not answer in time.",
            retryable=True,
            may_have_arrived=True,
        ) from None


def _send_now(job: _Job) -> str:
    connection = get_connection()
    try:
        connection.open()
    except smtplib.SMTPAuthenticationError:
        raise DeliveryError(
            "The mail server refuses our name and password.", retryable=True
        ) from None
    except (OSError, smtplib.SMTPException):
        raise DeliveryError(UNREACHABLE, retryable=True) from None
    try:
        connection.send_messages([_message(job, connection)])
    except (OSError, smtplib.SMTPException) as error:
        raise _error_of(error) from None
    finally:
        _close(connection)
    return "sent"


def _message(job: _Job, connection: Any) -> EmailMessage:
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    domain = sender.rpartition("@")[2] or "cortex.invalid"
    return EmailMessage(
        job.row.subject,
        job.row.text,
        to=[job.address],
        connection=connection,
        headers={
            "Message-ID": f"<{job.row.pk}@{domain}>",
            # Nobody's holiday notice shall answer (RFC 3834).
            "Auto-Submitted": "auto-generated",
        },
    )


def _error_of(error: Exception) -> DeliveryError:
    """Return what went wrong, without the server's own words."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        permanent = all(code >= PERMANENT for code in codes)
        return DeliveryError(REFUSED_ADDRESS, retryable=not permanent)
    if isinstance(error, smtplib.SMTPResponseException):
        code = error.smtp_code
        sentence = f"The mail server answered {code}."
        return DeliveryError(sentence, status=code, retryable=code < PERMANENT)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return DeliveryError(NOT_PLAIN, retryable=False)
    return DeliveryError(BROKE_OFF, retryable=True, may_have_arrived=True)


def _close(connection: Any) -> None:
    try:
        connection.close()
    except (OSError, smtplib.SMTPException) as error:
        logger.info("The connection to the mail server did not close well: %r", error)


COURIERS: Final = couriers.Couriers("Mails", _round, _send, at_once=AT_ONCE)
