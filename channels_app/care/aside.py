"""What a restore replaces is kept first: as a backup, or as files if it is damaged.

The newest three stay. They hold every conversation, and the key where it was replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import Error, connection

from channels_app.care import archive, backup
from channels_app.care.errors import BackupFailed
from ledger import journal
from ledger.journal_reader import JournalFault

KEPT: Final = 3
PREFIX: Final = "before-restore-"


def put(files: Sequence[Path], *, with_key: bool) -> Path:
    """Keep what is there in ``backups/`` and return where.

    Args:
        files: Those of the database, for one that cannot be read any more.
        with_key: Whether the key is going to be replaced too.

    Raises:
        BackupFailed: It cannot be kept.
    """
    stamp = f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    target = backup.folder() / f"{stamp}.tar.gz"
    connection.close()
    try:
        backup.write(target, with_key=with_key)
    except (BackupFailed, Error, JournalFault, ValueError) as error:
        return _put_files(backup.folder() / stamp, files, error)
    return target


def _put_files(folder: Path, files: Sequence[Path], error: Exception) -> Path:
    """Copy the files as they are, for a database that cannot be read any more."""
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


def remove_old(used: Path) -> None:
    """Remove all but the newest; ``used``, which was just restored, stays too."""
    for path in sorted(backup.folder().glob(f"{PREFIX}*"))[:-KEPT]:
        if path.resolve() == used.resolve():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
