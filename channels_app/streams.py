"""The append-only log of one turn, and reading it from any place on.

A ``TurnStream`` counts its events from 0 without gaps. Any number of readers follow
it, each at its own pace: on every wake-up a reader takes what is there, neighbouring
pieces of text joined into one frame that carries the number of the last piece. There
are no timers and no queues, so nothing is lost and a slow reader costs nothing but
its position. ``stream_hub`` finds the stream of a turn. A stream belongs to one event
loop.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from json.encoder import encode_basestring
from math import inf
from typing import Any, NamedTuple

TEXT_TYPES = frozenset({"turn.delta", "turn.thinking"})
MAX_FRAME_CHARS = 65_536
"""Most text that one frame carries, however much a reader has to catch up on."""
PIECES_PER_RUN = 1024
"""Pieces of text that stand one by one before they are joined to save memory."""


class Frame(NamedTuple):
    """One frame as readers get it: its type, its sequence number, its JSON text."""

    type: str
    seq: int
    json: str

    @property
    def fields(self) -> dict[str, Any]:
        """The frame decoded, for readers that look inside."""
        decoded: dict[str, Any] = json.loads(self.json)
        return decoded


def encode(frame: dict[str, Any]) -> str:
    """Write a frame as compact JSON."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


class _Run:
    """Events of one type in a row: pieces of text, or a single other event.

    ``ends[i]`` is where piece ``i`` ends in the joined text, so that a replay can
    start at any piece after the pieces were joined.
    """

    __slots__ = ("ends", "first", "pieces", "type")

    def __init__(self, type: str, first: int) -> None:
        self.type = type
        self.first = first
        self.pieces: list[str] = []
        self.ends = array("Q")

    @property
    def next(self) -> int:
        return self.first + len(self.ends)

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.ends.append((self.ends[-1] if self.ends else 0) + len(piece))

    def join(self) -> None:
        self.pieces = ["".join(self.pieces)]

    def text(self, start: int, stop: int) -> str:
        """Return the pieces numbered ``start`` to ``stop - 1`` within the run."""
        if len(self.pieces) == len(self.ends):
            return "".join(self.pieces[start:stop])
        begin = self.ends[start - 1] if start else 0
        return self.pieces[0][begin : self.ends[stop - 1]]

    def fit(self, start: int, chars: int) -> int:
        """Return where to stop so that at most ``chars`` follow, at least one piece."""
        begin = self.ends[start - 1] if start else 0
        return max(start + 1, bisect_right(self.ends, begin + chars))


