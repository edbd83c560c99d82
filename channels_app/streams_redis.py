"""Streams of turns over Redis, so that several web processes act as one.

A turn still runs and is logged in one process, whose readers read from memory. What is
new is published for the others: all streams of a process in one round trip, at most
once every ``PUBLISH_EVERY_S``, each as one entry of a Redis stream. A reader elsewhere
reads a copy of the log that one task per turn feeds. While Redis is away, local
readers notice nothing; afterwards the publisher goes on where it stopped, from the
start if Redis forgot. Asking for a stop goes over a Redis channel.

Source: Redis commands XADD, XREAD and PUBLISH (redis.io/docs/latest/commands).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from channels_app.errors import TurnError
from channels_app.stream_hub import KEEP_FINISHED_S, StreamHub
from channels_app.streams import TurnStream
from channels_app.tasks import TaskSet

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.03
RETRY_S = 0.5
LONGEST_RETRY_S = 8.0
BATCH_CHARS = 2_000_000
"""Text after which the rest waits for the next round trip."""
ASK_ROW_EVERY_S = 2.0
"""How often the row is asked for the end of a turn whose log is incomplete."""
PATIENCE_S = 2.0
"""How long one command may take before Redis counts as unreachable."""
BLOCK_MS = 5_000
MAX_ENTRIES = 50_000
STOP_CHANNEL = "cortex:stop"
FINISHED = "turn.finished"


def key_of(turn: uuid.UUID) -> str:
    """Return the key of a turn's Redis stream."""
    return f"cortex:turn:{turn}"


