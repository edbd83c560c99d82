"""Reads a session of an old home: JSON, or JSON by lines. Touches no database.

Understood are a list of messages, an object with such a list under ``messages`` (or
``history``, ``conversation``), and one message on each line. A message is an object of
``role``, ``content`` and ``timestamp``; whatever else it has is kept in its text.

The pieces of a session, put together, are its text again, character for character.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from personas.home.disk import Refused
from personas.home.json_text import (
    Lines,
    check_levels,
    fields_at,
    items_at,
    line_at,
    skipped,
    text_of,
    value_at,
)

MOST_MESSAGES: Final = 20_000
MOST_CHARACTERS: Final = 1_000_000
"""Of one message; a longer one is kept in its session's text only."""
MOST_ODD: Final = 20
LISTS: Final = ("messages", "history", "conversation")
TIMES: Final = ("timestamp", "created_at", "time", "ts")
SPOKEN: Final = ("user", "assistant")
MACHINERY: Final = ("system", "tool")
"""Roles whose entries are kept but are no messages here."""
EARLIEST: Final = datetime.datetime(1980, 1, 1, tzinfo=datetime.UTC)
_FUTURE: Final = datetime.timedelta(days=1)
"""How far the clock of the old machine may have been ahead."""
_MILLISECONDS_FROM: Final = 10**11
"""Larger numbers count milliseconds: as seconds they would be past the year 5000."""
_NO_TEXT: Final = re.compile("[\ud800-\udfff\0]")


