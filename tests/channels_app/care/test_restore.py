"""``manage.py restore``: done for real, and everything that it refuses."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection

from accounts import secrets
from accounts.models import AuditEvent, User
from channels_app.care import archive, backup, restore, running
from channels_app.care.archive import DATABASE
from channels_app.care.errors import BadArchive, CareError, RestoreRefused, StillRunning
from channels_app.care.restore import is_empty
from ledger import journal, restores, triggers
from ledger.models import LedgerEntry
from ledger.verify import verify
from routing.models import Host
from tests.support.ledger import book
from tests.support.restoring import (
    Member,
    edit_manifest,
    nothing_changes,
    rewrite,
    run,
    same_on_every_database,
)

OTHER_KEY = "another-key-Q7Zk81mVxLw0RtYpCnDs5-uEaBhFgJ2"


def test_restore_over_an_installation_brings_the_old_one_back(
    installation: Path, written: Path, bob: User
) -> None:
    before = journal.path().read_bytes()
    book(bob)
    (installation / "media" / "cat.png").unlink()
    (installation / "media" / "new.txt").write_text("later")
    (installation / "secret.key").write_text(
        "another-key-Q7Zk81mVxLw0RtYpCnDs5-uEaBhFgJ2\n"
    )

    said = run(str(written), "--force")

    assert list(User.objects.values_list("username", flat=True)) == ["alice"]
    assert LedgerEntry.objects.count() == 2
    media = installation / "media"
    assert [path.name for path in media.iterdir()] == ["cat.png"]
    assert (media / "cat.png").read_bytes() == b"a cat"
    assert "first-of-this-test" in (installation / "secret.key").read_text()
    assert "The key came with the backup" in said
    assert "Stored secrets can be read with the present key." in said
    # The journal goes on: nothing is taken away, and a line says what happened.
    lines = journal.path().read_bytes()
    assert lines.startswith(before)
    mark = json.loads(lines.splitlines()[-1])
    assert (mark["event"], mark["id"], mark["given_up"]) == ("restore", 2, 2)
    head = LedgerEntry.objects.latest("id").hash
    assert said.splitlines()[-1] == f"Ledger: ok 2 rows head {head}"
    assert AuditEvent.objects.filter(event="backup.restored").exists()
    assert not triggers.missing(connection)
    book()
    assert verify().ok
    # What was there before is a backup itself, with the key that was replaced.
    (put,) = (installation / "backups").iterdir()
    assert f"What was here before is kept in {put}." in said
    manifest = archive.read_manifest(put)
    assert (manifest.ledger_rows, manifest.rows["accounts_user"]) == (4, 2)
    assert {"secret.key", "media/new.txt"} <= manifest.members.keys()

    # And back again, to rows that the first restore gave up.
    report = json.loads(run(str(put), "--force", "--json"))
    assert report["ledger_ok"] is True
    assert report["ledger_rows"] == LedgerEntry.objects.count() == 4
    assert User.objects.filter(username="bob").exists()
    assert (installation / "media" / "new.txt").read_text() == "later"
    assert len(restores.sentences()) == 2


def test_restore_into_an_installation_in_use_needs_force(written: Path) -> None:
    with nothing_changes(), pytest.raises(CommandError, match="--force replaces it"):
        run(str(written))


def test_restore_is_refused_while_cortex_runs(written: Path) -> None:
    with open(running.lock_path(), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        assert running.is_served()
        with nothing_changes(), pytest.raises(StillRunning, match=r"\(process 4711\)"):
            restore.restore(written, force=True)
    assert not running.is_served()


def test_restore_is_refused_while_others_have_the_database_open(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("restore_sqlite", "restore_postgresql"):
        monkeypatch.setattr(f"channels_app.care.{engine}.WAIT_S", 0.1)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_user")
        cursor.fetchall()
    try:
        with nothing_changes(), pytest.raises(RestoreRefused, match="stop everything"):
            restore.restore(written, force=True)
    finally:
        other.close()


def test_restore_of_the_other_kind_of_database_is_refused(written: Path) -> None:
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[connection.vendor]

    def changed(members: dict[str, Member]) -> None:
        theirs = DATABASE[connection.vendor]
        edit_manifest(
            members,
            lambda found: found.update(
                database=other,
                members={
                    name.replace(theirs, DATABASE[other]): each
                    for name, each in found["members"].items()
                },
            ),
        )

    rewrite(written, changed)
    with nothing_changes(), pytest.raises(RestoreRefused, match="DATABASE_URL names"):
        restore.restore(written, force=True)


# --- tampered archives ----------------------------------------------------------------


def with_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Any:
    """Return a change that adds a member, named by the manifest too."""

    def change(members: dict[str, Member]) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        edit_manifest(
            members,
            lambda found: found["members"].update(
                {name: {"size": 0, "sha256": archive.hashlib.sha256().hexdigest()}}
            ),
        )
        members[name] = (info, b"")

    return change


def flip(name: str) -> Any:
    def change(members: dict[str, Member]) -> None:
        info, data = members[name]
        members[name] = (info, data[:-1] + bytes([data[-1] ^ 1]))

    return change


def manifest_with(**values: Any) -> Any:
    return lambda members: edit_manifest(members, lambda found: found.update(values))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_member("../outside"), "'../outside' in the backup has a path that leads"),
        (with_member("/etc/cron.d/x"), "'/etc/cron.d/x' in the backup has a path"),
        (with_member("media/../../x"), "has a path that leads elsewhere"),
        (with_member("media\\..\\x"), "has a path that leads elsewhere"),
        (with_member("media/x", tarfile.SYMTYPE, "/etc"), "'media/x' .* is a link"),
        (with_member("media/x", tarfile.LNKTYPE, "secret.key"), "is a link"),
        (with_member("media/x", tarfile.FIFOTYPE), "is a link or no plain file"),
        (with_member("prepared.json"), "'prepared.json' .* nothing that a backup has"),
        (flip("ledger.jsonl"), "'ledger.jsonl' in the backup is not what its manifest"),
        (flip("media/cat.png"), "'media/cat.png' in the backup is not what"),
        (lambda members: members.pop("ledger.jsonl"), "lacks 'ledger.jsonl'"),
        (lambda members: members.pop("manifest.json"), "is no backup of Cortex"),
        (manifest_with(format=2), "has the form 2, which is newer"),
        (manifest_with(members={}), "The manifest of all.tar.gz cannot be read"),
        (
            manifest_with(migrations=["ledger.0099_later"]),
            r"\(it has ledger.0099_later",
        ),
        (manifest_with(database="oracle"), "cannot be read"),
    ],
)
@same_on_every_database
def test_tampered_archives_are_refused_and_nothing_changes(
    written: Path, change: Any, why: str
) -> None:
    rewrite(written, change)
    with nothing_changes(), pytest.raises(CareError, match=why):
        restore.restore(written, force=True)


def test_database_with_other_rows_than_the_manifest_says_is_refused(
    written: Path,
) -> None:
    rewrite(written, manifest_with(rows={"accounts_user": 5}))
    with nothing_changes(), pytest.raises(BadArchive, match="is not what its manifest"):
        restore.restore(written, force=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "There is no file"), (b"no archive", "is damaged, cut short, or no")],
)
def test_files_that_are_no_archive_are_refused(
    installation: Path, text: bytes | None, why: str
) -> None:
    path = installation.parent / "x.tar.gz"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(BadArchive, match=why):
        restore.restore(path)


@same_on_every_database
def test_archive_that_was_cut_short_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[: len(whole) // 2])
    with nothing_changes(), pytest.raises(BadArchive, match="damaged, cut short"):
        restore.restore(written, force=True)


@pytest.mark.parametrize("text", [b"\n", b"", b"\xff" * 40])
@same_on_every_database
def test_backup_with_a_key_file_without_a_key_is_refused(
    written: Path, text: bytes
) -> None:
    def changed(members: dict[str, Member]) -> None:
        members["secret.key"] = (members["secret.key"][0], text)
        digest = archive.hashlib.sha256(text).hexdigest()
        key = {"secret.key": {"size": len(text), "sha256": digest}}
        edit_manifest(members, lambda found: found["members"].update(key))

    rewrite(written, changed)
    with nothing_changes(), pytest.raises(BadArchive, match="holds no key"):
        restore.restore(written, force=True)


# --- special cases --------------------------------------------------------------------


def test_installation_without_anybody_is_empty(installation: Path) -> None:
    assert is_empty()
    (installation / "media" / "x").touch()
    assert not is_empty()


def test_installation_with_a_ledger_file_or_a_person_is_not_empty(
    installation: Path, alice: User
) -> None:
    assert not is_empty()
    alice.delete()
    assert is_empty()
    journal.path().write_text('{"id":1}\n')
    assert not is_empty()


@same_on_every_database
def test_key_that_does_not_fit_is_named(
    installation: Path, alice: User, settings: Any
) -> None:
    Host.objects.create(
        name="H",
        type="local_openai",
        key_encrypted=secrets.encrypt("host_key", "sk-stored"),
    )
    target = installation.parent / "all.tar.gz"
    backup.write(target)
    (installation / "secret.key").write_text(f"{OTHER_KEY}\n")
    settings.SECRET_KEY = OTHER_KEY
    said = run(str(target), "--force")
    assert "Stored secrets cannot be read with the present key" in said
    assert f"into {installation / 'secret.key'} before you start Cortex" in said
    assert "sk-stored" not in said


@same_on_every_database
def test_key_in_the_environment_stays(
    installation: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_SECRET_KEY", "x" * 40)
    (installation / "secret.key").unlink()
    assert "because CORTEX_SECRET_KEY is set" in run(str(written), "--force")
    assert not (installation / "secret.key").exists()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="edits a SQLite file")
def test_older_backup_is_migrated_before_it_takes_the_place(
    installation: Path, written: Path
) -> None:
    def older(members: dict[str, Member]) -> None:
        info, data = members["database.sqlite3"]
        path = installation.parent / "older.sqlite3"
        path.write_bytes(data)
        base = sqlite3.connect(path)
        with base:
            base.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
            base.execute("DROP TABLE django_session")
        base.close()
        data = path.read_bytes()
        members["database.sqlite3"] = (info, data)
        sums = {"size": len(data), "sha256": archive.hashlib.sha256(data).hexdigest()}

        def change(found: Any) -> None:
            found["migrations"] = [
                name for name in found["migrations"] if not name.startswith("sessions.")
            ]
            del found["rows"]["django_session"]
            found["rows"]["django_migrations"] -= 1
            found["members"]["database.sqlite3"] = sums

        edit_manifest(members, change)

    rewrite(written, older)
    said = run(str(written), "--force")
    assert "brought up to date: 1 migrations" in said
    assert "django_session" in connection.introspection.table_names()
