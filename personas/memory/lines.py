"""The lines of a memory file: reading, writing and exchanging them. Pure.

A memory file is Markdown that a person may edit by hand. An *entry* is one line that
begins with ``- ``:

    - 2026-11-20 Has a cello lesson on Mondays. <!-- pin --> <!-- private -->
      <!-- from /m/<message uuid> /m/<message uuid> -->

(all of it on one line). The date and the marks may be missing, and the marks may stand
in any order. Every other line – headings, blank lines, text – stays as it is. A line is
known by its *raw* text, without the carriage return of files from elsewhere, so that
changes meet the line they mean wherever it stands by now.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from personas.memory.text_lines import BULLET as BULLET
from personas.memory.text_lines import TextLines, bare
from personas.memory.text_lines import lines_of as lines_of
from personas.privacy import PIN, PRIVATE, SOURCES, privacy_of_lines, without_marks

MAX_SOURCES = 3
"""Messages that one entry names; more would crowd out the text itself."""
_DATE = re.compile(r"\A([0-9]{4}-[0-9]{2}-[0-9]{2}):?\s+(?=\S)")
_SOURCE = re.compile(r"/m/([0-9a-f-]{32,36})(?![0-9a-f-])", re.IGNORECASE)
_BLOCK_MARK = re.compile(r"\A(?:[-*+](?:\s+|\Z)|#{1,6}(?:\s+|\Z)|>\s*|`{3,}|~{3,})")
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a memory file."""

    raw: str
    """The whole line as it stands in the file; it is known by this."""
    text: str
    """What it says, without bullet, date and marks."""
    said_on: date | None = None
    sources: tuple[uuid.UUID, ...] = ()
    """The messages it was drawn from, as its mark names them; they may be gone."""
    pinned: bool = False
    private: bool = False
    """By its own mark, or because it stands in a private part of the file."""


def entries_of(text: str) -> list[Entry]:
    """Return the entries of a file, in their order; a line without words is none."""
    entries = []
    for line, private in zip(text.split("\n"), privacy_of_lines(text), strict=True):
        if entry := _entry(bare(line), private):
            entries.append(entry)
    return entries


def _entry(raw: str, private: bool) -> Entry | None:
    if not raw.startswith(BULLET):
        return None
    said_on, text = split_date(" ".join(without_marks(raw)[len(BULLET) :].split()))
    if not text:
        return None
    named = (found[1] for mark in SOURCES.finditer(raw) for found in _ids(mark[0]))
    return Entry(
        raw=raw,
        text=text,
        said_on=said_on,
        sources=tuple(dict.fromkeys(filter(None, map(_uuid, named)))),
        pinned=bool(PIN.search(raw)),
        private=private,
    )


def _ids(mark: str) -> Iterable[re.Match[str]]:
    return _SOURCE.finditer(mark)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def split_date(text: str) -> tuple[date | None, str]:
    """Return the date at the beginning and the rest; a date alone is text."""
    if found := _DATE.match(text):
        try:
            return date.fromisoformat(found[1]), text[found.end() :]
        except ValueError:
            pass
    return None, text


def false_date(text: str) -> str:
    """Return what stands at the beginning like a date and is none; else empty."""
    found = _DATE.match(text)
    return found[1] if found and split_date(text)[0] is None else ""


def clean_text(text: str) -> str:
    """Return foreign text as one line that says only words; may be empty.

    Line breaks and control characters become blanks; a comment, which could be a mark,
    becomes plain characters; a list, heading, quotation or fence mark at the beginning
    goes.
    """
    # Surrogates and other non-characters cannot be stored, or are not text.
    text = "".join(
        " " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one
        for one in text
    )
    text = " ".join(text.split()).replace("<!--", "< !--").replace("-->", "-- >")
    while found := _BLOCK_MARK.match(text):
        text = text[found.end() :].lstrip()
    return text


