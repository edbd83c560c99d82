"""Putting the copy of a SQLite database in the place of the present one.

The copy is checked and brought up to date beside the present file. Then the present
one is locked, so that no process has it open, and both change places in one step.
Source: SQLite documentation, "Write-Ahead Logging" (leaving WAL mode needs every other
connection to be closed) and "PRAGMA quick_check".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from django.core.management import call_command
from django.db import connection

from channels_app.care import contents, migrations
from channels_app.care.contents import Contents
from channels_app.care.errors import BadArchive, RestoreRefused
from channels_app.care.pending import putting_back

WAIT_S: Final = 2.0
"""How long others may take to let go of the file."""


class Engine:
    """The database of an installation without PostgreSQL."""

    def __init__(self) -> None:
        """Take the file that the settings name."""
        self._path = Path(str(connection.settings_dict["NAME"]))

    def files(self) -> list[Path]:
        """Return the files that make up the present database."""
        every = [self._path.with_name(self._path.name + end) for end in _ENDINGS]
        return [path for path in every if path.exists()]

    def refuse_others(self) -> None:
        """Refuse while another process has the database open.

        Raises:
            RestoreRefused: One has.
        """
        with self._locked():
            pass

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Refuse others now; ``replaced`` keeps them out when it matters.

        Raises:
            RestoreRefused: Another process has the database open.
        """
        self.refuse_others()
        yield

    @contextlib.contextmanager
    def replaced(self, copy: Path, wanted: Contents) -> Iterator[int]:
        """Put the copy in place as long as the context ends well.

        Yields how many migrations the copy lacked.

        Raises:
            BadArchive: The copy is damaged or not what was wanted.
            RestoreRefused: Another process has the database open.
        """
        staged = self._beside(".restoring")
        before = self._beside(".before")
        for path in (staged, before):
            path.unlink(missing_ok=True)
        try:
            shutil.move(copy, staged)
            _check(staged, wanted)
            count = self._migrate(staged)
            with self._locked():
                if self._path.exists():
                    _link(self._path, before)
                staged.replace(self._path)
                self._drop_log()
            try:
                yield count
            except BaseException:
                with putting_back():
                    self._put_back(before)
                raise
        finally:
            connection.close()
            for path in (staged, before):
                path.unlink(missing_ok=True)

    def _put_back(self, before: Path) -> None:
        connection.close()
        self._drop_log()
        self._path.unlink(missing_ok=True)
        if before.exists():
            before.replace(self._path)

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    def _drop_log(self) -> None:
        """Remove the log of a database that is gone; it would spoil the next one."""
        for ending in _ENDINGS[1:]:
            self._beside(ending).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the present file alone; one that is no database cannot be in use."""
        connection.close()
        if not self._path.exists():
            yield
            return
        opened = sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None)
        with closing(opened) as base:
            try:
                base.execute("PRAGMA journal_mode=DELETE")
                base.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise RestoreRefused(
                        f"The database file {self._path} cannot be used: {error}."
                    ) from None
                raise RestoreRefused(
                    "Another process has the database open; stop everything of Cortex "
                    "first."
                ) from None
            except sqlite3.DatabaseError:
                pass
            yield

    @staticmethod
    def _migrate(path: Path) -> int:
        """Bring a copy up to date before it is put in place."""
        name = connection.settings_dict["NAME"]
        connection.close()
        connection.settings_dict["NAME"] = str(path)
        try:
            count = migrations.pending()
            if count:
                call_command("migrate", interactive=False, verbosity=0)
        finally:
            connection.close()
            connection.settings_dict["NAME"] = name
        with closing(sqlite3.connect(path)) as base:
            base.execute("PRAGMA journal_mode=DELETE")  # everything in one file again
        return count


_ENDINGS: Final = ("", "-wal", "-shm", "-journal")


def _check(path: Path, wanted: Contents) -> None:
    if not contents.is_sound(path):
        raise BadArchive("The database in the backup is damaged.")
    if contents.of_sqlite(path) != wanted:
        raise BadArchive("The database in the backup is not what its manifest says.")


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a disk without links
        shutil.copy2(path, other)