class RedisStreamHub(StreamHub):
    """A hub whose streams can be read and stopped from every process."""

    def __init__(self, url: str) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "decode_responses": True,
            "socket_connect_timeout": PATIENCE_S,
            "retry": Retry(NoBackoff(), 1),
        }
        self._redis = Redis.from_url(url, socket_timeout=PATIENCE_S, **options)
        self._blocking = Redis.from_url(
            url, socket_timeout=BLOCK_MS / 1000 + PATIENCE_S, **options
        )
        self._published: dict[TurnStream, int] = {}
        self._dirty: set[TurnStream] = set()
        self._wake = asyncio.Event()
        self._copies: dict[uuid.UUID, TurnStream] = {}
        self._tasks = TaskSet()
        self._running = False
        self._heard = False

    # --- streams of this process ----------------------------------------------

    def open(self, turn: uuid.UUID, owner_id: int) -> TurnStream:
        """Begin the stream of a new turn of this process."""
        if not self._running:
            self._running = True
            self._tasks.spawn(self._publish_forever(), "publisher of streams")
            self._tasks.spawn(self._hear_stops(), "listener for stops")
        stream = TurnStream(turn, owner_id, on_append=self._mark)
        self._streams[turn] = stream
        self._published[stream] = 0
        return stream

    def _mark(self, stream: TurnStream) -> None:
        if stream in self._published:
            self._dirty.add(stream)
            self._wake.set()

    def _forget(self, stream: TurnStream) -> None:
        """Publish nothing more of a stream."""
        self._published.pop(stream, None)
        self._dirty.discard(stream)

    def _drop(self, stream: TurnStream) -> None:
        super()._drop(stream)
        self._forget(stream)
        self._copies.pop(stream.turn, None)

    async def _publish_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._publish()
            except Exception as error:  # an end of this task would be for good
                logger.warning("Streams could not be published: %r", error)
                await self._redis_is_back()
            else:
                await asyncio.sleep(PUBLISH_EVERY_S)
            if self._dirty:
                self._wake.set()

    async def _redis_is_back(self) -> None:
        """Wait until Redis answers; nothing is packed for it before."""
        delay_s = RETRY_S
        while True:
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_RETRY_S)
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._redis.ping()
                return

    async def _publish(self) -> None:
        """Add what is new to Redis in one round trip, or as much as one may carry."""
        room = BATCH_CHARS
        sent: list[tuple[TurnStream, int]] = []
        pipeline = self._redis.pipeline(transaction=False)
        for stream in self._dirty:
            start = self._published[stream]
            packed, end = stream.pack(start, room)
            room -= sum(len(part[3]) for part in packed)
            pipeline.xadd(
                key_of(stream.turn),
                {"owner": stream.owner_id, "packed": json.dumps(packed)},
                maxlen=MAX_ENTRIES,
                approximate=True,
                nomkstream=start > 0,
            )
            pipeline.expire(key_of(stream.turn), KEEP_FINISHED_S)
            sent.append((stream, end))
            if room <= 0:
                break
        async with asyncio.timeout(PATIENCE_S):
            results = await pipeline.execute()
        for (stream, end), added in zip(sent, results[::2], strict=True):
            if stream not in self._published:  # dropped meanwhile
                continue
            self._published[stream] = 0 if added is None else end
            if added is None:  # Redis forgot the beginning
                continue
            if end == stream.next_seq:
                self._dirty.discard(stream)
                if stream.finished:
                    self._forget(stream)

    # --- streams of other processes -------------------------------------------

    async def find(self, turn: uuid.UUID, owner_id: int) -> TurnStream | None:
        """Return the stream of a person's turn, or a copy that follows it.

        Raises ``TurnError`` (internal, retryable) while Redis is unreachable.
        """
        stream = self._streams.get(turn) or self._copies.get(turn)
        if stream is None:
            entries = await self._ask(self._redis.xrange(key_of(turn), count=1))
            if not entries or int(entries[0][1]["owner"]) != owner_id:
                return None
            stream = self._copies.get(turn)  # another reader may have been faster
            if stream is None:
                stream = self._copies[turn] = TurnStream(turn, owner_id)
                self._tasks.spawn(self._follow(stream), f"copy of turn {turn}")
        return stream if stream.owner_id == owner_id else None

    async def _follow(self, stream: TurnStream) -> None:
        """Feed a copy until the turn has finished; then keep it for late readers."""
        try:
            try:
                await self._copy(stream)
            except Exception:
                # Such as a log whose beginning Redis has trimmed.
                logger.exception("a stream cannot be copied; its row will tell the end")
            while not stream.finished:
                await self._end_by_row(stream)
                await asyncio.sleep(0 if stream.finished else ASK_ROW_EVERY_S)
        finally:
            self.finish(stream)

    async def _copy(self, stream: TurnStream) -> None:
        """Take over what the turn's own process publishes, to its end."""
        last, silent = "0", 0
        while not stream.finished:
            try:
                entries = await self._read_entries(stream, last)
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("A stream could not be followed: %r", error)
                await asyncio.sleep(RETRY_S)
                continue
            for entry_id, entry in entries:
                stream.unpack(json.loads(entry["packed"]))
                last = entry_id
            silent = 0 if entries else silent + 1
            if stream.last_type == FINISHED:
                stream.finish()
            elif silent > 1:  # its process may have died
                await self._end_by_row(stream)

    async def _end_by_row(self, stream: TurnStream) -> None:
        """Finish a copy when the row says how the turn ended."""
        try:
            fields = await self.ending(stream.turn)
        except Exception as error:  # such as a database that is away
            logger.warning("The end of a turn could not be looked up: %r", error)
            return
        if fields:
            stream.append(FINISHED, **fields)
            stream.finish()

    async def _read_entries(
        self, stream: TurnStream, last: str
    ) -> list[tuple[str, dict[str, str]]]:
        """Wait for entries after ``last``; an empty list after some silence."""
        read: Any = await self._blocking.xread(
            {key_of(stream.turn): last}, count=200, block=BLOCK_MS
        )
        return list(read[0][1]) if read else []

    # --- stops ----------------------------------------------------------------

    async def request_stop(self, turn: uuid.UUID) -> bool:
        """Ask the other processes to stop a turn; False when nobody listens.

        Raises ``TurnError`` (internal, retryable) while Redis is unreachable.
        """
        heard_by = await self._ask(self._redis.publish(STOP_CHANNEL, str(turn)))
        return int(heard_by) > int(self._heard)

    async def _hear_stops(self) -> None:
        while True:
            try:
                async with self._blocking.pubsub() as channel:
                    await channel.subscribe(STOP_CHANNEL)
                    self._heard = True
                    while True:
                        note = await channel.get_message(
                            ignore_subscribe_messages=True, timeout=BLOCK_MS / 1000
                        )
                        if note is not None:
                            self.on_stop(uuid.UUID(note["data"]))
            except Exception as error:  # an end of this task would be for good
                logger.warning("Stops cannot be heard: %r", error)
            self._heard = False
            await asyncio.sleep(RETRY_S)

    # --- common ---------------------------------------------------------------

    async def _ask(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("Redis did not answer: %r", error)
            raise TurnError(
                "internal",
                "The other processes of Cortex cannot be reached right now. "
                "Please try again.",
            ) from None

    async def close(self) -> None:
        """Publish what is left, then end all tasks and connections."""
        await self._tasks.end()
        with suppress(RedisError, OSError, TimeoutError):
            while self._dirty:
                await self._publish()
        await self._redis.aclose()
        await self._blocking.aclose()
        await super().close()
