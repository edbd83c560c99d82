"""The nightly backup: when it is due, what it leaves and what it removes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.db.migrations.recorder import MigrationRecorder

from channels_app.care import archive, nightly
from cortex_site import env

NOW = datetime(2030, 5, 10, 4, 0, tzinfo=UTC)


@pytest.fixture
def backups(installation: Path, settings: Any) -> Path:
    """Return the folder; the installation is older than ``NOW``."""
    settings.CORTEX_BACKUP_AT = time(3, 30)
    settings.CORTEX_BACKUP_KEEP = 2
    assert MigrationRecorder.Migration.objects.exists()
    return installation / "backups"


def test_backup_is_due_once_a_night_and_missed_ones_once(backups: Path) -> None:
    assert nightly.due(NOW)  # several nights were missed
    path = nightly.run(NOW)
    assert path == backups / "nightly-20300510-040000.tar.gz"
    assert not archive.read_manifest(path).with_key
    assert nightly.last_written_at() == NOW
    assert not nightly.due(NOW + timedelta(minutes=5))
    assert not nightly.due(datetime(2030, 5, 11, 3, 29, 59, tzinfo=UTC))
    assert nightly.due(datetime(2030, 5, 11, 3, 30, tzinfo=UTC))
    # The same moment, said in another zone.
    elsewhere = timezone(timedelta(hours=9))
    assert nightly.due(datetime(2030, 5, 11, 12, 30, tzinfo=elsewhere))
    assert not nightly.due(datetime(2030, 5, 11, 12, 29, tzinfo=elsewhere))


def test_young_installation_owes_no_backup(backups: Path) -> None:
    MigrationRecorder.Migration.objects.update(applied=NOW - timedelta(minutes=10))
    try:
        assert not nightly.due(NOW)
        assert nightly.due(NOW + timedelta(days=1))
    finally:
        MigrationRecorder.Migration.objects.update(applied=datetime.now(UTC))


def test_no_backup_is_due_when_it_is_off(backups: Path, settings: Any) -> None:
    settings.CORTEX_BACKUP_AT = None
    assert not nightly.due(NOW)


def test_only_its_own_backups_beyond_the_retention_are_removed(backups: Path) -> None:
    others = ["nightly-mine.tar.gz", "before-restore-1.tar.gz", "nightly-1.dump"]
    for name in others:
        (backups / name).touch()
    for day in range(3):
        nightly.run(NOW + timedelta(days=day))
    left = sorted(path.name for path in backups.iterdir())
    kept = ["nightly-20300511-040000.tar.gz", "nightly-20300512-040000.tar.gz"]
    assert left == sorted([*others, *kept])


def test_time_of_the_backup_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read() -> time | None:
        return env.time_of_day("CORTEX_BACKUP_AT", "03:30")

    assert read() == time(3, 30)
    for text, value in (("23:05", time(23, 5)), ("off", None), ("", time(3, 30))):
        monkeypatch.setenv("CORTEX_BACKUP_AT", text)
        assert read() == value
    for text in ("24:00", "3", "midnight", "03:30:15"):
        monkeypatch.setenv("CORTEX_BACKUP_AT", text)
        with pytest.raises(env.EnvError, match=re.escape(f"off, not {text!r}.")):
            read()
