"""Backups, and what the supervisor knows of the database without Django."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts import invites
from accounts.models import User
from channels_app.care import dumps
from channels_app.care.errors import BackupFailed
from channels_app.server import backup
from channels_app.server import prepare as server_prepare
from cortex_site import startup
from personas.search import index
from tests.support.environment import clean_environment
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    "change",
    [
        lambda user: None,
        lambda user: user.set_unusable_password(),
        lambda user: setattr(user, "password", ""),
        lambda user: setattr(user, "is_active", False),
        lambda user: setattr(user, "is_superuser", False),
    ],
)
def test_supervisor_and_accounts_agree_on_a_finished_administrator(
    admin_user: User, change: Callable[[User], None]
) -> None:
    change(admin_user)
    admin_user.save()
    with connection.cursor() as cursor:
        cursor.execute(startup.FINISHED_ADMINISTRATOR.replace("%", "%%"), [])
        found = cursor.fetchone() is not None
    assert found == invites.finished_administrator_exists()


def test_google_account_finishes_an_administrator(admin_user: User) -> None:
    admin_user.set_unusable_password()
    admin_user.save()
    admin_user.socialaccount_set.create(provider="google", uid="1")
    assert invites.finished_administrator_exists()
    with connection.cursor() as cursor:
        cursor.execute(startup.FINISHED_ADMINISTRATOR.replace("%", "%%"), [])
        assert cursor.fetchone() is not None


@pytest.mark.django_db(transaction=True)  # tables are changed
def test_the_index_of_search_is_whole_before_anybody_waits(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(server_prepare, "_collected_for_good", lambda: True)
    index.text_index().remove(connection)
    assert index.missing()
    server_prepare.prepare()
    assert not index.missing()


def test_only_the_last_three_backups_stay(tmp_path: Path) -> None:
    source = tmp_path / "source.sqlite3"
    base = sqlite3.connect(source)
    with base:
        base.execute("CREATE TABLE kept (value)")
        base.execute("INSERT INTO kept VALUES (7)")
    base.close()
    other = tmp_path / "mine.sqlite3"
    other.touch()
    for number in range(5):
        dumps.copy_sqlite(str(source), tmp_path / f"{backup.PREFIX}{number}.sqlite3")
        backup._remove_old(tmp_path)
    names = sorted(path.name for path in tmp_path.glob(f"{backup.PREFIX}*"))
    assert names == [f"{backup.PREFIX}{number}.sqlite3" for number in (2, 3, 4)]
    copy = sqlite3.connect(tmp_path / names[-1])
    assert copy.execute("SELECT value FROM kept").fetchall() == [(7,)]
    copy.close()
    assert other.exists()


def test_backup_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="could not be written"):
        dumps.copy_sqlite(str(tmp_path / "missing"), tmp_path / "x.sqlite3")
    assert list(tmp_path.iterdir()) == []


def manage(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_postgresql_is_dumped_before_its_tables_change(
    tmp_path: Path, postgres_url: str
) -> None:
    environment = clean_environment(tmp_path / "data", DATABASE_URL=postgres_url)
    assert "backup" not in manage(environment, "prepare")
    manage(environment, "migrate", "sessions", "zero")
    assert "A backup of the database was written to" in manage(environment, "prepare")
    (dump,) = (tmp_path / "data" / "backups").iterdir()
    assert dump.read_bytes().startswith(b"PGDMP")
    assert "backup" not in manage(environment, "prepare")
    without = {**environment, "PATH": str(tmp_path)}
    manage(environment, "migrate", "sessions", "zero")
    assert "pg_dump was not found" in manage(without, "prepare")
