"""``manage.py restore``: done for real, and everything that it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import secrets
from accounts.models import AuditEvent, User
from channels_app.care import (
    archive,
    aside,
    backup,
    pending,
    restore,
    restore_parts,
    restore_postgresql,
    running,
)
from channels_app.care.archive import DATABASE
from channels_app.care.errors import BadArchive, CareError, RestoreRefused, StillRunning
from channels_app.care.restore import is_empty
from channels_app.server.alone import refuse_unprepared
from cortex_site import startup
from ledger import journal, restores, triggers
from ledger.models import LedgerEntry
from ledger.verify import verify
from routing.models import Host
from tests.support.damage import damaged
from tests.support.environment import clean_environment
from tests.support.ledger import book
from tests.support.processes import ROOT

OTHER_KEY = "another-key-Q7Zk81mVxLw0RtYpCnDs5-uEaBhFgJ2"
same_on_every_database = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="nothing in it asks the database"
)
Member = tuple[tarfile.TarInfo, bytes]


def run(*words: str) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    call_command("restore", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def written(installation: Path, alice: User) -> Path:
    """Return a backup, with its key, of one person, two rows, a file and a secret."""
    book(alice)
    (installation / "media" / "cat.png").write_bytes(b"a cat")
    Host.objects.create(
        name="H",
        type="local_openai",
        key_encrypted=secrets.encrypt("host_key", "sk-stored"),
    )
    target = installation.parent / "all.tar.gz"
    backup.write(target, with_key=True)
    return target


def state() -> dict[str, Any]:
    """Return what must not change when a restore is refused."""
    root = Path(backup.settings.DATA_DIR)
    return {
        "people": list(User.objects.values_list("username", flat=True)),
        "ledger": list(LedgerEntry.objects.values_list("id", "hash")),
        "files": {
            str(path.relative_to(root)): path.read_bytes()
            for path in [*(root / "media").rglob("*"), root / "secret.key"]
            if path.is_file()
        },
        "journal": journal.path().read_bytes(),
        "beside": sorted(p.name for p in root.iterdir() if p.name.startswith(".")),
    }


@contextlib.contextmanager
def nothing_changes() -> Iterator[None]:
    before = state()
    yield
    assert state() == before


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


def rewrite(path: Path, change: Callable[[dict[str, Member]], None]) -> None:
    """Change an archive's members, in order, and write it again."""
    members: dict[str, Member] = {}
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info)
            members[info.name] = (info, file.read() if file else b"")
    change(members)
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members.values():
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)


def edit_manifest(members: dict[str, Member], change: Callable[[Any], None]) -> None:
    info, text = members["manifest.json"]
    found = json.loads(text)
    change(found)
    members["manifest.json"] = (info, json.dumps(found).encode())


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


def test_fault_on_the_way_changes_everything_back(
    installation: Path, written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(bob)
    (installation / "media" / "new.txt").write_text("later")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restores, "mark", full)
    with nothing_changes(), pytest.raises(CommandError, match=r"No space .* changed\."):
        run(str(written), "--force")
    assert verify().ok
    book(bob)
    assert verify().ok


@same_on_every_database
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(("where", "name"), [(restores, "mark"), (archive, "extract")])
def test_signal_on_the_way_changes_everything_back(
    written: Path,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    number: signal.Signals,
) -> None:
    done = getattr(where, name)

    def and_then_a_signal_comes(*words: Any) -> Any:
        result = done(*words)
        signal.raise_signal(number)
        return result

    monkeypatch.setattr(where, name, and_then_a_signal_comes)
    handler = signal.getsignal(number)
    why = f"The restore was ended by {number.name}. Nothing was changed."
    with nothing_changes(), pytest.raises(CommandError, match=re.escape(why)):
        run(str(written), "--force")
    assert signal.getsignal(number) is handler
    assert verify().ok


