"""Plays bytes to the reader of an answer, without a network."""

from __future__ import annotations

from routing.backends.base import Event
from routing.backends.wire import AnswerStream


def played(stream: AnswerStream, data: bytes) -> list[Event]:
    """Feed a reader and close it, unless the bytes held an error."""
    events = stream.feed(data)
    return events if stream.failure else events + stream.close()
