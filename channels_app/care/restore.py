"""``manage.py restore``: put an installation back to what a backup holds.

Nothing is touched before the whole archive was checked and the database of the backup
stands ready beside the present one. Then media, database and key change places; a fault
on the way changes them back. ``ledger.jsonl`` is not replaced where there is one: it
gets a line that says so (``ledger.restores``), and the ledger is verified at the end.
What was there before is put aside as a backup first.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection

from accounts import audit, keyfile, secrets
from accounts.models import User
from channels_app.care import (
    archive,
    backup,
    migrations,
    restore_postgresql,
    restore_sqlite,
    running,
)
from channels_app.care.archive import Manifest
from channels_app.care.errors import BackupFailed, RestoreRefused
from ledger import journal, restores
from ledger.journal_reader import JournalFault
from ledger.models import LedgerEntry
from ledger.verify import VerifyResult, verify

_STAGING = ".restore-"


@dataclass(slots=True)
class RestoreReport:
    """What was restored, and what is left to do."""

    manifest: Manifest
    ledger: VerifyResult
    """What ``ledger verify`` says of the restored ledger."""
    migrated: int
    """Migrations that the backup's database lacked."""
    aside: Path | None
    """Where what was there before is kept; ``None`` when there was nothing."""
    notes: list[str]
    """Sentences on what to know and to do next."""


def restore(file: Path, *, force: bool = False) -> RestoreReport:
    """Restore a backup; with ``force`` also over an installation that is in use.

    Raises:
        StillRunning: Cortex runs.
        BadArchive: The file is damaged or was tampered with.
        RestoreRefused: It does not fit, or there is something already.
        BackupFailed: What is there could not be put aside.

    Whatever is raised, the installation is as it was before.
    """
    with running.stopped(), _staging() as staging:
        _refuse_unfit(archive.read_manifest(file), file)
        manifest = archive.extract(file, staging)
        _engine().refuse_others()
        aside = None
        if not is_empty():
            if not force:
                raise RestoreRefused(
                    "There is an installation here already; --force replaces it and "
                    "puts it aside as a backup first."
                )
            aside = _put_aside(with_key=_replaces_key(manifest))
        return _restore(manifest, staging, aside)


def is_empty() -> bool:
    """Say whether nothing of anybody is here: no person, no ledger, no file."""
    if any(path.is_file() for path in Path(settings.MEDIA_ROOT).rglob("*")):
        return False
    if journal.path().exists() and journal.path().stat().st_size:
        return False
    try:
        tables = set(connection.introspection.table_names())
    except DatabaseError:
        return False  # something is there that cannot be read
    for model in (User, LedgerEntry):
        if model._meta.db_table in tables and model._default_manager.exists():
            return False
    return True


