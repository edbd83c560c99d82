"""The nightly backup: when it is due, and writing it.

The heartbeat asks ``due``, which looks at file names and at most at one row, and calls
``run``. A night that was missed is made up for once; with several missed nights there
is one backup. The key is never inside: these files stand beside it anyway.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone

from channels_app.care import backup

_NAME = re.compile(r"nightly-(\d{8}-\d{6})\.tar\.gz")
_STAMP = "%Y%m%d-%H%M%S"


def due(now: datetime) -> bool:
    """Say whether the backup of the last night is missing.

    An installation that is younger than that night owes none.
    """
    slot = _last_slot(now)
    if slot is None:
        return False
    written = last_written_at() or installed_at()
    return written is not None and written < slot


def run(now: datetime | None = None) -> Path:
    """Write the backup, remove those beyond the retention, and return its place.

    Raises:
        BackupFailed: It could not be written; older ones stay.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    target = backup.folder() / f"nightly-{moment:{_STAMP}}.tar.gz"
    backup.write(target, overwrite=True)
    for _, path in _written()[: -settings.CORTEX_BACKUP_KEEP]:
        path.unlink(missing_ok=True)
    return target


def last_written_at() -> datetime | None:
    """Return when the newest nightly backup was begun; ``None`` without one."""
    found = _written()
    return found[-1][0] if found else None


def _written() -> list[tuple[datetime, Path]]:
    """Return the nightly backups, oldest first; other files are no concern of ours."""
    found = []
    for path in backup.folder().glob("nightly-*.tar.gz"):
        if match := _NAME.fullmatch(path.name):
            moment = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
            found.append((moment, path))
    return sorted(found)


def _last_slot(now: datetime) -> datetime | None:
    """Return when a backup was last due; ``None`` when none ever is."""
    at = settings.CORTEX_BACKUP_AT
    if at is None:
        return None
    now = now.astimezone(UTC)
    slot = now.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return slot if slot <= now else slot - timedelta(days=1)


def installed_at() -> datetime | None:
    """Return when the first tables were made."""
    rows = MigrationRecorder.Migration.objects
    first: datetime | None = rows.aggregate(first=Min("applied"))["first"]
    return first
