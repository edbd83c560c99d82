"""Server-sent events, byte by byte."""

from __future__ import annotations

import pytest

from routing.backends import sse
from routing.backends.sse import SseEvent, SseReader


def read(*pieces: bytes) -> list[SseEvent]:
    """Feed the pieces and close."""
    reader = SseReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.close()


STREAM = (
    ": comment\n\n"
    "event: first\ndata: Grüße, 世界! 🙂\n\n"
    "id: 7\nretry: 10\ndata:no space\r\n\r\n"
    "data: one\ndata:  two\ndata\n\n"
    "event: unheard\n\n"
    "data: last\n\n"
).encode()
EVENTS = [
    ("first", "Grüße, 世界! 🙂".encode()),
    ("", b"no space"),
    ("", b"one\n two"),
    ("", b"last"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_cuts_anywhere_change_nothing(size: int) -> None:
    pieces = [STREAM[n : n + size] for n in range(0, len(STREAM), size)]
    assert read(*pieces) == EVENTS


def test_event_is_given_with_its_blank_line() -> None:
    reader = SseReader()
    assert reader.feed(b"data: x\n") == []
    assert reader.feed(b"\n") == [("", b"x")]
    assert reader.close() == []


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_last_event_needs_no_blank_line(end: bytes) -> None:
    assert read(b"event: a\ndata: x" + end) == [("a", b"x")]


def test_name_belongs_to_one_event() -> None:
    assert read(b"event: a\ndata: 1\n\ndata: 2\n\n") == [("a", b"1"), ("", b"2")]


def test_line_of_a_megabyte_in_small_pieces() -> None:
    line = b"data: " + b"x" * 1_000_000 + b"\n\n"
    pieces = [line[n : n + 4096] for n in range(0, len(line), 4096)]
    assert read(*pieces) == [("", b"x" * 1_000_000)]


@pytest.mark.parametrize("ends", [b"", b"\ndata: "])
def test_events_have_a_limit(ends: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    reader = SseReader()
    assert reader.feed(b"data: before\n\ndata: ") == [("", b"before")]
    for _ in range(11):
        assert not reader.overflow
        assert reader.feed(b"x" * 100 + ends) == []
        if reader.overflow:
            break
    assert reader.overflow


def test_many_events_in_one_read_stay_apart() -> None:
    events = read(b"".join(b"data: %d\n\n" % n for n in range(1000)))
    assert [int(data) for _, data in events] == list(range(1000))
