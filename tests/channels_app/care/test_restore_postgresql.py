"""``manage.py restore`` on PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connection

from channels_app.care import archive, aside, pending, restore, restore_postgresql
from channels_app.care.errors import BadArchive, RestoreRefused
from channels_app.server.alone import refuse_unprepared
from ledger.verify import verify
from tests.support.restoring import Member, edit_manifest, nothing_changes, rewrite, run

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
