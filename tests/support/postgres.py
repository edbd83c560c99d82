"""A real PostgreSQL server for tests, on a free loopback port, in a folder of its own.

PostgreSQL refuses to run as root; there the server runs as the user ``postgres``.
Run as a module it starts a server, prints its address, and stops it at the end of
standard input: ``python -m tests.support.postgres``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import missing
from tests.support.processes import Process, free_port, wait_until

USER = "postgres"


def _as_postgres(command: Sequence[str]) -> list[str]:
    """Return the command as it must be run so that it is not root's."""
    if os.getuid() != 0:
        return list(command)
    runuser = missing.find_program("runuser")
    if runuser is None:
        missing.could_not_run("PostgreSQL as root needs runuser")
    return [runuser, "-u", USER, "--", *command]


class PostgresServer:
    """One server with one empty database ``cortex``; a context manager."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Describe a server that ``networks``, such as 10.1.2.0/30, may reach too."""
        self.networks = tuple(networks)
        # Short, because the server's Unix socket lives there.
        self.folder = Path(tempfile.mkdtemp(prefix="cortex-pg-"))
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The address for ``DATABASE_URL``."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}

    def __enter__(self) -> PostgresServer:
        """Create the cluster and start it, or skip where there is no PostgreSQL."""
        initdb = missing.program("initdb")
        missing.program("postgres")
        if os.getuid() == 0:
            shutil.chown(self.folder, USER)
        subprocess.run(
            _as_postgres(
                [
                    initdb,
                    *("--pgdata", str(self.folder / "data"), "--username", USER),
                    *("--auth", "trust", "--encoding", "UTF8", "--no-locale"),
                    "--no-sync",
                ]
            ),
            env=self._environment,
            cwd=self.folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        with open(self.folder / "data" / "pg_hba.conf", "a", encoding="ascii") as file:
            for network in self.networks:
                file.write(f"host all all {network} trust\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers; also after ``stop``, on the same port."""
        settings = {
            "listen_addresses": "*" if self.networks else "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "200",
        }
        command = [
            missing.program("postgres"),
            *("-D", str(self.folder / "data")),
            *(part for name in settings for part in ("-c", f"{name}={settings[name]}")),
        ]
        self.process = Process(
            _as_postgres(command),
            log_path=self.folder / "log",
            environment=self._environment,
            cwd=self.folder,
        )
        self.process.start()
        wait_until(self._answers, within_s=20, what="PostgreSQL")

    def stop(self) -> None:
        """Stop it at once, ending every connection."""
        if self.process is None:
            return
        pid_file = self.folder / "data" / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
            self.process.wait()
        self.process.kill()
        self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.exit_code is not None:
            raise AssertionError(f"PostgreSQL did not start:\n{self.process.log}")
        ready = "ready to accept connections" in self.process.log
        if not ready:
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


if __name__ == "__main__":
    with PostgresServer() as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
