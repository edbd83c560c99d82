"""Cuts a stream of server-sent events into events; every API back end reads with it.

Pure: bytes in, events out. Only whole lines are looked at, so a character that two
network reads share is never split. Comments and the fields ``id`` and ``retry`` are
passed over.

Source: WHATWG HTML standard, "Server-sent events", interpreting an event stream.
"""

from __future__ import annotations

from typing import Final

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""More than any host has reason to send in one piece."""

SseEvent = tuple[str, bytes]
"""An event's name (empty if it has none) and its data, several lines joined."""


class SseReader:
    """Collects bytes until events are whole.

    ``overflow`` becomes true when a line or an event is larger than the limit; the
    reader is of no use after that.
    """

    __slots__ = ("_data", "_name", "_rest", "_size", "overflow")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self.overflow = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that became whole with ``data``, oldest first."""
        if b"\n" not in data:
            self._hold(data)
            return []
        if self._rest:
            data = bytes(self._rest) + data
            self._rest.clear()
        *lines, rest = data.split(b"\n")
        events: list[SseEvent] = []
        for line in lines:
            self._line(line, events)
        self._hold(rest)
        return events

    def close(self) -> list[SseEvent]:
        """Return what stands at the end of the bytes without its blank line."""
        rest, events = bytes(self._rest), list[SseEvent]()
        self._rest.clear()
        for line in (rest, b"") if rest else (b"",):
            self._line(line, events)
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if line.startswith(b"data:"):
            value = line[5:].removesuffix(b"\r")
            self._data.append(value[1:] if value.startswith(b" ") else value)
            self._size += len(line)
            if self._size > MAX_EVENT_BYTES:
                self.overflow = True
                self._data.clear()
        elif not line or line == b"\r":
            if self._data:
                events.append((self._name, b"\n".join(self._data)))
                self._data = []
            self._name, self._size = "", 0
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode(errors="replace")

    def _hold(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > MAX_EVENT_BYTES:
            self.overflow = True
            self._rest.clear()
