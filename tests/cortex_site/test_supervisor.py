"""``manage.py serve`` as people meet it: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.environment import clean_environment
from tests.support.processes import ROOT, ServerProcess, free_port, wait_until

StartServer = Callable[..., ServerProcess]
HEAVY = ("django", "channels", "twisted", "daphne", "aiohttp", "psycopg")


def children(server: ServerProcess) -> dict[str, int]:
    """Return the numbers of the supervisor's children by their command."""
    found = {}
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.Error):
            if command := child.cmdline():  # a zombie has none
                found[command[-1]] = child.pid
    return found


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def serve(data_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``serve`` to its end, which must come by itself."""
    variables.setdefault("PORT", str(free_port()))
    return subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=clean_environment(data_dir, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Check that the command failed with one line that holds ``words``."""
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).strip().count("\n") == 0


# --- what it loads -------------------------------------------------------------------


def test_supervisor_loads_no_framework() -> None:
    code = (
        "import sys, cortex_site.supervisor; "
        f"print([m for m in sys.modules if m.split('.')[0] in {HEAVY}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


# --- refusals ------------------------------------------------------------------------


def test_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = serve(tmp_path / "data", PORT=str(port))
    assert_one_sentence(done, f"Port {port} on 127.0.0.1 is already in use")


def test_data_folder_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = serve(tmp_path / "file" / "data")
    assert_one_sentence(done, "cannot be used")


def test_a_command_before_the_first_start_says_what_makes_the_tables(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "users", "list"],
        cwd=ROOT,
        env=clean_environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert_one_sentence(done, "run “manage.py prepare”")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "eighty", "PORT must be a whole number"),
        ("CORTEX_SECRET_KEY", "secret", "CORTEX_SECRET_KEY is too weak"),
        ("CORTEX_PUBLIC_URL", "chat.example.org", "CORTEX_PUBLIC_URL must look like"),
        ("CORTEX_LOG", "loud", "CORTEX_LOG must be one of text, json"),
        ("CORTEX_TRUSTED_PROXIES", "proxy", "neither an address"),
        ("DATABASE_URL", "oracle://x", "DATABASE_URL must begin with"),
        ("DATABASE_URL", "postgres://u:pw@127.0.0.1:1/x", "database cannot be used"),
        ("EMAIL_URL", "carrier-pigeon:", "EMAIL_URL must look like"),
        ("REDIS_URL", "http://127.0.0.1", "REDIS_URL must begin with"),
    ],
)
def test_setting_that_cannot_work_is_one_sentence(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    assert_one_sentence(serve(tmp_path / "data", **{name: value}), words)


def test_database_newer_than_the_code_is_one_sentence(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    environment = clean_environment(data_dir)
    command = [sys.executable, "manage.py", "prepare"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    base = sqlite3.connect(data_dir / "cortex.sqlite3")
    with base:
        base.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('ledger', '0999_future', '2030-01-01')"
        )
    base.close()
    before = (data_dir / "cortex.sqlite3").read_bytes()
    assert_one_sentence(serve(data_dir), "ledger.0999_future")
    assert (data_dir / "cortex.sqlite3").read_bytes() == before


def test_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "cortex.sqlite3").write_bytes(b"no database " * 1000)
    assert_one_sentence(serve(data_dir), "file is not a database")


# --- a life --------------------------------------------------------------------------


def test_first_start_second_start_and_ctrl_c(start_server: StartServer) -> None:
    server = start_server(first_start=True)
    first = server.setup_link
    assert first.startswith(f"{server.url}/setup/")
    assert oct(server.data_dir.stat().st_mode)[-3:] == "700"
    wait_until(lambda: {"web", "worker"} <= set(children(server)), what="children")

    # A second one on the same folder is refused, whatever its port.
    assert_one_sentence(serve(server.data_dir), f"(process {server.pid})")

    # Ctrl-C reaches the whole foreground group; only the supervisor acts on it.
    pids = children(server).values()
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert all(gone(pid) for pid in pids)
    assert "Traceback" not in server.log
    assert not (server.data_dir / "control.sock").exists()

    again = start_server(PORT=str(server.port))
    wait_until(lambda: again.setup_link != first, what="a new link")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(first)
    assert caught.value.code == 410
    caught.value.close()
    with urllib.request.urlopen(again.setup_link) as page:
        assert page.status == 200


def test_dead_children_are_started_again(start_server: StartServer) -> None:
    server = start_server(first_start=True)
    wait_until(lambda: {"web", "worker"} <= set(children(server)), what="children")
    before = children(server)
    for name in ("web", "worker"):
        os.kill(before[name], signal.SIGKILL)
    wait_until(
        lambda: (
            set(before.values()).isdisjoint(children(server).values())
            and {"web", "worker"} <= set(children(server))
        ),
        what="new children",
    )
    server.wait_for_health()
    assert "web ended (SIGKILL); starting it again in 1 s" in server.log


def test_children_do_not_outlive_a_killed_supervisor(
    start_server: StartServer,
) -> None:
    server = start_server(first_start=True)
    wait_until(lambda: {"web", "worker"} <= set(children(server)), what="children")
    pids = list(children(server).values())
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in pids), what="the children's end")
    # What it left behind does not keep the next one from starting.
    start_server(PORT=str(server.port))


def test_signal_while_preparing_ends_it(tmp_path: Path) -> None:
    server = ServerProcess(data_dir=tmp_path / "data", first_start=True)
    super(ServerProcess, server).start()
    try:
        wait_until(lambda: children(server), what="prepare")
        server.terminate(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.log
    finally:
        server.kill()


def test_tables_of_a_used_database_are_backed_up_before_they_change(
    start_server: StartServer,
) -> None:
    server = start_server(first_start=True)
    server.stop()
    server.manage("migrate", "sessions", "zero")
    again = start_server(first_start=True)
    backups = list((server.data_dir / "backups").iterdir())
    assert [path.suffix for path in backups] == [".sqlite3"]
    assert f"A backup of the database was written to {backups[0]}." in again.log
    assert oct(backups[0].stat().st_mode)[-3:] == "600"
