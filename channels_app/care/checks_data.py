"""The doctor's checks of what is kept: database, disk, key, ledger, backups."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from accounts import keyfile, secrets
from accounts.models import AuditEvent
from channels_app.care import backup, migrations, nightly
from channels_app.care.findings import Finding, fail, ok, warn
from ledger import journal, triggers
from ledger.models import LedgerEntry

OLDEST_POSTGRESQL: Final = 14
"""Source: Django 5.2 documentation, "Databases", PostgreSQL notes."""
WARN_BYTES: Final = 1_000_000_000
FAIL_BYTES: Final = 200_000_000
BACKUP_WITHIN: Final = timedelta(days=2)
_PREPARE: Final = "Stop Cortex and start it again, or run 'manage.py prepare'."


def database() -> Iterator[Finding]:
    """Check that the database answers, is whole, and has this version's tables."""
    try:
        connection.ensure_connection()
    except Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield fail(
            "database",
            f"The database cannot be used: {reason}.",
            "Look whether its server runs and whether DATABASE_URL is right.",
        )
        return
    yield _sqlite() if connection.vendor == "sqlite" else _postgresql()
    if unknown := migrations.unknown(migrations.applied()):
        yield fail(
            "migrations",
            f"The database is newer than this version: it has {unknown[-1]}.",
            "Install the newer version again, or restore a backup.",
        )
    elif pending := migrations.pending():
        yield fail("migrations", f"{pending} migrations are not applied.", _PREPARE)
    else:
        yield ok("migrations", "All migrations are applied.")


def _sqlite() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA quick_check(1)")
        sound = cursor.fetchone()[0] == "ok"
        cursor.execute("PRAGMA journal_mode")
        mode = str(cursor.fetchone()[0])
    if not sound:
        return fail(
            "database",
            "The SQLite file is damaged.",
            "Stop Cortex and restore a backup (manage.py restore FILE --force).",
        )
    if mode != "wal":
        return warn(
            "database",
            f"SQLite runs in the mode {mode}, in which readers wait for writers.",
            "Keep the data folder on a local disk; others cannot do write-ahead logs.",
        )
    return ok("database", "SQLite answers and the file is whole.")


def _postgresql() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0]).split()[0]
    if int(version.partition(".")[0]) < OLDEST_POSTGRESQL:
        return fail(
            "database",
            f"PostgreSQL {version} is too old.",
            f"Upgrade it to {OLDEST_POSTGRESQL} or newer.",
        )
    return ok("database", f"PostgreSQL {version} answers.")


def disk() -> Iterator[Finding]:
    """Check that there is room where the data is."""
    free = shutil.disk_usage(settings.DATA_DIR).free
    sentence = f"{free / 1e9:.1f} GB are free where the data folder is."
    cure = "Make room, or move the data folder to a larger disk."
    if free < FAIL_BYTES:
        yield fail("disk", sentence, cure)
    elif free < WARN_BYTES:
        yield warn("disk", sentence, cure)
    else:
        yield ok("disk", sentence)


def folder() -> Iterator[Finding]:
    """Check that only the owner can read the data folder and the key."""
    data = Path(settings.DATA_DIR)
    yield _mode("data folder", data, 0o700)
    path = keyfile.key_file()
    if path is None:
        yield ok("key file", "There is none: the key comes from CORTEX_SECRET_KEY.")
    elif not path.exists():
        yield fail(
            "key file",
            f"{path} is missing.",
            "Put the copy of your key there; Cortex would make a new one.",
        )
    else:
        yield _mode("key file", path, 0o600)


def _mode(name: str, path: Path, wanted: int) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return fail(
            name,
            f"{path} has mode {mode:04o}: others on this machine can get at it.",
            f"chmod {wanted:o} {path}",
        )
    return ok(name, f"Only its owner can read {path}.")


def stored_secrets() -> Iterator[Finding]:
    """Check that the present key opens what is stored."""
    unreadable = secrets.first_unreadable()
    if unreadable is None:
        yield ok("secrets", "Stored secrets can be read with the present key.")
        return
    yield fail(
        "secrets",
        f"A stored secret cannot be read with the present key ({unreadable}).",
        "Put the old key into secret.key or CORTEX_SECRET_KEY; without it enter keys "
        "and secrets again.",
    )


def ledger() -> Iterator[Finding]:
    """Check the ledger's triggers, and its head against ``ledger.jsonl``."""
    verify = "Run 'manage.py ledger verify', and see docs/backup.md."
    LedgerEntry.objects.exists()  # before the first migration there is nothing to check
    if missing := triggers.missing(connection):
        sentence = f"The trigger {missing[0]} that protects the ledger is missing."
        yield fail("ledger", sentence, verify)
        return
    # The journal first: every row that it knows by now is in the database.
    try:
        last_id, last_hash = journal.last()
    except (OSError, ValueError):
        yield fail("ledger", "ledger.jsonl cannot be read.", verify)
        return
    stored = LedgerEntry.objects.filter(id=last_id).values_list("hash", flat=True)
    if last_id and stored.first() != last_hash:
        sentence = f"Row {last_id} of ledger.jsonl is not in the database."
        yield fail("ledger", sentence, verify)
        return
    ahead = LedgerEntry.objects.filter(id__gt=last_id).count()
    if ahead and timezone.now() - _newest_row_at() > timedelta(minutes=1):
        yield warn(
            "ledger",
            f"ledger.jsonl lacks the last {ahead} rows.",
            "The worker writes them within ten seconds when it runs: 'manage.py tick'.",
        )
        return
    yield ok("ledger", "It is protected, and ledger.jsonl agrees with its head.")


def _newest_row_at() -> datetime:
    return LedgerEntry.objects.latest("id").created_at


def backup_age() -> Iterator[Finding]:
    """Check that there is a backup that is young enough."""
    newest = _newest_backup_at()
    at = settings.CORTEX_BACKUP_AT
    if newest is None:
        sentence = "There is no backup yet."
    else:
        sentence = f"The newest was written at {newest:%Y-%m-%d %H:%M} UTC."
    if at is None:
        yield ok("backup", f"{sentence} Nightly backups are off.")
        return
    since = newest or nightly.installed_at()
    if since is None or timezone.now() - since <= BACKUP_WITHIN:
        yield ok("backup", f"{sentence} The next one is due at {at:%H:%M} UTC.")
        return
    yield warn(
        "backup",
        sentence,
        "Look whether the worker runs and the disk has room, or write one by hand: "
        "'manage.py backup FILE'.",
    )


def _newest_backup_at() -> datetime | None:
    by_hand = AuditEvent.objects.filter(event="backup.written").order_by("-id")
    found = [
        nightly.last_written_at(),
        by_hand.values_list("created_at", flat=True).first(),
    ]
    for path in backup.folder().glob("*.tar.gz"):
        if not re.match(r"before-restore-|nightly-", path.name):
            found.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return max((moment for moment in found if moment is not None), default=None)