@contextlib.contextmanager
def _staging() -> Iterator[Path]:
    """Make a folder beside the data; remove it, and what a crash left of others."""
    folder = Path(settings.DATA_DIR)
    for left in folder.glob(f"{_STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)
    name = tempfile.mkdtemp(prefix=_STAGING, dir=folder)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _engine() -> restore_sqlite.Engine | restore_postgresql.Engine:
    if connection.vendor == "sqlite":
        return restore_sqlite.Engine()
    return restore_postgresql.Engine()


def _refuse_unfit(manifest: Manifest, file: Path) -> None:
    """Refuse what this installation cannot become."""
    if manifest.database != connection.vendor:
        theirs = archive.KIND_NAMES[manifest.database]
        ours = archive.KIND_NAMES[connection.vendor]
        raise RestoreRefused(
            f"{file.name} is a backup of a {theirs} database, and DATABASE_URL names "
            f"{ours}; restore it to an installation on {theirs}."
        )
    if unknown := migrations.unknown(manifest.migrations):
        raise RestoreRefused(
            f"{file.name} is newer than this version of Cortex (it has {unknown[-1]}); "
            "install the newer version to restore it."
        )


# --- what was there -------------------------------------------------------------------


def _put_aside(*, with_key: bool) -> Path:
    """Keep what is there in ``backups/``: as a backup, or as files if it is damaged."""
    stamp = f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    target = backup.folder() / f"{stamp}.tar.gz"
    connection.close()
    try:
        backup.write(target, with_key=with_key)
    except (BackupFailed, DatabaseError, JournalFault, ValueError) as error:
        return _put_files_aside(backup.folder() / stamp, error)
    return target


def _put_files_aside(folder: Path, error: Exception) -> Path:
    """Copy the files as they are, for a database that cannot be read any more."""
    files = _engine().files()
    if not files:
        raise BackupFailed(
            f"What is there could not be put aside, so nothing was changed: {error}"
        ) from None
    folder.mkdir(mode=0o700)
    key = Path(settings.DATA_DIR) / archive.KEY
    for path in [*files, journal.path(), key]:
        if path.exists():
            shutil.copy2(path, folder / path.name)
    shutil.copytree(settings.MEDIA_ROOT, folder / "media", dirs_exist_ok=True)
    return folder


# --- the change of places -------------------------------------------------------------


def _restore(manifest: Manifest, staging: Path, aside: Path | None) -> RestoreReport:
    """Let all parts change places, or none."""
    database = staging / archive.DATABASE[connection.vendor]
    with (
        _engine().replaced(database, manifest.contents) as migrated,
        _media_replaced(staging),
        _key_replaced(manifest, staging) as keys,
    ):
        notes = _settle_journal(staging / archive.JOURNAL)
        audit.record("backup.restored", created_at=manifest.created_at)
    notes += _key_notes(manifest, keys)
    return RestoreReport(manifest, verify(), migrated, aside, notes)


@contextlib.contextmanager
def _media_replaced(staging: Path) -> Iterator[None]:
    """Move files instead of the folder, which may be where a disk is mounted."""
    media = Path(settings.MEDIA_ROOT)
    old, new = staging / "old-media", staging / "media"
    for folder in (media, old, new):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        _move_children(media, old)
    except BaseException:
        _move_children(old, media)
        raise
    try:
        _move_children(new, media)
        yield
    except BaseException:
        _move_children(media, new)
        _move_children(old, media)
        raise


def _move_children(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        shutil.move(path, target / path.name)


def _replaces_key(manifest: Manifest) -> bool:
    return manifest.with_key and keyfile.key_file() is not None


@contextlib.contextmanager
def _key_replaced(manifest: Manifest, staging: Path) -> Iterator[list[str]]:
    """Put the backup's key in its place, if it has one; yield the keys that count."""
    path = keyfile.key_file()
    if path is None or not _replaces_key(manifest):
        yield list(secrets.current_keys())
        return
    before = path.read_text(encoding="ascii").split() if path.exists() else []
    keys = (staging / archive.KEY).read_text(encoding="ascii").split()
    keyfile.write_keys(path, keys)
    try:
        yield keys
    except BaseException:
        keyfile.write_keys(path, before)
        raise


def _settle_journal(copy: Path) -> list[str]:
    """Let ``ledger.jsonl`` say that this restore was lawful.

    The present file goes on, with a line about the restore. The backup's copy takes its
    place only where there is none, or none that can be read.
    """
    path = journal.path()
    if not path.exists() or not path.stat().st_size:
        shutil.copyfile(copy, path)
        path.chmod(0o600)
    try:
        restores.mark()
    except JournalFault as fault:
        kept = backup.folder() / f"ledger-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.jsonl"
        path.replace(kept)
        shutil.copyfile(copy, path)
        path.chmod(0o600)
        restores.mark()
        return [f"{fault} That file is kept as {kept}; the backup's took its place."]
    return []


def _key_notes(manifest: Manifest, keys: list[str]) -> list[str]:
    """Say what is to be done about the key."""
    path = keyfile.key_file()
    notes = []
    if manifest.with_key:
        notes.append(
            "The backup holds a key, which was not put in place, because "
            "CORTEX_SECRET_KEY is set."
            if path is None
            else f"The key came with the backup and is in {path}."
        )
    if secrets.first_unreadable(keys) is None:
        notes.append("Stored secrets can be read with the present key.")
        return notes
    where = "CORTEX_SECRET_KEY" if path is None else str(path)
    notes.append(
        "Stored secrets cannot be read with the present key: put the key of the "
        f"installation that was backed up into {where} before you start Cortex."
    )
    return notes
