"""Stores what a platform sent before it is acknowledged, each event once.

Events that arrive at the same moment share one transaction: while one batch is being
written the next ones gather, so that a thousand at once cost a few waits for the disk
and not a thousand. Nothing here judges an event; ``answering`` does that afterwards.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from django.db import (
    DataError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Field
from django.utils import timezone

from channels_app.bots import rooms
from channels_app.bots.incoming import Incoming
from channels_app.models import Channel, ChannelRoom, InboundEvent
from channels_app.tasks import TaskSet, answer_all
from channels_app.turn_run import storable
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

BATCH = 200
"""Most events of one transaction."""
STOP = "stop"
"""Kind of the row of a message that stops what its room waits for: it must not wait
behind that."""
STOP_TEXT = "/stop"
"""The text of such a message, perhaps behind a name."""
WITH_EFFECT = frozenset({"message", "joined"})
"""Kinds of events that somebody has to work at; the others are over when stored."""
_ID_CHARS, _ROOM_CHARS, _NONCE_CHARS = 255, 200, 128


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event that arrived."""

    event_id: int | None
    """Row of the event, also of an earlier copy; ``None`` when its channel is gone, or
    when the database does not take it."""
    is_new: bool
    """False for a repetition, which has no effect."""


Arrival = tuple[int, Incoming]
"""A channel's id and what came by it."""


async def receive(channel_id: int, incoming: Incoming) -> Receipt:
    """Store an event and return once it is safe; a copy of an earlier one is not kept.

    A copy is known by its id or by its nonce, also when both arrive at once and in
    different processes.

    Raises:
        DatabaseError: Nothing was stored; the other side should be told so.
    """
    flusher = _flusher()
    return await flusher.store(channel_id, incoming)


class _Flusher:
    """Writes what arrived in one event loop, one batch after the other."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Arrival, asyncio.Future[Receipt]]] = deque()
        self._tasks = TaskSet()
        self._flushing = False

    async def store(self, channel_id: int, incoming: Incoming) -> Receipt:
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append(((channel_id, incoming), done))
        if not self._flushing:
            self._flushing = True
            self._tasks.spawn(self._flush(), "storing of events")
        return await done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                count = min(BATCH, len(self._waiting))
                await self._store([self._waiting.popleft() for _ in range(count)])
        finally:
            self._flushing = False

    async def _store(
        self, batch: Sequence[tuple[Arrival, asyncio.Future[Receipt]]]
    ) -> None:
        waiting = [done for _, done in batch]
        try:
            results = await run_in_db_pool(store, [arrival for arrival, _ in batch])
        except BaseException as error:
            answer_all(waiting, [error] * len(batch))
            if not isinstance(error, Exception):
                raise
        else:
            answer_all(waiting, results)


_FLUSHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Flusher] = WeakKeyDictionary()


def _flusher() -> _Flusher:
    loop = asyncio.get_running_loop()
    flusher = _FLUSHERS.get(loop)
    if flusher is None:
        flusher = _FLUSHERS[loop] = _Flusher()
    return flusher


# --- in the database --------------------------------------------------------------


def store(arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Store events in their order, each once; synchronous, one transaction."""
    events = [_row(channel_id, incoming) for channel_id, incoming in arrivals]
    try:
        return _store_together(events)
    except (IntegrityError, DataError):
        # One of them belongs to a channel that is just gone, or cannot be stored:
        # the others must not suffer for it.
        return [_store_alone(event) for event in events]
    except OperationalError:
        if connection.vendor == "sqlite":
            raise
        # Two processes that store copies of the same events can block each other.
        return [_store_alone(event) for event in events]


def _store_alone(event: InboundEvent) -> Receipt:
    try:
        return _store_together([event])[0]
    except (IntegrityError, DataError) as error:
        # The other side would send it again and again if it were refused.
        logger.warning("An event was not kept: %s", type(error).__name__)
        return Receipt(None, False)


