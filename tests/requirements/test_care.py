"""R27: a backup that is written while Cortex works can be restored and verifies."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections

from accounts.models import User
from channels_app.care import archive
from ledger.models import LedgerEntry
from personas import conversations
from personas.models import Message, Persona
from tests.support.environment import clean_environment
from tests.support.ledger import book
from tests.support.processes import ROOT, Process, ServerProcess, wait_until

Manage = Callable[..., subprocess.CompletedProcess[str]]


class Writer:
    """Books calls and stores messages on a thread of its own until told to stop."""

    def __init__(self, user: User, persona: Persona) -> None:
        self.rounds = 0
        self.fault: BaseException | None = None
        self._user, self._persona = user, persona
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.fault is None, self.fault

    def wait_for_more(self) -> None:
        """Wait until it has written again."""
        wanted = self.rounds + 2
        wait_until(lambda: self.fault or self.rounds >= wanted, what="the writer")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._write()
                self.rounds += 1
        except BaseException as error:  # told by __exit__
            self.fault = error
        finally:
            connections.close_all()

    def _write(self) -> None:
        book(self._user)
        talk = conversations.start_conversation(self._user, self._persona)
        Message.objects.create(
            owner=self._user, conversation=talk, role="user", text=f"{self.rounds}"
        )


@pytest.fixture
def key_file_only(tmp_path: Path) -> Manage:
    """Return how to run a command on a data folder with a key file of its own."""

    def manage(
        folder: Path, *words: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(folder, **variables)
        del environment["CORTEX_SECRET_KEY"]
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return manage


@pytest.mark.slow
@pytest.mark.skipif("'DATABASE_URL' in os.environ", reason="copies a SQLite file")
def test_r27_backup_while_writing_restores_and_verifies(
    transactional_db: None,
    alice: User,
    persona: Persona,
    tmp_path: Path,
    settings: object,
    key_file_only: Manage,
) -> None:
    manage = key_file_only
    database = str(connections["default"].settings_dict["NAME"])
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, here / "media"):
        folder.mkdir(mode=0o700)
    settings.DATA_DIR = here  # type: ignore[attr-defined]
    (here / "media" / "cat.png").write_bytes(b"\x89PNG and a cat")
    saved = tmp_path / "saved.tar.gz"

    with Writer(alice, persona) as writer:
        found = json.loads(
            manage(
                here,
                *("backup", str(saved), "--with-key", "--json"),
                DATABASE_URL=f"sqlite:///{database}",
            ).stdout
        )
        writer.wait_for_more()

    assert 0 < found["ledger_rows"] < LedgerEntry.objects.count()
    done = json.loads(manage(there, "restore", str(saved), "--json").stdout)

    assert done["ledger_ok"] is True
    assert done["ledger_rows"] == found["ledger_rows"]
    assert done["ledger_head"] == found["ledger_head"]
    verified = manage(there, "ledger", "verify").stdout.splitlines()
    assert verified[-1] == f"ok {found['ledger_rows']} rows head {found['ledger_head']}"
    assert "the database was restored at" in verified[0]
    assert (there / "media" / "cat.png").read_bytes() == b"\x89PNG and a cat"
    key = (there / "secret.key").read_text()
    assert key == (here / "secret.key").read_text()
    manifest = archive.read_manifest(saved)
    # The restore itself left one audit event.
    wanted = manifest.rows | {
        "accounts_auditevent": manifest.rows["accounts_auditevent"] + 1
    }
    assert rows_of(there / "cortex.sqlite3") == wanted
    assert manifest.rows["personas_message"] > 0


def rows_of(path: Path) -> dict[str, int]:
    """Count a database's rows by themselves, not by the code under test."""
    base = sqlite3.connect(path)
    try:
        names = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        made_of_others = ("sqlite_", "personas_search_")  # indexes
        tables = [name for (name,) in names if not name.startswith(made_of_others)]
        return {
            name: base.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in tables
        }
    finally:
        base.close()


@pytest.mark.slow
def test_r27_nothing_is_restored_while_cortex_serves(tmp_path: Path) -> None:
    server = ServerProcess("serve", data_dir=tmp_path / "data")
    lock = server.data_dir / "serve.lock"
    Process.start(server)  # it need not be ready
    try:
        wait_until(lambda: lock.exists() and lock.read_text(), what="the lock")
        refused = subprocess.run(
            [sys.executable, "manage.py", "restore", "any.tar.gz", "--force"],
            cwd=ROOT,
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=40,
        )
    finally:
        server.stop()
    assert refused.returncode == 1
    sentence = f"Cortex runs with this data folder (process {server.pid}); stop it"
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.fixture
def two_databases(postgres_url: str) -> Iterator[tuple[str, str]]:
    """Make two empty databases on the real server and return their addresses."""
    names = ("care_here", "care_there")
    with psycopg.connect(postgres_url, autocommit=True) as base:
        for name in names:
            base.execute(f"CREATE DATABASE {name}".encode())
        root = postgres_url.rpartition("/")[0]
        yield f"{root}/{names[0]}", f"{root}/{names[1]}"
        for name in names:
            base.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_r27_postgresql_is_dumped_while_written_and_restored(
    two_databases: tuple[str, str], tmp_path: Path, key_file_only: Manage
) -> None:
    manage = key_file_only
    first, second = two_databases
    here, there = tmp_path / "here", tmp_path / "there"
    saved = tmp_path / "saved.tar.gz"
    manage(here, "prepare", DATABASE_URL=first)
    words = [sys.executable, "-m", "tests.support.ledger_writer", "1000000", "1"]
    environment = clean_environment(here, DATABASE_URL=first)
    writer = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        journal = here / "ledger.jsonl"
        wait_until(
            lambda: journal.exists() and journal.stat().st_size > 20_000,
            within_s=30,
            what="rows",
        )
        backup = ("backup", str(saved), "--with-key", "--json")
        found = json.loads(manage(here, *backup, DATABASE_URL=first).stdout)
        assert writer.poll() is None, "The writer ended before the backup did."
    finally:
        writer.kill()
        writer.wait(10)
    assert found["ledger_rows"] > 0
    restore = ("restore", str(saved), "--json")
    done = json.loads(manage(there, *restore, DATABASE_URL=second).stdout)

    assert done["ledger_ok"] is True
    for name in ("ledger_rows", "ledger_head"):
        assert done[name] == found[name]
    with psycopg.connect(second) as base:
        count = base.execute("SELECT count(*) FROM ledger_ledgerentry").fetchone()
    assert count == (found["ledger_rows"],)
    key = (there / "secret.key").read_text()
    assert key == (here / "secret.key").read_text()
