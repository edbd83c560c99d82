"""``restore.pending``: a file that stands while a restore changes things.

Where it still stands afterwards, a restore was cut off (a crash, a power cut) and has
left an installation that is neither the old nor the new one. The file holds the
sentence that says what to do; ``serve``, ``web``, ``worker`` and the doctor tell it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection

from channels_app.care.errors import NotPutBack
from channels_app.care.findings import Finding, fail

FILE_NAME: Final = "restore.pending"


def path() -> Path:
    """Return where the file stands."""
    return Path(settings.DATA_DIR) / FILE_NAME


def sentence() -> str:
    """Return what to do about a restore that was cut off; empty when none was."""
    try:
        return path().read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def noted(file: Path, aside: Path | None) -> Iterator[None]:
    """Let the file stand until everything is in place, or put back as it was.

    It stays where not everything could be put back, and where it stood before.
    """
    stood = path().exists()
    _write(_sentence(file, aside))
    try:
        yield
    except NotPutBack:
        raise
    except BaseException:
        if not stood:
            path().unlink(missing_ok=True)
        raise
    path().unlink(missing_ok=True)


def _sentence(file: Path, aside: Path | None) -> str:
    text = (
        f"The restore of {file} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC was cut off "
        "half way: before Cortex can start, run 'manage.py restore --force' again with "
        "that file"
    )
    if aside is not None and aside.is_file():
        text += f", or with {aside}, which is what was here before"
    return f"{text}."


def _write(text: str) -> None:
    part = path().with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path())


def fault() -> str:
    """Return why Cortex must not start, here or because of another machine's restore.

    Empty when there is no reason.

    Raises:
        django.db.Error: The database cannot be used.
    """
    found = sentence()
    if not found and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW default_transaction_read_only")
            if cursor.fetchone()[0] == "on":
                return _READ_ONLY
    return found


_READ_ONLY: Final = (
    "The database can only be read: a restore is being done, or was cut off, on this "
    "machine or another one; wait for it, or do it again there (see docs/backup.md)."
)


def look() -> Iterator[Finding]:
    """Find, for the doctor, a restore that was cut off here or on another machine."""
    if found := fault():
        yield fail("restore", found, "manage.py restore FILE --force")


@contextlib.contextmanager
def putting_back() -> Iterator[None]:
    """Say so when putting back fails.

    Raises:
        NotPutBack: It did.
    """
    try:
        yield
    except Exception as error:
        raise NotPutBack(f"Not everything could be put back: {error}") from error