class TurnStream:
    """The log of one turn. ``owner_id`` is the person whose turn it is."""

    def __init__(
        self,
        turn: uuid.UUID,
        owner_id: int,
        *,
        on_append: Callable[[TurnStream], None] | None = None,
    ) -> None:
        self.turn = turn
        self.owner_id = owner_id
        self.finished = False
        self.next_seq = 0
        self.chars = 0
        self._head = f'","turn":"{turn}","seq":'
        self._runs: list[_Run] = []
        self._firsts: list[int] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._shared: tuple[int, int, list[Frame], int] | None = None
        self._on_append = on_append

    @property
    def last_type(self) -> str:
        """Type of the last event; empty before the first."""
        return self._runs[-1].type if self._runs else ""

    # --- writing -----------------------------------------------------------------

    def append(self, type: str, **fields: Any) -> None:
        """Add an event; ``type``, ``turn`` and ``seq`` are put in front."""
        head = {"type": type, "turn": str(self.turn), "seq": self.next_seq}
        self._add(type, encode(head | fields))

    def append_text(self, type: str, text: str) -> None:
        """Add a piece of text (``turn.delta`` or ``turn.thinking``)."""
        self._add(type, text)

    def finish(self) -> None:
        """Close the log; readers end when they have read everything."""
        self.finished = True
        if self._runs:
            self._runs[-1].join()
        self._wake()

    def _add(self, type: str, piece: str) -> None:
        if self.finished:
            raise RuntimeError(f"turn {self.turn} has already finished")
        runs = self._runs
        if (
            not runs
            or runs[-1].type != type
            or type not in TEXT_TYPES
            or len(runs[-1].ends) >= PIECES_PER_RUN
        ):
            if runs:
                runs[-1].join()
            runs.append(_Run(type, self.next_seq))
            self._firsts.append(self.next_seq)
        runs[-1].add(piece)
        self.next_seq += 1
        self.chars += len(piece)
        self._wake()

    def _wake(self) -> None:
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
        if self._on_append is not None:
            self._on_append(self)

    # --- reading -----------------------------------------------------------------

    async def read(self, after: int = -1) -> AsyncIterator[list[Frame]]:
        """Yield everything after number ``after``, then what comes, until the end.

        Each list holds at least one frame; its numbers rise, and nothing between
        two neighbours is missing.
        """
        cursor = min(after + 1, self.next_seq)
        while True:
            if cursor < self.next_seq:
                frames, cursor = self._take(cursor)
                yield frames
            elif self.finished:
                return
            else:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def text(self, type: str) -> str:
        """Return all text of one type (``turn.delta``: the answer so far)."""
        return "".join(
            piece for run in self._runs if run.type == type for piece in run.pieces
        )

    def _take(self, cursor: int) -> tuple[list[Frame], int]:
        """Return frames from ``cursor`` on (about one frame's worth of text)."""
        shared = self._shared
        if shared is not None and shared[0] == cursor and shared[1] == self.next_seq:
            return shared[2], shared[3]
        last = self._runs[-1]
        if cursor >= last.first and last.type in TEXT_TYPES:
            # Nearly always: a reader that keeps up with a growing text.
            stop = last.fit(cursor - last.first, MAX_FRAME_CHARS)
            text = last.text(cursor - last.first, stop)
            position = last.first + stop
            frames = [self._text_frame(last.type, position - 1, text)]
        else:
            frames, position = self._collect(cursor)
        self._shared = (cursor, self.next_seq, frames, position)
        return frames, position

    def _collect(self, cursor: int) -> tuple[list[Frame], int]:
        """Walk the runs from ``cursor`` on until a frame's worth of text is found."""
        frames: list[Frame] = []
        position, room = cursor, MAX_FRAME_CHARS
        index = bisect_right(self._firsts, cursor) - 1
        while index < len(self._runs) and room > 0:
            run = self._runs[index]
            if run.type in TEXT_TYPES:
                text, position, index = self._join_text(index, position, room)
                frames.append(self._text_frame(run.type, position - 1, text))
                room -= len(text)
            else:
                frames.append(Frame(run.type, position, run.pieces[0]))
                room -= len(run.pieces[0])
                position, index = position + 1, index + 1
        return frames, position

    def _join_text(self, index: int, position: int, room: int) -> tuple[str, int, int]:
        """Join neighbouring runs of one type; return text, next number, next run."""
        type, parts = self._runs[index].type, []
        while index < len(self._runs) and self._runs[index].type == type and room > 0:
            run = self._runs[index]
            stop = run.fit(position - run.first, room)
            part = run.text(position - run.first, stop)
            parts.append(part)
            room -= len(part)
            position = run.first + stop
            if position < run.next:
                break
            index += 1
        return "".join(parts), position, index

    def _text_frame(self, type: str, seq: int, text: str) -> Frame:
        quoted = encode_basestring(text)
        return Frame(type, seq, f'{{"type":"{type}{self._head}{seq},"text":{quoted}}}')

    # --- between processes ---------------------------------------------------------

    def pack(self, start: int, room: float = inf) -> tuple[list[list[Any]], int]:
        """Return the events from number ``start`` on as plain lists for ``unpack``.

        A list is ``[type, first number, lengths of the pieces, text]``; other events
        have no lengths and their JSON as text. Also returns the number of the first
        event that is not packed, because there were ``room`` characters already.
        """
        packed: list[list[Any]] = []
        for run in self._runs[max(0, bisect_right(self._firsts, start) - 1) :]:
            begin = max(0, start - run.first)
            if begin >= len(run.ends):
                continue
            if room <= 0:
                return packed, run.first
            if run.type in TEXT_TYPES:
                ends = run.ends[begin - 1 if begin else 0 :]
                if not begin:
                    ends.insert(0, 0)
                lengths = [b - a for a, b in zip(ends, ends[1:], strict=False)]
                text = run.text(begin, len(run.ends))
                packed.append([run.type, run.first + begin, lengths, text])
            else:
                packed.append([run.type, run.first, None, run.pieces[0]])
            room -= len(packed[-1][3])
        return packed, self.next_seq

    def unpack(self, packed: list[list[Any]]) -> None:
        """Add what ``pack`` gave elsewhere; what is already here is skipped.

        Raises ``ValueError`` when something in between is missing.
        """
        for type, first, lengths, text in packed:
            if first > self.next_seq:
                raise ValueError(f"events {self.next_seq} to {first - 1} are missing")
            if lengths is None:
                if first == self.next_seq:
                    self._add(type, text)
                continue
            position = 0
            for number, length in enumerate(lengths, first):
                if number == self.next_seq:
                    self._add(type, text[position : position + length])
                position += length