def _store_together(events: Sequence[InboundEvent]) -> list[Receipt]:
    with transaction.atomic():
        receipts = [_insert(event) for event in events]
        fresh = {
            event.channel_id
            for event, receipt in zip(events, receipts, strict=True)
            if receipt.is_new
        }
        for channel_id in sorted(fresh):  # in one order, or two would block each other
            Channel.objects.filter(pk=channel_id).update(last_event_at=timezone.now())
    return receipts


def _insert(event: InboundEvent) -> Receipt:
    statement, fields = _statement()
    values = [
        field.get_db_prep_save(field.pre_save(event, True), connection)
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        stored = cursor.fetchone()
    if stored is not None:
        return Receipt(int(stored[0]), True)
    return Receipt(_earlier(event), False)


def _earlier(event: InboundEvent) -> int | None:
    """Return the row that an event repeats, by its id or else by its nonce."""
    of_channel = InboundEvent.objects.filter(channel=event.channel_id)
    for names in ("external_id", "nonce"):
        found = of_channel.filter(**{names: getattr(event, names)})
        if (pk := found.values_list("pk", flat=True).first()) is not None:
            return pk
    return None


@functools.cache
def _statement() -> tuple[str, tuple[Field[Any, Any], ...]]:
    """Return the INSERT that passes over copies, and the fields that it takes."""
    options, quoted = InboundEvent._meta, connection.ops.quote_name
    fields = tuple(f for f in options.local_concrete_fields if not f.primary_key)
    columns = ", ".join(quoted(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    return (
        f"INSERT INTO {quoted(options.db_table)} ({columns}) VALUES ({places}) "  # noqa: S608
        "ON CONFLICT DO NOTHING RETURNING id",
        fields,
    )


def _row(channel_id: int, incoming: Incoming) -> InboundEvent:
    """Return the unsaved row of an event, with nothing that no database takes."""
    payload = _storable(incoming.payload())
    incoming = replace(
        Incoming.from_payload(payload),
        room_id=_short(payload["room_id"], _ROOM_CHARS),
        sender_id=_short(payload["sender_id"], _ROOM_CHARS),
    )
    now = timezone.now()
    event = InboundEvent(
        channel_id=channel_id,
        external_id=_short(incoming.external_id, _ID_CHARS),
        nonce=_short(incoming.nonce, _NONCE_CHARS),
        kind=STOP if is_stop(channel_id, incoming) else incoming.kind,
        room_id=incoming.room_id,
        sender_id=incoming.sender_id,
        payload=incoming.payload(),
        received_at=now,
        next_at=now,
    )
    if incoming.kind not in WITH_EFFECT:
        event.state, event.reason = InboundEvent.State.IGNORED, "no message"
        event.payload, event.finished_at = {}, now
    return event


def is_stop(channel_id: int, incoming: Incoming) -> bool:
    """Say whether a message asks to stop an answer, whoever wrote it.

    Names are looked up only where a text may be a name and then ``/stop``.
    """
    text = incoming.text.strip().lower()
    if incoming.kind != "message" or not text.endswith(STOP_TEXT):
        return False
    return text == STOP_TEXT or _stops_persona(channel_id, incoming)


def _stops_persona(channel_id: int, incoming: Incoming) -> bool:
    """Say whether ``/stop`` follows the name of who answers in the room."""
    channel = Channel.objects.select_related("persona").filter(pk=channel_id).first()
    if channel is None:
        return False
    there = ChannelRoom.objects.filter(channel=channel, external_id=incoming.room_id)
    room = there.select_related("persona").first()
    persona = rooms.persona_of(channel, room) if room else None
    if persona is None:
        return False
    return rooms.without_name(incoming, persona).strip().lower() == STOP_TEXT


def _storable(value: Any) -> Any:
    """Return JSON without NUL and half characters, however deep they stand."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value


def _short(text: str, limit: int) -> str:
    """Return an id that fits its column; a longer one keeps its start and a digest."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: limit - len(digest) - 1]}#{digest}"
