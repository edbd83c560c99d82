"""What has to be true before Cortex serves: tables, static files, an administrator.

Run by ``manage.py prepare``, one process at a time. Leaves alone what is up to date.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection

from accounts import invites
from channels_app.care import migrations, pending
from channels_app.server import backup
from channels_app.web.static_versions import stamp_path
from personas.search import index


class DatabaseTooNew(Exception):
    """The database was migrated by a later version; the text is one sentence."""


class NotPrepared(Exception):
    """Tables of an earlier version, or half of a restore; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Report:
    """What ``prepare`` did and what is left to do."""

    setup_link: str | None
    """Where the first administrator is set up; None when there is one."""
    notes: tuple[str, ...]
    """Sentences for the person who started Cortex."""


def prepare() -> Report:
    """Bring tables and static files up to date and renew the administrator's link.

    Raises:
        DatabaseTooNew: nothing was changed.
        NotPrepared: a restore was cut off; nothing was changed.
        BackupFailed: nothing was changed.
        django.db.Error: the database cannot be used.
    """
    _refuse_half_restored()
    with _alone(Path(settings.DATA_DIR) / "prepare.lock"):
        notes = _migrate()
        index.repair()  # while nobody waits: it locks the database for seconds
        if not _collected_for_good():
            collect_static()
        link = invites.renew_administrator_link()
    return Report(link, tuple(notes))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process prepares the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_tables() -> None:
    """Refuse tables that are not those of this version.

    For processes that no supervisor started, perhaps on another machine: they change
    no table themselves.

    Raises:
        DatabaseTooNew: this version is too old for the tables.
        NotPrepared: ``prepare`` is due, or a restore was cut off.
    """
    _refuse_half_restored()
    _refuse_newer(migrations.applied())
    if migrations.pending():
        raise NotPrepared(
            "The database is not up to date for this version of Cortex; run "
            "`manage.py prepare` once, where nothing else changes it."
        )


def _refuse_half_restored() -> None:
    if fault := pending.fault():
        raise NotPrepared(fault)


def _refuse_newer(applied: list[str]) -> None:
    if unknown := migrations.unknown(applied):
        raise DatabaseTooNew(
            "The database is newer than this version of Cortex "
            f"(it has {unknown[-1]}); install the newer version again or restore a "
            "backup."
        )


def _migrate() -> list[str]:
    applied = migrations.applied()
    _refuse_newer(applied)
    if not migrations.pending():
        return []
    notes = [backup.write(connection)] if applied else []
    call_command("migrate", interactive=False, verbosity=0)
    return notes


def _collected_for_good() -> bool:
    """Say whether an image brought the static files, which only its maker changes.

    Times of files lose their fractions on the way into an image, so that they cannot
    tell there whether something changed.
    """
    stamp = stamp_path()
    return stamp.exists() and not os.access(stamp.parent, os.W_OK)


def collect_static() -> None:
    """Copy static files for the web server when they are not those of the last time."""
    stamp = stamp_path()
    with _alone(stamp.with_suffix(".lock")):
        wanted = _static_fingerprint()
        have = stamp.read_text(encoding="ascii") if stamp.exists() else ""
        if have == wanted and Path(settings.STATIC_ROOT).is_dir():
            return
        call_command(
            "collectstatic", interactive=False, verbosity=0, stdout=io.StringIO()
        )
        stamp.write_text(wanted, encoding="ascii")


def _static_fingerprint() -> str:
    """Return a digest of the source files (path, size, time) and the storage."""
    lines = [repr(settings.STORAGES), str(settings.STATIC_ROOT)]
    for finder in get_finders():
        for path, storage in finder.list(ignore_patterns=None):
            found = os.stat(storage.path(path))
            lines.append(f"{path} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
