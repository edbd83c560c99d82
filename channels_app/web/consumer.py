"""The chat socket: checks who speaks, decodes, and hands on to ``turns``.

Nothing is awaited here that takes long: Channels hands over one frame at a time, so a
reply awaited in the handler would make Stop unreachable. Each answer that is read over
the socket has a task of its own here; closing the socket ends those, never the turn.

Close codes: 1000 too old or idle (connect again when needed), 1009 frame too big, 4401
signed out, 4429 too many sockets or frames. A refused upgrade is 403.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from accounts.sessions import valid_sessions
from channels_app import turns
from channels_app.errors import TurnError, internal_error
from channels_app.live_turns import spawn
from channels_app.streams import TurnStream, encode
from channels_app.turn_requests import StartRequest, TurnRequest
from channels_app.typed_commands import answer_command, command_in
from channels_app.web import frames
from channels_app.web.frames import Ping, ResumeRequest, StopRequest
from channels_app.web.identity import identify, origin_allowed
from channels_app.web.sockets import SIGNED_OUT, SOCKETS, TOO_MANY, FrameLimit
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

TOO_BIG = 1009
PONG = encode({"type": "pong"})
_GONE = {
    False: "This message was answered before.",
    True: "Cortex stopped while this message was being answered.",
}
"""What a repeat is told, by whether the row says that the answer is being written."""


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]
    """One open chat socket."""

    scope: dict[str, Any]
    # The registry hears the channel layer once for all sockets of the process.
    channel_layer_alias = ""

    def __init__(self) -> None:
        self.user_id = 0
        self.session_key = ""
        self.stamp = ""
        self.opened_at = self.active_at = time.monotonic()
        self.closed = False
        self.limit = FrameLimit(self.opened_at)
        self.readers: dict[uuid.UUID, asyncio.Task[None]] = {}

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler of an event without looking after database connections.

        All database work happens in the pool, which looks after its own.
        """
        await getattr(self, message["type"].replace(".", "_"))(message)

    # --- events of the socket -------------------------------------------------

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept a signed-in person from one of our own pages."""
        identity = None
        if origin_allowed(self.scope):
            try:
                identity = await run_in_db_pool(identify, self.scope)
            except DatabaseError:
                logger.exception("A handshake could not be checked")
        if identity is None:
            self.closed = True
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        self.user_id = identity.user_id
        self.session_key = identity.session_key
        self.stamp = identity.stamp
        # Headers and cookies are not needed again; idle sockets stay small.
        self.scope = {}
        await self.send({"type": "websocket.accept"})
        if not SOCKETS.add(self):
            await self.close(TOO_MANY)

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Take one frame from the browser."""
        if self.closed:
            return
        text = message.get("text")
        if text is None:
            text = (message.get("bytes") or b"").decode("utf-8", "replace")
        if frames.too_big(text):
            await self.close(TOO_BIG)
            return
        self.active_at = time.monotonic()
        verdict = self.limit.take(self.active_at)
        if verdict == "close":
            await self.close(TOO_MANY)
            return
        try:
            frame = frames.decode(text)
            if verdict == "refuse":
                raise TurnError(
                    "too_many",
                    "You are sending too fast. Please wait a second.",
                    client_id=getattr(frame, "client_id", None),
                    turn=str(frame.turn) if isinstance(frame, ResumeRequest) else None,
                )
            await self._handle(frame)
        except TurnError as error:
            await self.send_error(error)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Forget the socket; turns go on."""
        self._end()
        raise StopConsumer

    # --- frames ---------------------------------------------------------------

    async def _handle(self, frame: frames.ClientFrame | None) -> None:
        match frame:
            case None:
                return
            case Ping():
                await self.send_text(PONG)
            case StopRequest(turn):
                stop = partial(turns.stop_turn, self.user_id, turn)
                spawn(self._answering(stop, turn=turn), "stop of a turn")
            case ResumeRequest(turn, after):
                resume = partial(self._resume, turn, after)
                self._read_in_task(turn, self._answering(resume, turn=turn))
            case _:
                work = self._answering(
                    partial(self._start_or_command, frame), client_id=frame.client_id
                )
                spawn(work, "start of a turn")

    async def _start_or_command(self, request: StartRequest) -> None:
        """Start a turn, unless the message is a command, which is answered at once."""
        command = command_in(request)
        frame = None
        if command is not None and isinstance(request, TurnRequest):
            frame = await answer_command(self.user_id, request, command)
        if frame is None:
            await self._start(request)
        else:
            await self.send_text(encode(frame))

    async def _start(self, request: StartRequest) -> None:
        started = await turns.start_turn(self.user_id, request)
        beginning = started.beginning
        if started.turn is None:
            # The note to all tabs may get lost; who asked hears of it for certain.
            where = str(beginning.conversation)
            changed = {"type": "conversation.changed", "conversation": where}
            await self.send_text(encode(changed))
        elif started.stream is None:
            gone = TurnError(
                "turn_gone",
                _GONE[beginning.generating],
                client_id=request.client_id,
                turn=str(started.turn),
            )
            # Where it stands, so that nobody takes it for refused and sends it again.
            place = {
                "conversation": str(beginning.conversation),
                "user_message": str(beginning.user_message),
            }
            await self.send_text(encode(gone.frame() | place))
        elif not self.closed:
            self._read_in_task(started.turn, self._read(started.stream, -1))

    async def _resume(self, turn: uuid.UUID, after: int) -> None:
        session = (self.user_id, self.session_key, self.stamp)
        if not await run_in_db_pool(valid_sessions, [session]):
            await self.close(SIGNED_OUT)
            return
        stream = await turns.resume(self.user_id, turn)
        if stream.finished and after >= stream.next_seq:
            # Silence would look like an answer that is still being thought about.
            after = stream.next_seq - 2
        await self._read(stream, after)

    def _read_in_task(self, turn: uuid.UUID, work: Coroutine[Any, Any, None]) -> None:
        """Read a turn from here on; an earlier reader of it on this socket ends."""
        if earlier := self.readers.pop(turn, None):
            earlier.cancel()
        task = self.readers[turn] = spawn(work, f"reader of turn {turn}")
        task.add_done_callback(lambda done: self._forget_reader(turn, done))

    def _forget_reader(self, turn: uuid.UUID, done: asyncio.Task[None]) -> None:
        if self.readers.get(turn) is done:
            del self.readers[turn]

    async def _read(self, stream: TurnStream, after: int) -> None:
        async for batch in stream.read(after):
            for frame in batch:
                await self.send_text(frame.json)

    async def _answering(
        self,
        work: Callable[[], Awaitable[None]],
        *,
        client_id: str | None = None,
        turn: uuid.UUID | None = None,
    ) -> None:
        """Do some work and answer its failure with an ``error`` frame."""
        try:
            await work()
        except TurnError as error:
            await self.send_error(error)
        except Exception:
            logger.exception("A frame could not be handled")
            await self.send_error(
                internal_error(client_id=client_id, turn=str(turn) if turn else None)
            )

    # --- sending --------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer is being read over this socket."""
        return bool(self.readers)

    async def send_text(self, text: str) -> None:
        """Send a frame; waits while the browser does not read."""
        if not self.closed:
            await self.base_send({"type": "websocket.send", "text": text})

    async def send_error(self, error: TurnError) -> None:
        """Answer what started nothing."""
        await self.send_text(encode(error.frame()))

    async def close(self, code: int) -> None:
        """Close the socket for good and stop reading for it."""
        if not self.closed:
            self._end()
            with suppress(Exception):
                await self.send({"type": "websocket.close", "code": code})

    def _end(self) -> None:
        self.closed = True
        SOCKETS.discard(self)
        for task in list(self.readers.values()):
            if task is not asyncio.current_task():
                task.cancel()