@dataclass(frozen=True, slots=True)
class Said:
    """A message that was understood; ``at`` is empty where it has no time."""

    role: str
    text: str
    at: datetime.datetime | None
    model: str = ""
    author: str = ""
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry as it stands in the file, with what stands between it and the last."""

    before: str
    text: str
    said: Said | None


@dataclass(slots=True)
class Session:
    """A whole file: ``head``, the pieces one after the other, ``tail``."""

    head: str = ""
    pieces: list[Piece] = field(default_factory=list)
    tail: str = ""
    title: str = ""
    began: datetime.datetime | None = None
    odd: list[str] = field(default_factory=list)
    """What was not understood, and where; at most ``MOST_ODD`` and how many more"""
    unsaid: int = 0


def read(name: str, raw: bytes) -> Session:
    """Return what a file holds.

    Raises:
        Refused: It is no text, no JSON, or no session.
    """
    text = text_of(raw)
    session = Session()
    if name.endswith(".jsonl"):
        _read_lines(text, session)
    else:
        check_levels(text)
        _read_json(text, session)
    if session.unsaid:
        session.odd.append(f"{session.unsaid:,} more entries are not understood.")
    return session


def _read_json(text: str, session: Session) -> None:
    place = skipped(text, 1 if text.startswith("\ufeff") else 0)
    whole, end = value_at(text, place)
    if skipped(text, end) != len(text):
        line = line_at(text, skipped(text, end))
        raise Refused(f"is not JSON: line {line} cannot be read.")
    if isinstance(whole, dict):
        place = _list_in(text, place, whole)
        session.title = _title(whole)
        session.began = _began(whole)
    elif not isinstance(whole, list):
        raise Refused("holds neither a list of messages nor an object with one.")
    last: int | None = None
    for value, begin, end in items_at(text, place):
        if last is None:
            session.head, last = text[:begin], begin
        if begin == end:
            session.tail = text[last:]
        else:
            # A whole list often stands on one line, so its items are counted.
            where = f"message {len(session.pieces) + 1}"
            _add(session, text[last:begin], text[begin:end], value, where)
        last = end


def _list_in(text: str, place: int, whole: dict[str, Any]) -> int:
    """Return where the list of messages of an object begins."""
    wanted = next((key for key in LISTS if isinstance(whole.get(key), list)), None)
    found = [begin for name, begin, _ in fields_at(text, place) if name == wanted]
    if wanted is None or not found:
        raise Refused("is an object without a list of messages.")
    # A name that stands twice means its last value, as Python's decoder has it.
    return found[-1]


def _read_lines(text: str, session: Session) -> None:
    begin = skipped(text, 1 if text.startswith("\ufeff") else 0)
    session.head = text[:begin]
    last, understood = begin, False
    lines = Lines(text)
    while begin < len(text):
        found = text.find("\n", begin)
        end = len(text) if found < 0 else found
        end = begin + len(text[begin:end].rstrip(" \t\r"))
        value = _line_value(text[begin:end])
        understood = understood or value is not None
        line = f"line {lines.at(begin)}"
        _add(session, text[last:begin], text[begin:end], value, line)
        last, begin = end, skipped(text, end)
    session.tail = text[last:]
    if session.pieces and not understood:
        raise Refused("is not JSON by lines: no line can be read.")


def _line_value(line: str) -> Any:
    """Return the value of a line; ``None`` where it is no JSON."""
    try:
        check_levels(line)
        value, end = value_at(line, 0)
    except Refused:
        return None
    return value if end == len(line) else None


def _add(session: Session, before: str, text: str, value: Any, where: str) -> None:
    if len(session.pieces) >= MOST_MESSAGES:
        raise Refused(f"holds more than {MOST_MESSAGES:,} messages.")
    said = None
    try:
        said = _said(value)
    except _Odd as error:
        _note(session, where, str(error))
    if said is not None:
        said = _with_time(session, where, said, value)
        content = value["content"]
        if isinstance(content, list) and None in map(_part, content):
            _note(session, where, "has parts that are no text; its text keeps them.")
    session.pieces.append(Piece(before, text, said))


def _note(session: Session, where: str, text: str) -> None:
    if len(session.odd) < MOST_ODD:
        session.odd.append(f"{where}: {text}")
    else:
        session.unsaid += 1


class _Odd(Exception):
    """An entry, or its time, is not understood; ``str()`` says why."""


def _said(value: Any) -> Said | None:
    """Return a message; ``None`` for entries that are none of a person's or persona's.

    Raises:
        _Odd: It is not understood.
    """
    if not isinstance(value, dict):
        raise _Odd("is no object of a role and a content; it stays in the file's text.")
    role = value.get("role")
    if role in MACHINERY:
        return None
    if role not in SPOKEN:
        raise _Odd("has no role that is known here; it stays in the file's text.")
    text = _content(value)
    if not text.strip():
        return None
    if len(text) > MOST_CHARACTERS:
        raise _Odd("is longer than a million characters; it stays in the file's text.")
    return Said(
        role=role,
        text=text,
        at=None,
        model=_word(value.get("model"), 200),
        author=_word(value.get("author"), 100),
        guest=role == "user" and value.get("guest") is True,
    )


def _content(value: dict[str, Any]) -> str:
    """Return the text of a message; parts of a list stand below one another."""
    content = value.get("content")
    if content is None and value.get("tool_calls"):
        return ""
    if isinstance(content, str):
        return storable(content)
    if not isinstance(content, list):
        raise _Odd("has no text as its content; it stays in the file's text.")
    texts = [text for part in content if (text := _part(part)) is not None]
    if content and not texts:
        raise _Odd("has no part that is text; it stays in the file's text.")
    return storable("\n\n".join(texts))


def _part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") == "text":
        text = part.get("text")
        return text if isinstance(text, str) else None
    return None


def _with_time(session: Session, where: str, said: Said, value: dict[str, Any]) -> Said:
    """Return the message with its time; one that is not understood is told."""
    found = next((value[name] for name in TIMES if value.get(name) is not None), None)
    if found is None:
        return said
    at = moment_of(found)
    if at is None:
        _note(session, where, "has a time that is not understood; its place gives one.")
    return replace(said, at=at)


def moment_of(value: Any) -> datetime.datetime | None:
    """Return a time given as ISO 8601, or in seconds or milliseconds since 1970.

    One without a zone is taken for UTC. ``None`` = it is none, or before
    1980 or more than a day ahead.
    """
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal():
        value = float(value)
    try:
        if isinstance(value, str):
            moment = datetime.datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            if not math.isfinite(seconds):
                return None
            moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        else:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        moment = moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    latest = datetime.datetime.now(datetime.UTC) + _FUTURE
    return moment if EARLIEST <= moment <= latest else None


def storable(text: str) -> str:
    """Return a text without what no database takes: zeros and halves of characters."""
    return _NO_TEXT.sub("\ufffd", text)


def _title(whole: dict[str, Any]) -> str:
    return _word(whole.get("title") or whole.get("name"), 120)


def _began(whole: dict[str, Any]) -> datetime.datetime | None:
    found = (moment_of(whole[name]) for name in TIMES if whole.get(name) is not None)
    return next(found, None)


def _word(value: Any, length: int) -> str:
    """Return a text on one line; anything else counts as not said."""
    if not isinstance(value, str):
        return ""
    return " ".join(storable(value).split())[:length]
