"""What a restore replaces is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError
from django.db import connection

from accounts.models import User
from channels_app.care.restore import is_empty
from ledger import journal
from ledger.models import LedgerEntry
from ledger.verify import verify
from tests.support.damage import damaged
from tests.support.restoring import run, same_on_every_database


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="a damaged SQLite file")
def test_damaged_database_is_put_aside_as_it_is(
    installation: Path, written: Path
) -> None:
    path = Path(connection.settings_dict["NAME"])
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(b"no database at all" * 100)
    try:
        with pytest.raises(CommandError, match="--force replaces it"):
            run(str(written))
        run(str(written), "--force")
    except BaseException:
        path.write_bytes(whole)
        raise
    (put,) = (installation / "backups").iterdir()
    assert (put / path.name).read_bytes().startswith(b"no database")
    assert {"ledger.jsonl", "secret.key", "media"} <= {p.name for p in put.iterdir()}
    assert LedgerEntry.objects.count() == 2
    assert verify().ok


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="a damaged SQLite file")
@pytest.mark.parametrize(
    "table", ["accounts_user", "django_migrations", "ledger_ledgerentry"]
)
def test_database_with_a_damaged_page_is_put_aside_as_it_is(
    installation: Path, written: Path, table: str
) -> None:
    (installation / "media" / "cat.png").unlink()
    journal.path().unlink()
    with damaged(table):
        assert not is_empty()
        run(str(written), "--force")
    (put,) = (installation / "backups").iterdir()
    assert put.is_dir()
    assert User.objects.filter(username="alice").exists()
    assert verify().ok


@same_on_every_database
def test_newest_three_of_what_was_put_aside_stay(
    installation: Path, written: Path
) -> None:
    backups = installation / "backups"
    used = written.rename(backups / "before-restore-20200101-000000-000000.tar.gz")
    (backups / "before-restore-20200102-000000-000000").mkdir()
    for day in (3, 4, 5):
        (backups / f"before-restore-2020010{day}-000000-000000.tar.gz").touch()
    run(str(used), "--force")
    *old, new = sorted(path.name[15:23] for path in backups.iterdir())
    assert old == ["20200101", "20200104", "20200105"]
    assert new > "2020"