def entry_line(
    text: str,
    *,
    said_on: date | None = None,
    sources: Iterable[uuid.UUID] = (),
    pinned: bool = False,
    private: bool = False,
) -> str:
    """Return the line of an entry: no line break, and only the marks asked for.

    Args:
        text: Anybody's words; see ``clean_text``. A date at its beginning is the
            entry's date where ``said_on`` is ``None``, and is not repeated.
        said_on: When it was said.
        sources: The messages it was drawn from; the first three are named.

    Raises:
        ValueError: Nothing is left of the text.
    """
    text = clean_text(text)
    in_text, rest = split_date(text)
    if in_text is not None and in_text == said_on:
        text = rest
    if not text:
        raise ValueError("An entry needs words.")
    parts = [f"{said_on.isoformat()} {text}" if said_on else text]
    if pinned:
        parts.append("<!-- pin -->")
    if private:
        parts.append("<!-- private -->")
    if named := list(dict.fromkeys(sources))[:MAX_SOURCES]:
        parts.append(f"<!-- from {' '.join(f'/m/{one}' for one in named)} -->")
    return BULLET + " ".join(parts)


def line_of(entry: Entry) -> str:
    """Return the line of an entry in its normal form."""
    return entry_line(
        entry.text,
        said_on=entry.said_on,
        sources=entry.sources,
        pinned=entry.pinned,
        private=entry.private,
    )


def changed(text: str, *, remove: Iterable[str] = (), add: Iterable[str] = ()) -> str:
    """Return a file's text without some lines and with others.

    Removing what is not there is no error, and takes every copy. New lines go behind
    the last entry (without one, to the end), in their order; one that is there already
    is not added again. Line ends and the end of the text stay as they are.

    Args:
        remove: Raw lines.
        add: Raw lines, each a single line.

    Raises:
        ValueError: A line to add is none, or several.
    """
    file = TextLines.of(text)
    wanted = [checked_line(line) for line in dict.fromkeys(add)]
    gone = {bare(line) for line in remove} - {""} - set(wanted)
    file.lines = [line for line in file.lines if bare(line) not in gone]
    there = set(map(bare, file.lines))
    file.insert(file.end_of_entries(), [line for line in wanted if line not in there])
    return file.text()


def replaced(text: str, old: str, new: str) -> str:
    """Return a file's text with one line in the place of another.

    Further copies of the old line go; where the new one is there already, the old one
    simply goes. A text without the old line comes back as it is.
    """
    new = checked_line(new)
    file = TextLines.of(text)
    places = [at for at, line in enumerate(file.lines) if bare(line) == bare(old)]
    if not places or old == new:
        return text
    known = new in map(bare, file.lines)
    if not known:
        file.lines[places[0]] = new + file.line_end
    for at in reversed(places if known else places[1:]):
        del file.lines[at]
    return file.text()


def put_back(text: str, lines: Iterable[str], *, before: str) -> str:
    """Return a file's text with lines where they stood in an earlier text of it.

    Each goes behind the nearest line above it that is still there, so that it comes
    back under its heading. One that was private then and would not be now gets the mark
    for it.

    Args:
        text: The file as it is.
        lines: Raw lines; those that are there already stay where they are.
        before: The file as it was when the lines stood in it.
    """
    file = TextLines.of(text or before)  # an empty file ends as it did
    if not text:
        file.lines = []
    old = lines_of(before)
    was_private = dict(zip(old, privacy_of_lines(before), strict=True))
    places = {line: at for at, line in reversed(list(enumerate(old)))}
    wanted = sorted(dict.fromkeys(lines), key=lambda line: places.get(line, len(old)))
    for line in map(checked_line, wanted):
        if line in map(bare, file.lines):
            continue
        at = file.place_behind(old[: places[line]]) if line in places else None
        file.insert(file.end_of_entries() if at is None else at, [line])
    restored = file.text()
    now_private = dict(zip(lines_of(restored), privacy_of_lines(restored), strict=True))
    for line in wanted:
        if was_private.get(line) and not now_private.get(line, True):
            restored = replaced(restored, line, marked_private(line))
    return restored


def checked_line(line: str) -> str:
    """Return a raw line that may be added; raises ``ValueError`` for anything else."""
    if not line.strip() or "\n" in line or "\r" in line or "\0" in line:
        raise ValueError("This is not one line.")
    return line


def fold(text: str) -> str:
    """Return text for comparing: small letters and digits with single blanks.

    Accents and punctuation are gone: ``Café, Ünal's`` becomes ``cafe unal s``.
    """
    if text.isascii():
        return _NOT_WORD.sub(" ", text.lower()).strip()
    parts = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(one for one in parts if not unicodedata.combining(one))
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", letters)).strip()


def marked_private(line: str) -> str:
    """Return a raw line that is private wherever it stands."""
    return line if PRIVATE.search(line) else f"{line} <!-- private -->"
