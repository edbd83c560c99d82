"""Sends stored deliveries to people's addresses and notes how that ended.

Every answer but 2xx is a failure and tried again, as the convention has it; 410 means
that the address wants to hear nothing any more. Redirects are not followed. Receivers
recognise a repetition by ``webhook-id``, so that sending again does no harm.

Source: https://github.com/standard-webhooks/standard-webhooks, "spec", "Operational
considerations".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.secrets import Undecryptable
from channels_app import couriers, deliveries
from channels_app.bots.channels import trusted_origins_for
from channels_app.deliveries import DeliveryError
from channels_app.models import WebhookDelivery, WebhookEndpoint
from channels_app.webhooks import announcing, endpoints, signing
from routing import net
from routing.backends.api_errors import seconds_of
from routing.db_pool import run_in_db_pool
from routing.errors import BadAddress, BlockedAddress, NetError

logger = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""So many deliveries to one address may be under way."""
ANSWER_WITHIN_S: Final = 20.0
GONE: Final = 410
GONE_SENTENCE: Final = "The address answered 410 (gone), so it is switched off."
SWITCHED_OFF: Final = "The address is switched off."
FAULT_AFTER: Final = 3
"""Failures of one delivery that are worth showing beside the address."""


async def announce(
    user_id: int, event: str, subject: str, data: dict[str, Any]
) -> None:
    """Tell a person's addresses what happened; stored on return, never raises.

    Delivering goes on by itself. See ``announcing.store`` for the arguments.
    """
    try:
        for place in await run_in_db_pool(
            announcing.store, user_id, event, subject, data
        ):
            COURIERS.wake(place)
    except Exception:
        logger.exception("%s could not be announced", event)


async def deliver_due(endpoint_id: int) -> int:
    """Send what is due to an address; return how much arrived."""
    return await COURIERS.deliver(endpoint_id)


async def wake_due() -> None:
    """Let what is due to every address be sent; returns before it arrives."""
    for endpoint_id in await run_in_db_pool(_endpoints_due):
        COURIERS.wake(endpoint_id)


async def deliver_within(endpoint_id: int, within_s: float) -> None:
    """Send what is due to an address, and wait for that only so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await COURIERS.deliver(endpoint_id)


# --- in the database ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """One delivery with what is needed to send it."""

    row: WebhookDelivery
    url: str
    secrets: tuple[str, ...]
    trusted_origins: frozenset[str]

    def __repr__(self) -> str:
        return f"<delivery {self.row.pk}>"


def _due(endpoint_id: int) -> QuerySet[WebhookDelivery]:
    rows = WebhookDelivery.objects.filter(endpoint_id=endpoint_id)
    return deliveries.due(rows)


def _endpoints_due() -> list[int]:
    rows = deliveries.due(WebhookDelivery.objects.all()).order_by()
    return list(rows.values_list("endpoint_id", flat=True).distinct())


def _round(
    endpoint_id: int, ended: list[tuple[_Job, str | DeliveryError]], free: int
) -> list[_Job]:
    """Write how attempts ended and claim the next ones."""
    if not ended and not (free and _due(endpoint_id).exists()):
        return []
    with transaction.atomic():
        rows = WebhookEndpoint.objects.select_related("owner").select_for_update(
            of=("self",)
        )
        endpoint = rows.filter(pk=endpoint_id).first()
        if endpoint is None:
            return []  # its deliveries went with it
        for job, how in ended:
            if isinstance(how, DeliveryError):
                _note_failure(endpoint, job.row, how)
            elif deliveries.settle_sent(
                job.row, status=int(how), payload=announcing.payload_kept(job.row)
            ):
                endpoint.fault, endpoint.failing_since = "", None
        if ended:
            endpoint.save(update_fields=["enabled", "fault", "failing_since"])
        return _claim(endpoint, free)


def _claim(endpoint: WebhookEndpoint, free: int) -> list[_Job]:
    rows = WebhookDelivery.objects.filter(endpoint_id=endpoint.pk)
    claimed = [each.row for each in deliveries.claim_due(rows, free)]
    if not (endpoint.enabled and endpoint.owner.is_active):
        for row in claimed:
            deliveries.settle_failed(row, SWITCHED_OFF)
        return []
    if not claimed:
        return []
    try:
        secrets = endpoints.secrets_of(endpoint)
    except Undecryptable as error:
        for row in claimed:
            _note_failure(endpoint, row, DeliveryError(str(error), retryable=True))
        endpoint.save(update_fields=["fault", "failing_since"])
        return []
    trusted = trusted_origins_for(endpoint.owner, endpoint.url)
    return [_Job(row, endpoint.url, secrets, trusted) for row in claimed]


def _note_failure(
    endpoint: WebhookEndpoint, row: WebhookDelivery, error: DeliveryError
) -> None:
    """Write an attempt's failure; the unsaved ``endpoint`` is told of what lasts."""
    if error.status == GONE:
        if deliveries.settle_failed(row, GONE_SENTENCE, status=GONE):
            endpoint.enabled, endpoint.fault = False, GONE_SENTENCE
        return
    if row.event == announcing.TEST:
        # Somebody looks at how it ends, and may press the button again.
        deliveries.settle_failed(row, str(error), status=error.status)
        return
    state = deliveries.settle_error(row, error)
    if state is None:
        return
    if endpoint.failing_since is None:
        endpoint.failing_since = timezone.now()
    if state != WebhookDelivery.State.PENDING or row.attempts >= FAULT_AFTER:
        endpoint.fault = str(error)[:300]


# --- on the network -----------------------------------------------------------


async def _send(job: _Job) -> str:
    """Make one attempt; return the status of the answer."""
    body = json.dumps(
        job.row.payload, ensure_ascii=False, separators=(",", ":")
    ).encode()
    id = f"msg_{job.row.pk.hex}"
    headers = signing.headers_for(job.secrets, id, int(time.time()), body)
    headers["Content-Type"] = "application/json"
    try:
        async with (
            asyncio.timeout(ANSWER_WITHIN_S),
            net.stream(
                "POST",
                job.url,
                headers=headers,
                body=body,
                trusted_origins=job.trusted_origins,
            ) as answer,
        ):
            status, wait = answer.status, answer.headers.get("Retry-After")
    except (BadAddress, BlockedAddress) as error:
        raise DeliveryError(str(error)) from None
    except NetError as error:
        raise DeliveryError(str(error), retryable=True) from None
    except TimeoutError:
        raise DeliveryError(
            "The address did not answer in time.", retryable=True
        ) from None
    if 200 <= status < 300:
        return str(status)
    raise DeliveryError(
        _sentence(status),
        status=status,
        retryable=True,
        retry_after_s=seconds_of(wait),
    )


def _sentence(status: int) -> str:
    if 300 <= status < 400:
        return f"The address redirects ({status}), which is not followed."
    return f"The address answered {status}."


COURIERS: Final = couriers.Couriers("Webhooks", _round, _send, at_once=AT_ONCE)
