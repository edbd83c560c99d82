"""One holder at a time, across all processes and machines of an installation.

On SQLite, where everything runs on one machine, it is a lock on a file in the data
folder; on PostgreSQL an advisory lock of a session of its own. Either is freed by the
system when its process dies; when a whole machine dies PostgreSQL notices within half
a minute.

Source: https://www.postgresql.org/docs/current/explicit-locking.html, "Advisory
Locks"; flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connection

_NOTICE_A_DEAD_MACHINE: Final = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)


@contextlib.contextmanager
def only_one(name: str) -> Iterator[bool]:
    """Yield whether this is the only holder of ``name``; never waits for another one.

    May be entered in one thread and left in another, but not in an event loop.
    """
    if connection.vendor == "postgresql":
        with _session_lock(name) as mine:
            yield mine
    else:
        with _file_lock(name) as mine:
            yield mine


@contextlib.contextmanager
def _file_lock(name: str) -> Iterator[bool]:
    path = Path(settings.DATA_DIR) / f"{name}.lock"
    with open(path, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # anything else is a fault, and no other holder
            yield False
        else:
            yield True


@contextlib.contextmanager
def _session_lock(name: str) -> Iterator[bool]:
    """Hold the lock with a session that does nothing else and ends with it."""
    session = connection.get_new_connection(connection.get_connection_params())
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            for statement in _NOTICE_A_DEAD_MACHINE:
                cursor.execute(statement)
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_number_of(name)])
            (mine,) = cursor.fetchone()
        try:
            yield bool(mine)
        finally:
            if mine:
                _unlock(session, name)
    finally:
        session.close()


def _unlock(session: Any, name: str) -> None:
    """Free the lock at once: the end of a session is noticed only a moment later."""
    with contextlib.suppress(psycopg.Error), session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", [_number_of(name)])


def _number_of(name: str) -> int:
    """Return the lock's number, a signed one of 64 bits."""
    digest = hashlib.blake2b(f"cortex {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