@same_on_every_database
def test_restore_that_was_killed_is_told_of_until_it_is_done_again(
    installation: Path, written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = connection.settings_dict["NAME"]
    (installation / "media" / "new.txt").write_text("later")
    code = (
        "import os, pathlib, django; django.setup()\n"
        "from channels_app.care import restore\n"
        "restore.restore_parts.restores.mark = lambda: os._exit(9)\n"
        f"restore.restore(pathlib.Path({str(written)!r}), force=True)"
    )
    environment = clean_environment(
        installation,
        DATABASE_URL=f"sqlite:///{name}",
        DJANGO_SETTINGS_MODULE="cortex_site.settings",
    )
    del environment["CORTEX_SECRET_KEY"]
    connection.close()
    words = [sys.executable, "-c", code]
    assert subprocess.run(words, cwd=ROOT, env=environment).returncode == 9

    (put,) = (installation / "backups").glob("before-restore-*")
    told = pending.sentence()
    assert str(written) in told
    assert str(put) in told
    assert [each.sentence for each in pending.look()] == [told]
    monkeypatch.setattr("channels_app.server.lifeline.is_held", lambda: False)
    for start in (refuse_unprepared, lambda: call_command("prepare")):
        with pytest.raises(CommandError, match="was cut off half way"):
            start()
    monkeypatch.setenv("CORTEX_DATA_DIR", str(installation))
    with pytest.raises(startup.CannotStart, match="was cut off half way"):
        startup.check_machine()
    # An attempt that comes to nothing takes away nothing, and says how things are.
    (left,) = installation.glob(".restore-*")
    with pytest.raises(CommandError, match=r"There is no file .* was cut off half way"):
        run("/nofile", "--force")
    assert (left / "old-media" / "new.txt").exists()

    run(str(put), "--force")
    assert User.objects.filter(username="bob").exists()
    assert (installation / "media" / "new.txt").read_text() == "later"
    assert pending.sentence() == ""
    assert not list(installation.glob(".restore-*"))
    assert verify().ok


@same_on_every_database
def test_what_cannot_be_put_back_is_said(
    installation: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(restores, "mark", fails)
    monkeypatch.setattr(restore_parts.os, "truncate", fails)
    with pytest.raises(CommandError, match=r"put back: .*Input.* was cut off half way"):
        run(str(written), "--force")
    assert pending.sentence()


@same_on_every_database
def test_fault_of_the_last_check_is_not_called_no_change(
    written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(restore, "verify", fails)
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("restore", str(written), "--force", stdout=out)
    assert "It is restored, but could not be verified" in out.getvalue()
    assert not User.objects.filter(username="bob").exists()
    assert pending.sentence() == ""


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
def test_journal_that_cannot_be_read_is_kept_beside_the_backups_one(
    installation: Path, written: Path
) -> None:
    book()
    lines = journal.path().read_text().splitlines(keepends=True)
    damaged = lines[0] + "nonsense\n" + "".join(lines[1:])
    journal.path().write_text(damaged)
    said = run(str(written), "--force")
    assert "Line 2 of ledger.jsonl cannot be read. That file is kept as" in said
    (kept,) = (installation / "backups").glob("ledger-*.jsonl")
    assert kept.read_text() == damaged
    assert verify().ok


@pytest.mark.parametrize("both", [False, True])
@same_on_every_database
def test_journal_with_a_bad_last_line_is_kept_and_written_anew(
    installation: Path, alice: User, both: bool
) -> None:
    book(alice)
    target = installation.parent / "all.tar.gz"
    whole = journal.path().read_bytes()
    bad = whole + b"{}\n"
    journal.path().write_bytes(bad if both else whole)
    backup.write(target)
    journal.path().write_bytes(bad)
    said = run(str(target), "--force")
    assert "The last line of ledger.jsonl cannot be read. That file is kept" in said
    assert ("it was made anew" in said) is both
    kept = list((installation / "backups").glob("ledger-*.jsonl"))
    assert [path.read_bytes() for path in kept] == [bad] * (2 if both else 1)
    assert verify().ok
    book(alice)
    assert verify().ok


@same_on_every_database
def test_other_machine_notes_a_restore_by_command(
    installation: Path, written: Path, tmp_path: Path, settings: Any
) -> None:
    book()
    there = tmp_path / "there"
    there.mkdir()
    (there / "ledger.jsonl").write_bytes(journal.path().read_bytes())
    run(str(written), "--force")
    for _ in range(3):  # more rows than the other machine knew
        book()

    settings.DATA_DIR = there
    journal.fill_gaps()
    assert "Row 3 is not the one that ledger.jsonl has" in (verify().fault or "")
    call_command("ledger", "restored", stdout=io.StringIO())
    assert verify().ok
    book()
    assert verify().ok
    assert len(restores.sentences()) == 1


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


# --- PostgreSQL -----------------------------------------------------------------------

only_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="its schemas and programs"
)


def schemas() -> dict[str, int]:
    """Return how many tables each schema has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname NOT IN "
            "('pg_catalog', 'information_schema') GROUP BY 1"
        )
        return dict(cursor.fetchall())


@only_postgresql
def test_dump_that_pg_restore_refuses_changes_nothing(written: Path) -> None:
    def damaged(members: dict[str, Member]) -> None:
        info, data = members["database.dump"]
        data = data[: len(data) // 2]
        members["database.dump"] = (info, data)
        sums = {"size": len(data), "sha256": archive.hashlib.sha256(data).hexdigest()}
        edit_manifest(
            members, lambda found: found["members"].update({"database.dump": sums})
        )

    rewrite(written, damaged)
    tables = schemas()
    with nothing_changes(), pytest.raises(BadArchive, match="pg_restore could not"):
        restore.restore(written, force=True)
    assert schemas() == tables
    assert verify().ok


@only_postgresql
def test_restore_that_was_cut_off_is_put_right_by_the_next(written: Path) -> None:
    tables = schemas()
    restore_postgresql._move_all("public", restore_postgresql.ASIDE)
    assert schemas() == {restore_postgresql.ASIDE: tables["public"]}
    with restore_postgresql.Engine().alone():
        assert schemas() == tables
    assert verify().ok
    # Cut off later, when only the old tables were still to be dropped.
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {restore_postgresql.ASIDE}")
        cursor.execute(f"CREATE TABLE {restore_postgresql.ASIDE}.old (id int)")
    with restore_postgresql.Engine().alone():
        assert schemas() == tables


def insert(session: psycopg.Connection[Any]) -> None:
    session.execute(
        "INSERT INTO django_session VALUES (%s, '', now())", [uuid.uuid4().hex]
    )


@only_postgresql
def test_worker_elsewhere_that_comes_back_meanwhile_loses_no_row(
    written: Path, postgres_session: Callable[[], psycopg.Connection[Any]]
) -> None:
    late = []
    fill = restore_postgresql._fill

    def and_then_a_worker_comes(copy: Path) -> None:
        fill(copy)
        late.append(postgres_session())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            insert(late[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connection.settings_dict, "OPTIONS", {})
            patch.setattr(pending, "sentence", lambda: "")  # of another machine
            with pytest.raises(CommandError, match="The database can only be read"):
                refuse_unprepared()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore_postgresql, "_fill", and_then_a_worker_comes)
        assert "Ledger: ok 2 rows" in run(str(written), "--force")
    # It has to connect again, and then it can write.
    with pytest.raises(psycopg.OperationalError):
        insert(late[0])
    insert(postgres_session())
    assert [each.sentence for each in pending.look()] == []


@only_postgresql
def test_restore_is_refused_when_somebody_connects_before_the_tables_are_moved(
    written: Path,
    postgres_session: Callable[[], psycopg.Connection[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restore_postgresql, "WAIT_S", 0.3)
    put = aside.put

    def and_then_a_worker_comes(*words: Any, **named: Any) -> Path:
        postgres_session()
        return put(*words, **named)

    monkeypatch.setattr(aside, "put", and_then_a_worker_comes)
    with nothing_changes(), pytest.raises(RestoreRefused, match="on every machine"):
        restore.restore(written, force=True)
    insert(postgres_session())


@pytest.fixture
def postgres_session() -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Return how to connect to the database of the tests as another process would."""
    given = connection.settings_dict
    opened = []

    def connect() -> psycopg.Connection[Any]:
        session = psycopg.connect(
            host=given["HOST"],
            port=given["PORT"],
            user=given["USER"],
            password=given["PASSWORD"],
            dbname=given["NAME"],
            autocommit=True,
        )
        opened.append(session)
        return session

    yield connect
    for session in opened:
        session.close()


@only_postgresql
def test_missing_pg_restore_is_one_sentence(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(written.parent))
    with nothing_changes(), pytest.raises(RestoreRefused, match="pg_restore was not"):
        restore.restore(written, force=True)
