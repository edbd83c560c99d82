"""Reads a persona's folder of an old home; touches no database.

Whatever cannot be taken is told by its path and the rest is read. Everything is read
before the first row is written, so that a persona is stored in one go and nobody waits
for the reading. The files are in memory then, the sessions in a spool on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from personas.files import MAX_FILE_BYTES, MAX_FILES
from personas.home.disk import Folder, Refused, opened
from personas.home.json_text import parsed, text_of
from personas.home.naming import check_file_name, check_session_name
from personas.home.report import Report
from personas.home.session_file import read
from personas.home.session_rows import digest_of
from personas.home.session_spool import SessionSpool

SESSIONS: Final = "sessions"
MAX_SESSION_BYTES: Final = 20 * 1024 * 1024
MAX_SESSIONS: Final = 5_000
MAX_SESSIONS_BYTES: Final = 256 * 1024 * 1024
"""Of all sessions of one persona together."""


@dataclass(slots=True)
class OldSession:
    """What is known of a session's file after it was read."""

    digest: str
    changed_at: float
    messages: int
    odd: list[str]
    place: int | None
    """Where the spool has the session; ``None`` = it was only looked at."""


@dataclass(slots=True)
class OldPersona:
    """What a folder holds that can be taken."""

    name: str
    files: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, OldSession] = field(default_factory=dict)


def read_persona(
    folder: Folder, name: str, where: str, report: Report, spool: SessionSpool | None
) -> OldPersona:
    """Read a folder whose name was checked.

    Args:
        where: Its path for the report.
        spool: Keeps the sessions; ``None`` = they are only looked at.

    Raises:
        Refused: The folder as a whole cannot be read, or holds nothing to take.
    """
    old = OldPersona(name)
    for entry in folder.names():
        place = f"{where}/{entry}"
        if entry == SESSIONS and folder.is_folder(entry):
            _read_sessions(folder, place, old, report, spool)
            continue
        try:
            old.files[entry] = _read_file(folder, entry, old)
        except Refused as error:
            report.left(place, str(error))
    if not old.files and not old.sessions:
        raise Refused("holds no file of a persona.")
    return old


def _read_file(folder: Folder, name: str, old: OldPersona) -> str:
    if folder.is_folder(name):
        raise Refused("is a folder that has no meaning here.")
    check_file_name(name, old.files)
    if len(old.files) >= MAX_FILES:
        raise Refused(f"is one too many: a persona has at most {MAX_FILES} files.")
    text = text_of(folder.read(name, MAX_FILE_BYTES).raw)
    if name.endswith(".json") and text.strip():
        parsed(text)
    return text


def _read_sessions(
    folder: Folder,
    where: str,
    old: OldPersona,
    report: Report,
    spool: SessionSpool | None,
) -> None:
    try:
        with opened(folder.folder(SESSIONS)) as sessions:
            total = 0
            for name in sessions.names():
                try:
                    total += _read_session(sessions, name, old, total, spool)
                except Refused as error:
                    report.left(f"{where}/{name}", str(error))
    except Refused as error:
        report.left(where, str(error))


def _read_session(
    folder: Folder, name: str, old: OldPersona, total: int, spool: SessionSpool | None
) -> int:
    """Read one session; return its size in bytes."""
    check_session_name(name, old.sessions)
    if len(old.sessions) >= MAX_SESSIONS:
        raise Refused(f"is one too many: at most {MAX_SESSIONS:,} are taken.")
    data = folder.read(name, MAX_SESSION_BYTES)
    if total + len(data.raw) > MAX_SESSIONS_BYTES:
        megabytes = MAX_SESSIONS_BYTES // (1024 * 1024)
        raise Refused(f"is too much: at most {megabytes} MB of sessions are taken.")
    session = read(name, data.raw)
    old.sessions[name] = OldSession(
        digest=digest_of(data.raw),
        changed_at=data.changed_at,
        messages=sum(piece.said is not None for piece in session.pieces),
        odd=session.odd,
        place=None if spool is None else spool.put(session),
    )
    return len(data.raw)
