"""A real Redis server for tests, on a free loopback port, keeping nothing."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from tests.support import missing
from tests.support.processes import Process, free_port, wait_until


class RedisServer:
    """One server in a folder of its own; a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cortex-redis-"))
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The address for ``REDIS_URL``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:
        """Start it, or skip where there is no Redis."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers; also after ``stop``, on the same port."""
        binary = missing.program("redis-server", "valkey-server")
        self.process = Process(
            [
                binary,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            ],
            log_path=self.folder / "log",
            environment={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            cwd=self.folder,
        )
        self.process.start()
        wait_until(self._answers, what="Redis")

    def stop(self) -> None:
        """Stop it, as an outage would."""
        if self.process:
            self.process.kill()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
