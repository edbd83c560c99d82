"""``manage.py restore``: done for real, and everything that it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import secrets
from accounts.models import AuditEvent, User
from channels_app.care import (
    archive,
    backup,
    restore,
    restore_postgresql,
    running,
)
from channels_app.care.archive import DATABASE
from channels_app.care.errors import BadArchive, CareError, RestoreRefused, StillRunning
from channels_app.care.restore import is_empty
from ledger import journal, restores, triggers
from ledger.models import LedgerEntry
from ledger.verify import verify
from routing.models import Host
from tests.support.ledger import book

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
    (aside,) = (installation / "backups").iterdir()
    assert f"What was here before is kept in {aside}." in said
    manifest = archive.read_manifest(aside)
    assert (manifest.ledger_rows, manifest.rows["accounts_user"]) == (4, 2)
    assert {"secret.key", "media/new.txt"} <= manifest.members.keys()

    # And back again, to rows that the first restore gave up.
    report = json.loads(run(str(aside), "--force", "--json"))
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
    monkeypatch.setattr("channels_app.care.restore_sqlite.WAIT_S", 0.1)
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
    (aside,) = (installation / "backups").iterdir()
    assert (aside / path.name).read_bytes().startswith(b"no database")
    assert {"ledger.jsonl", "secret.key", "media"} <= {p.name for p in aside.iterdir()}
    assert LedgerEntry.objects.count() == 2
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
    restore_postgresql.Engine().refuse_others()
    assert schemas() == tables
    assert verify().ok
    # Cut off later, when only the old tables were still to be dropped.
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {restore_postgresql.ASIDE}")
        cursor.execute(f"CREATE TABLE {restore_postgresql.ASIDE}.old (id int)")
    restore_postgresql.Engine().refuse_others()
    assert schemas() == tables


@only_postgresql
def test_missing_pg_restore_is_one_sentence(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(written.parent))
    with nothing_changes(), pytest.raises(RestoreRefused, match="pg_restore was not"):
        restore.restore(written, force=True)
