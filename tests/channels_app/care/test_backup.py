"""``manage.py backup``: what is in the file, and what keeps it from being written."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import AuditEvent, User
from channels_app.care import archive, backup, nightly
from channels_app.care.errors import BackupFailed
from ledger import journal
from ledger.models import LedgerEntry
from tests.support.damage import damaged
from tests.support.environment import clean_environment
from tests.support.ledger import book
from tests.support.processes import ROOT


def run(*words: str) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    call_command("backup", *words, stdout=out)
    return out.getvalue()


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def read(path: Path, name: str) -> bytes:
    with tarfile.open(path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_backup_holds_everything_but_the_key(installation: Path, alice: User) -> None:
    book(alice)
    (installation / "media" / "images").mkdir()
    (installation / "media" / "images" / "cat.png").write_bytes(b"not a real cat")
    target = installation.parent / "all.tar.gz"

    said = run(str(target))

    assert "The key is not inside." in said
    assert f"Keep a copy of {installation / 'secret.key'}" in said
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    database = archive.DATABASE[connection.vendor]
    assert names_in(target) == [
        "manifest.json",
        database,
        "ledger.jsonl",
        "media/images/cat.png",
    ]
    assert read(target, "ledger.jsonl") == journal.path().read_bytes()
    manifest = archive.read_manifest(target)
    head = LedgerEntry.objects.latest("id")
    assert (manifest.ledger_rows, manifest.ledger_head) == (2, head.hash)
    assert manifest.rows["accounts_user"] == 1
    assert manifest.database == connection.vendor
    assert AuditEvent.objects.get(event="backup.written").detail == {"with_key": False}
    # Neither an unfinished file nor a copy of the database is left.
    assert [path.name for path in installation.parent.glob("*all*")] == ["all.tar.gz"]
    assert list((installation / "backups").iterdir()) == []


def test_backup_takes_the_key_when_asked_and_says_so(installation: Path) -> None:
    target = installation.parent / "all.tar.gz"
    said = json.loads(run(str(target), "--with-key", "--json"))
    assert said["with_key"] is True
    assert said["key"].startswith("The key is inside: whoever has this file can read")
    assert read(target, "secret.key") == (installation / "secret.key").read_bytes()
    assert said["ledger_head"] == "0" * 64


def test_backup_says_that_the_key_comes_from_the_environment(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_SECRET_KEY", "x" * 40)
    target = installation.parent / "all.tar.gz"
    assert "it comes from CORTEX_SECRET_KEY" in run(str(target), "--with-key")
    assert "secret.key" not in names_in(target)


def test_backup_replaces_a_file_only_by_force(installation: Path) -> None:
    target = installation.parent / "all.tar.gz"
    target.write_text("precious")
    with pytest.raises(CommandError, match="exists already; --force replaces it"):
        run(str(target))
    assert target.read_text() == "precious"
    run(str(target), "--force")
    assert names_in(target)[0] == "manifest.json"


@pytest.mark.parametrize(
    ("name", "why"),
    [("data", "is a folder; name a file"), ("no/where.tar.gz", "There is no folder")],
)
def test_backup_to_nowhere_is_one_sentence(
    installation: Path, name: str, why: str
) -> None:
    with pytest.raises(BackupFailed, match=why):
        backup.write(installation.parent / name)


def test_two_backups_at_once_are_refused(installation: Path) -> None:
    with (
        backup._alone(installation / "x"),
        pytest.raises(BackupFailed, match="Another backup"),
    ):
        backup.write(installation.parent / "all.tar.gz")
    assert not (installation.parent / "all.tar.gz").exists()


only_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="damages a SQLite file"
)


@only_sqlite
def test_damaged_database_is_no_backup_and_pushes_none_out(
    installation: Path, alice: User, settings: Any
) -> None:
    settings.CORTEX_BACKUP_KEEP = 1
    kept = nightly.run(datetime(2030, 1, 1, tzinfo=UTC))
    with damaged("accounts_user"):
        with pytest.raises(BackupFailed, match="The database is damaged"):
            nightly.run(datetime(2030, 1, 2, tzinfo=UTC))
        assert list((installation / "backups").iterdir()) == [kept]
    nightly.run(datetime(2030, 1, 3, tzinfo=UTC))
    assert not kept.exists()


def test_part_of_a_backup_that_was_cut_off_is_removed_by_the_next(
    installation: Path, tmp_path: Path
) -> None:
    code = (
        "import os, django; django.setup()\n"
        "from channels_app.care import archive, backup\n"
        "backup._copy_database = lambda _: None\n"
        "backup._copy_journal = backup._media_members = lambda *_: []\n"
        "backup._manifest = lambda _: None\n"
        "archive.write = lambda part, *_: (part.write_text('half'), os._exit(9))\n"
        f"backup.write(backup.Path({str(tmp_path / 'usb.tar.gz')!r}))"
    )
    environment = clean_environment(
        installation, DJANGO_SETTINGS_MODULE="cortex_site.settings"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment)
    assert killed.returncode == 9
    (part,) = tmp_path.glob(".usb*")
    assert part.read_text() == "half"
    backup.write(installation.parent / "all.tar.gz")
    assert not part.exists()


@pytest.mark.parametrize("line", ["{}", "[]", '{"id":"x","hash":""}', "nonsense"])
def test_journal_with_a_bad_last_line_is_inside_as_it_is(
    installation: Path, line: str
) -> None:
    book()
    with open(journal.path(), "a") as file:
        file.write(f"{line}\n")
    report = backup.write(installation.parent / "all.tar.gz")
    assert "last line of ledger.jsonl cannot be read. It is inside" in report.notes[0]
    assert read(report.path, "ledger.jsonl") == journal.path().read_bytes()


def test_backup_clears_away_what_a_crash_left(installation: Path) -> None:
    left = installation / "backups" / ".backup-left"
    left.mkdir()
    (left / "database").write_text("old")
    backup.write(installation.parent / "all.tar.gz")
    assert not left.exists()


def test_journal_is_completed_and_cut_after_the_head_of_the_copy(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book()
    journal.path().unlink()  # its lines were not written yet
    copy_database = backup._copy_database

    def and_then_more_is_booked(staging: Path) -> Any:
        found = copy_database(staging)
        book()
        return found

    monkeypatch.setattr(backup, "_copy_database", and_then_more_is_booked)
    report = backup.write(installation.parent / "all.tar.gz")
    assert LedgerEntry.objects.count() == 4
    assert report.manifest.ledger_rows == 2
    lines = read(report.path, "ledger.jsonl").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert report.notes == ()


def test_journal_that_does_not_know_the_head_is_kept_whole_and_named(
    installation: Path,
) -> None:
    book()
    lines = journal.path().read_text().splitlines(keepends=True)
    journal.path().write_text(lines[0] + lines[1].replace('"hash":"', '"hash":"0'))
    report = backup.write(installation.parent / "all.tar.gz")
    assert "manage.py ledger verify" in report.notes[0]
    assert read(report.path, "ledger.jsonl") == journal.path().read_bytes()


def test_file_deleted_meanwhile_and_links_are_left_out(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = installation / "media"
    (media / "kept").write_text("kept")
    (media / "gone").write_text("gone")
    (media / "outside").symlink_to("/etc/hostname")
    link = backup.os.link

    def deleted(source: Path, target: Path) -> None:
        if source.name == "gone":
            source.unlink()
        link(source, target)

    monkeypatch.setattr(backup.os, "link", deleted)
    target = backup.write(installation.parent / "all.tar.gz").path
    assert [name for name in names_in(target) if name.startswith("media")] == [
        "media/kept"
    ]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's program")
def test_missing_pg_dump_is_one_sentence(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installation))
    with pytest.raises(BackupFailed, match="pg_dump was not found; install"):
        backup.write(installation.parent / "all.tar.gz")
