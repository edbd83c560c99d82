"""The open sockets of this process: who they belong to, and when they must close.

A socket keeps three plain values of its handshake (person, session key, stamp). Every
``SWEEP_EVERY_S`` all of them are checked together, so that a sign-out, a deactivation,
a new role or a new password closes them within five seconds, wherever it happened.
One listener per process hears the channel layer for all of its people; when the layer
fails, only notes to other tabs are lost until it is back. What briefs answered is found
in the database, because the layer may not reach the worker in which they run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from channels.layers import get_channel_layer
from django.db import Error as DatabaseError

from accounts.sessions import valid_sessions
from channels_app import presence
from channels_app.tasks import TaskSet
from channels_app.web.brief_arrivals import BriefArrivals
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

MAX_SOCKETS_PER_PERSON = 64
MAX_AGE_S = 12 * 3600
IDLE_S = 15 * 60
"""Without any frame from the browser, and without an answer being read."""
SWEEP_EVERY_S = 2.5
LOOK_EVERY_S = 2.5
"""An answer of a brief stands in open pages so soon."""
CLOSE_PATIENCE_S = 1.0
LAYER_RETRY_S = 1.0
LAYER_PATIENCE_S = 1.0

NOT_NEEDED, SIGNED_OUT, TOO_MANY = 1000, 4401, 4429


class Socket(Protocol):
    """What the registry needs to know of an open socket."""

    user_id: int
    session_key: str
    stamp: str
    opened_at: float
    active_at: float

    @property
    def busy(self) -> bool:
        """Whether an answer is being read over it."""

    async def close(self, code: int) -> None:
        """Close it for good."""

    async def send_text(self, text: str) -> None:
        """Send one frame."""


class FrameLimit:
    """How often one socket may speak: short bursts, then a steady rate.

    ``take`` returns "ok", "refuse" (answer with ``too_many``) or, for one that does
    not stop, "close".
    """

    BURST = 60
    PER_SECOND = 20.0
    REFUSALS = 60

    __slots__ = ("_left", "_refused", "_seen_at")

    def __init__(self, now: float) -> None:
        self._left = float(self.BURST)
        self._seen_at = now
        self._refused = 0

    def take(self, now: float) -> str:
        """Count one frame."""
        earned = (now - self._seen_at) * self.PER_SECOND
        self._left = min(float(self.BURST), self._left + earned)
        self._seen_at = now
        if self._left >= 1:
            self._left -= 1
            self._refused = 0
            return "ok"
        self._refused += 1
        return "refuse" if self._refused <= self.REFUSALS else "close"


class SocketRegistry:
    """All sockets of this process; its tasks run only while there are any."""

    def __init__(self) -> None:
        self._by_person: dict[int, set[Socket]] = {}
        self._tasks = TaskSet()
        self._notes = TaskSet()
        self._layer_channel: str | None = None

    def __len__(self) -> int:
        return sum(len(sockets) for sockets in self._by_person.values())

    def add(self, socket: Socket) -> bool:
        """Take a socket in; False when its person has too many already."""
        mine = self._by_person.get(socket.user_id)
        if mine is not None and len(mine) >= MAX_SOCKETS_PER_PERSON:
            return False
        if mine is None:
            mine = self._by_person[socket.user_id] = set()
        mine.add(socket)
        self._ensure_tasks()
        if len(mine) == 1:
            joining = self._tell_layer("group_add", socket.user_id, self._layer_channel)
            self._notes.spawn(joining, "join of a group")
        return True

    def discard(self, socket: Socket) -> None:
        """Forget a closed socket."""
        mine = self._by_person.get(socket.user_id)
        if mine is None or socket not in mine:
            return
        mine.remove(socket)
        if mine:
            return
        del self._by_person[socket.user_id]
        channel, ended = self._layer_channel, TaskSet()
        if not self._by_person:
            ended, self._tasks = self._tasks, TaskSet()
            self._layer_channel = None
        self._notes.spawn(
            self._leave(socket.user_id, channel, ended), "leave of a group"
        )

    # --- whose session has ended ----------------------------------------------

    async def sweep(self) -> None:
        """Close the sockets whose session ended, that are too old, or idle."""
        now = time.monotonic()
        sockets = [each for mine in self._by_person.values() for each in mine]
        overdue = [each for each in sockets if _is_overdue(each, now)]
        await _close_all(overdue, NOT_NEEDED)
        held = [(each.user_id, each.session_key, each.stamp) for each in sockets]
        distinct = list(dict.fromkeys(held))
        valid = await run_in_db_pool(valid_sessions, distinct)
        holding = {distinct[index] for index in valid}
        ended = [
            socket
            for socket, session in zip(sockets, held, strict=True)
            if session not in holding
        ]
        await _close_all(ended, SIGNED_OUT)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self.sweep()
            except DatabaseError as error:
                logger.warning("Open sockets could not be checked: %s", error)
            except Exception:
                logger.exception("Open sockets could not be checked")

    # --- notes from elsewhere -------------------------------------------------

    async def _listen_forever(self) -> None:
        """Hear the channel layer for everybody here; join again after a failure."""
        while True:
            channel = None
            try:
                layer = get_channel_layer()
                channel = self._layer_channel = await layer.new_channel()
                for user_id in list(self._by_person):
                    await self._tell_layer("group_add", user_id, channel)
                while True:
                    await self._deliver(await layer.receive(channel))
            except Exception as error:  # its own errors depend on the back end
                logger.warning("The channel layer failed: %r", error)
                if self._layer_channel == channel:
                    self._layer_channel = None
                await asyncio.sleep(LAYER_RETRY_S)

    async def _deliver(self, event: dict[str, Any]) -> None:
        if event.get("type") != presence.EVENT:
            return
        frame = presence.as_frame(event)
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
        for socket in list(self._by_person.get(event["user_id"], ())):
            self._notes.spawn(socket.send_text(text), "note to a tab")

    async def _look_for_briefs(self) -> None:
        """Tell the tabs of everybody here what briefs have answered meanwhile."""
        arrivals = BriefArrivals()
        while True:
            try:
                for note in await arrivals.look(list(self._by_person)):
                    await self._deliver(note)
            except DatabaseError as error:
                logger.warning("Nobody looked for answers of briefs: %s", error)
            except Exception:
                logger.exception("The answers of briefs could not be told")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _leave(self, user_id: int, channel: str | None, ended: TaskSet) -> None:
        """Leave a person's group, then end the tasks that were for the last person."""
        await self._tell_layer("group_discard", user_id, channel)
        await ended.end()

    async def _tell_layer(self, verb: str, user_id: int, channel: str | None) -> None:
        """Join or leave a person's group; a failing layer is the listener's matter."""
        if channel is None:
            return
        try:
            async with asyncio.timeout(LAYER_PATIENCE_S):
                await getattr(get_channel_layer(), verb)(
                    presence.group_of(user_id), channel
                )
        except Exception as error:  # its own errors depend on the back end
            logger.warning("The channel layer failed: %r", error)

    # --- tasks ----------------------------------------------------------------

    def _ensure_tasks(self) -> None:
        if not len(self._tasks):
            self._tasks.spawn(self._sweep_forever(), "sweep of sockets")
            self._tasks.spawn(self._listen_forever(), "listener of sockets")
            self._tasks.spawn(self._look_for_briefs(), "look for answers of briefs")


SOCKETS = SocketRegistry()
"""The sockets of this process."""


def _is_overdue(socket: Socket, now: float) -> bool:
    if now - socket.opened_at > MAX_AGE_S:
        return True
    return now - socket.active_at > IDLE_S and not socket.busy


async def _close_all(sockets: Iterable[Socket], code: int) -> None:
    """Close sockets side by side; a stuck one holds up nobody for long."""
    closings = [_patiently(socket.close, code) for socket in sockets]
    if closings:
        await asyncio.gather(*closings)


async def _patiently(close: Callable[[int], Awaitable[None]], code: int) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_PATIENCE_S):
            await close(code)
