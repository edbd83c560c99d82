"""``manage.py restore``: put an installation back to what a backup holds.

Nothing is touched before the whole archive was checked and the database of the backup
stands ready beside the present one. Then media, database and key change places; a fault
or a signal on the way changes them back, and where that is cut off ``restore.pending``
tells of it. ``ledger.jsonl`` is not replaced where there is one: it gets a line that
says so (``ledger.restores``), and the ledger is verified at the end. What was there
before is put aside as a backup first.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error, connection

from accounts import audit
from accounts.models import User
from channels_app.care import (
    archive,
    aside,
    interruption,
    migrations,
    pending,
    restore_parts,
    restore_postgresql,
    restore_sqlite,
    running,
)
from channels_app.care.archive import Manifest
from channels_app.care.errors import NotPutBack, RestoreRefused
from channels_app.care.interruption import Interrupted, Signals
from ledger import journal
from ledger.canonical import GENESIS
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
        RestoreRefused: It does not fit, there is something already, or a signal came.
        BackupFailed: What is there could not be put aside.
        NotPutBack: Something failed, and the installation is not as it was before.

    Whatever else is raised, the installation is as it was before.
    """
    with interruption.taken() as signals:
        try:
            return _checked_and_restored(file.absolute(), force, signals)
        except Interrupted as signal:
            raise RestoreRefused(f"The restore was ended by {signal}.") from None


def _checked_and_restored(file: Path, force: bool, signals: Signals) -> RestoreReport:
    with running.stopped(), _staging() as staging:
        _refuse_unfit(archive.read_manifest(file), file)
        manifest = archive.extract(file, staging)
        restore_parts.refuse_no_key(manifest, staging)
        engine = _engine()
        with engine.alone():
            kept = None
            if not is_empty():
                if not force:
                    raise RestoreRefused(
                        "There is an installation here already; --force replaces it "
                        "and puts it aside as a backup first."
                    )
                with_key = restore_parts.replaces_key(manifest)
                kept = aside.put(engine.files(), with_key=with_key)
            signals.hold()
            _clear_left(staging)
            with pending.noted(file, kept):
                report = _restore(manifest, staging, kept, signals)
            report.ledger = _verified()
        aside.remove_old(file)
        return report


def is_empty() -> bool:
    """Say whether nothing of anybody is here: no person, no ledger, no file."""
    if any(path.is_file() for path in Path(settings.MEDIA_ROOT).rglob("*")):
        return False
    if journal.path().exists() and journal.path().stat().st_size:
        return False
    try:
        tables = set(connection.introspection.table_names())
        return not any(
            model._meta.db_table in tables and model._default_manager.exists()
            for model in (User, LedgerEntry)
        )
    except Error:
        return False  # something is there that cannot be read


@contextlib.contextmanager
def _staging() -> Iterator[Path]:
    """Make a folder beside the data, and remove it unless its files are needed."""
    name = tempfile.mkdtemp(prefix=_STAGING, dir=Path(settings.DATA_DIR))
    try:
        yield Path(name)
    except NotPutBack:
        raise
    except BaseException:
        shutil.rmtree(name, ignore_errors=True)
        raise
    shutil.rmtree(name, ignore_errors=True)


def _clear_left(staging: Path) -> None:
    """Remove what a crash left of others, when all that was there is put aside."""
    for left in staging.parent.glob(f"{_STAGING}*"):
        if left != staging:
            shutil.rmtree(left, ignore_errors=True)


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


def _restore(
    manifest: Manifest, staging: Path, kept: Path | None, signals: Signals
) -> RestoreReport:
    """Let all parts change places, or none."""
    database = staging / archive.DATABASE[connection.vendor]
    with (
        _engine().replaced(database, manifest.contents) as migrated,
        restore_parts.media_replaced(staging),
        restore_parts.key_replaced(manifest, staging) as keys,
    ):
        audit.record("backup.restored", created_at=manifest.created_at)
        signals.check()
        with restore_parts.journal_settled(staging / archive.JOURNAL) as notes:
            notes += restore_parts.key_notes(manifest, keys)
            signals.check()
    return RestoreReport(manifest, _NOT_YET, migrated, kept, notes)


_NOT_YET = VerifyResult(False, 0, GENESIS, "The ledger was not verified.")


def _verified() -> VerifyResult:
    """Verify the restored ledger; what keeps that from being done is a fault too."""
    try:
        return verify()
    except (OSError, Error) as error:
        fault = f"It is restored, but could not be verified: {error}."
        return VerifyResult(False, 0, GENESIS, fault)
