"""Writers of one process take turns instead of asking SQLite again and again.

SQLite lets one transaction write at a time and gives the next turn to whoever happens
to ask at the right moment. With many threads that write one after the other, some are
never lucky until their time is up, although nobody holds the database for long. Here a
thread waits for a lock before it begins, and the locks' queue is fair. The time limit
of the connection covers both waits; other processes are waited for as ever.

Source: SQLite's page "Result and Error Codes", SQLITE_BUSY; Python's documentation of
``threading.Lock``.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

LOCKED = "database is locked"
"""What SQLite itself says when the time is up."""
SHORT_S = 0.05
"""After so short a wait the whole limit still holds for other processes."""

# The stubs leave out the hooks that back ends are made of.
_SQLite: Any = base.DatabaseWrapper
_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class DatabaseWrapper(_SQLite):  # type: ignore[misc]
    """A connection whose transactions that write take turns."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        if self.transaction_mode != "IMMEDIATE":
            super()._start_transaction_under_autocommit()
            return
        limit_s = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        turn, waited_s = _TURNS[str(self.settings_dict["NAME"])], 0.0
        if not turn.acquire(blocking=False):
            started = time.monotonic()
            if not turn.acquire(timeout=limit_s):
                raise OperationalError(LOCKED)
            waited_s = time.monotonic() - started
        self._turn = turn
        try:
            self._begin(limit_s, waited_s)
        except BaseException:
            self._end_turn()
            raise

    def _begin(self, limit_s: float, waited_s: float) -> None:
        if waited_s < SHORT_S:
            super()._start_transaction_under_autocommit()
            return
        self._wait_at_most(limit_s - waited_s)
        try:
            super()._start_transaction_under_autocommit()
        finally:
            self._wait_at_most(limit_s)

    def _wait_at_most(self, seconds: float) -> None:
        milliseconds = max(0, round(seconds * 1000))
        with self.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()

    def _commit(self) -> None:
        super()._commit()
        self._end_turn()

    def _rollback(self) -> None:
        try:
            super()._rollback()
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._end_turn()
