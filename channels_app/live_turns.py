"""The turns that run in this process, and what keeps their rows fresh meanwhile.

One keeper serves them all: once a second it saves the new text of every running
answer in one transaction and looks which of them are to be stopped, every ten seconds
it says in the database that this process is alive. It ends with the last turn.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import Error as DatabaseError

from channels_app import presence, turn_rows
from channels_app.stream_hub import StreamHub, make_hub
from channels_app.streams import TurnStream
from channels_app.tasks import TaskSet
from channels_app.turn_rows import Progress, Seam
from channels_app.turn_start import Beginning, Call
from routing.db_pool import run_in_db_pool
from routing.dispatcher import Dispatch

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0
SAVE_CHARS_PER_S = 250_000
"""A long text is saved less often: one more second for so many characters."""
REFRESH_EVERY_S = 10.0


class LiveTurn:
    """A turn that runs in this process; without a ``beginning`` it has no row."""

    __slots__ = (
        "announced", "asked", "call", "chars", "conversation", "cut_off", "dispatch",
        "id", "saved_at", "saved_chars", "saved_seams", "seams", "stop_asked", "stored",
        "stream", "task", "title",
    )  # fmt: skip

    def __init__(
        self,
        beginning: Beginning | None,
        call: Call,
        stream: TurnStream,
        dispatch: Dispatch | None = None,
    ) -> None:
        self.id = stream.turn
        self.stored = beginning is not None
        self.conversation = beginning.conversation if beginning else None
        self.title = beginning.title if beginning else None
        self.call = call
        self.stream = stream
        self.announced = False
        self.dispatch = dispatch
        self.task: asyncio.Task[None] | None = None
        self.stop_asked = False
        self.cut_off = False
        """Nobody asked for the stop: the process ends, or others write from now on."""
        self.chars = 0
        self.seams: list[Seam] = []
        self.asked = ""
        """Who was asked to go on inside the text and has written nothing yet."""
        self.saved_seams = 0
        self.saved_chars = 0
        self.saved_at = 0.0

    @property
    def user_id(self) -> int:
        """The person whose turn it is."""
        return self.stream.owner_id

    @property
    def may_be_asked_to_stop(self) -> bool:
        """Another process can say in its row that it is to be stopped."""
        return self.stored and not self.stop_asked

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.stream.text("turn.delta")

    def grow(self, text: str) -> None:
        """Count text that is about to be shown; who goes on gets their seam before it.

        Whoever was asked and wrote nothing leaves no seam.
        """
        if self.asked and self.chars and text:
            self.seams.append({"at": self.chars, "model": self.asked})
        if text:
            self.asked = ""
        self.chars += len(text)

    def progress(self) -> Progress:
        """Return what is to be saved: the text, and the seams where some are new."""
        is_new = len(self.seams) > self.saved_seams
        return Progress(self.text, tuple(self.seams) if is_new else None)

    def saved(self, progress: Progress, chars: int, now: float) -> None:
        """Note that ``progress``, with so many characters, stands in the row."""
        self.saved_chars, self.saved_at = chars, now
        if progress.seams is not None:
            self.saved_seams = len(progress.seams)

    def announce(self) -> None:
        """Tell all tabs of the person of the turn, once.

        Done when the model has been asked: until then every moment counts.
        """
        if self.conversation is not None and not self.announced:
            self.announced = True
            note = presence.conversation_changed(
                self.user_id, self.conversation, title=self.title, turn=self.id
            )
            spawn(note, "note of a new turn")

    def stop(self, *, cut_off: bool = False) -> None:
        """End the upstream call; the turn then ends by itself with the text it has.

        ``cut_off``: nobody wants that, but this process ends or must write no more.
        """
        self.cut_off = cut_off and not self.stop_asked
        self.stop_asked = True
        if self.dispatch is not None:
            self.dispatch.stop()

    def save_due(self, now: float) -> bool:
        """Say whether there is text to save and the last time is long enough ago."""
        if not self.stored:
            return False
        pause = SAVE_EVERY_S * 0.9 + self.chars / SAVE_CHARS_PER_S
        return self.chars > self.saved_chars and now - self.saved_at >= pause


RUNNING: dict[uuid.UUID, LiveTurn] = {}
TASKS = TaskSet()
"""Everything about turns and their readers that runs by itself in this process."""
spawn = TASKS.spawn


class _Process:
    """What exists once in a process while turns are used."""

    hub: StreamHub | None = None
    keeper: asyncio.Task[None] | None = None


def hub() -> StreamHub:
    """Return this process's hub of streams."""
    if _Process.hub is None:
        _Process.hub = make_hub()
        _Process.hub.on_stop = stop_local
        _Process.hub.ending = _saved_ending
    return _Process.hub


async def _saved_ending(turn: uuid.UUID) -> dict[str, Any] | None:
    try:
        return await run_in_db_pool(turn_rows.saved_ending, turn)
    except DatabaseError:
        return None


def add(live: LiveTurn) -> None:
    """Note a turn as running and see that the keeper runs."""
    RUNNING[live.id] = live
    if _Process.keeper is None or _Process.keeper.done():
        _Process.keeper = spawn(_keep(), "keeper of running turns")


def stop_local(turn: uuid.UUID, *, cut_off: bool = False) -> None:
    """Stop a turn if it runs in this process; ``cut_off``: nobody asked for that."""
    if live := RUNNING.get(turn):
        live.stop(cut_off=cut_off)


async def _keep() -> None:
    loop = asyncio.get_running_loop()
    refreshed_at = loop.time()
    while RUNNING:
        await asyncio.sleep(SAVE_EVERY_S)
        try:
            await _save_texts(loop.time())
            if loop.time() - refreshed_at >= REFRESH_EVERY_S:
                refreshed_at = loop.time()
                await refresh_alive()
        except DatabaseError as error:
            logger.warning("Running answers could not be saved: %s", error)


async def _save_texts(now: float) -> None:
    # More may come while this is being saved; that is due the next time.
    due = {live: live.chars for live in RUNNING.values() if live.save_due(now)}
    running = [live.id for live in RUNNING.values() if live.may_be_asked_to_stop]
    if not (due or running):
        return
    progress = {live.id: live.progress() for live in due}
    asked = await run_in_db_pool(_save_and_look, progress, running)
    for live, chars in due.items():
        live.saved(progress[live.id], chars, now)
    for turn in asked:
        stop_local(turn)


def _save_and_look(
    progress: Mapping[uuid.UUID, Progress], running: list[uuid.UUID]
) -> set[uuid.UUID]:
    """Save texts and return which turns are to be stopped, in one crossing."""
    if progress:
        turn_rows.save_progress(progress)
    return turn_rows.asked_to_stop(running)


async def refresh_alive() -> None:
    """Say in the database that this process still writes its answers.

    Turns whose person or conversation is gone are stopped.
    """
    if RUNNING:
        stored = [live.id for live in RUNNING.values() if live.stored]
        others = {live.id: live.user_id for live in RUNNING.values() if not live.stored}
        unwelcome = await run_in_db_pool(turn_rows.refresh_alive, stored, others)
        for turn in unwelcome:
            stop_local(turn)


async def close(deadline: float | None = None) -> None:
    """End what runs by itself here and forget all streams.

    ``deadline``: the loop's time after which nothing is waited for any more.
    """
    await TASKS.end(deadline)
    if _Process.hub is not None:
        await _Process.hub.close()
    RUNNING.clear()
    _Process.hub = _Process.keeper = None
