"""One holder at a time, in one process and in several."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from channels_app.jobs import exclusive
from channels_app.jobs.exclusive import only_one
from cortex_site.env import BASE_DIR
from tests.support.environment import clean_environment

HOLD = """
import sys
import django
django.setup()
from channels_app.jobs import exclusive
from channels_app.jobs.exclusive import only_one
with only_one(sys.argv[1]) as mine:
    print("mine" if mine else "not mine", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that takes the lock, says whether it got it, and keeps it."""

    def __init__(self, name: str, data_dir: Path, **variables: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BASE_DIR,
            env=clean_environment(
                data_dir, DJANGO_SETTINGS_MODULE="cortex_site.settings", **variables
            ),
        )
        assert self._process.stdout
        self.said = self._process.stdout.readline().strip()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    """Processes that are ended after the test."""
    running: list[Holder] = []
    yield running
    for holder in running:
        holder.kill()


def test_there_is_one_holder_of_each_name(db: None) -> None:
    with only_one("a") as first, only_one("a") as second, only_one("b") as other:
        assert (first, second, other) == (True, False, True)
    with only_one("a") as again:
        assert again


def test_a_folder_that_knows_no_locks_is_a_fault_and_no_other_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks"), exclusive._file_lock("a"):
        pytest.fail("nobody may go on as if another one did the work")


def test_it_may_be_left_in_another_thread_and_by_an_error(db: None) -> None:
    taken = only_one("a")
    thread = threading.Thread(target=taken.__enter__)
    thread.start()
    thread.join()
    with only_one("a") as meanwhile:
        assert not meanwhile
    taken.__exit__(None, None, None)
    with pytest.raises(RuntimeError), only_one("a") as mine:
        assert mine
        raise RuntimeError
    with only_one("a") as again:
        assert again


def test_a_killed_process_holds_nothing(holders: list[Holder]) -> None:
    folder = Path(settings.DATA_DIR)
    holders.append(Holder("killed", folder))
    holders.append(Holder("killed", folder))
    assert [each.said for each in holders] == ["mine", "not mine"]
    holders[0].kill()
    holders.append(Holder("killed", folder))
    assert holders[-1].said == "mine"


def test_machines_take_turns_by_the_database(
    postgres_url: str, tmp_path: Path, holders: list[Holder]
) -> None:
    """They share no folder, as on two machines; the one that is killed lets go."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        holders.append(Holder("beat", tmp_path / name, DATABASE_URL=postgres_url))
    assert [each.said for each in holders] == ["mine", "not mine"]
    holders[0].kill()
    holders.append(Holder("beat", tmp_path / "two", DATABASE_URL=postgres_url))
    holders.append(Holder("other", tmp_path / "two", DATABASE_URL=postgres_url))
    assert [each.said for each in holders[2:]] == ["mine", "mine"]


@pytest.mark.django_db
def test_it_is_given_back_before_its_session_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL notices the end of a session a moment later."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's lock has no session")
    ends = []

    def connect(parameters: dict[str, Any]) -> Any:
        session = new_connection(parameters)
        ends.append(session.close)
        session.close = lambda: None
        return session

    new_connection = connection.get_new_connection
    monkeypatch.setattr(connection, "get_new_connection", connect)
    try:
        for _ in range(2):
            with only_one("again") as mine:
                assert mine
    finally:
        for end in ends:
            end()
