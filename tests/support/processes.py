"""Real processes for tests: start, wait until ready, read their log, stop by pid."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import prepared_data
from tests.support.environment import clean_environment

ROOT = Path(__file__).resolve().parent.parent.parent
READY_WITHIN_S = 40
STOPPED_WITHIN_S = 25


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    condition: Callable[[], Any], *, within_s: float = 10, what: str = "it"
) -> Any:
    """Return the first true value of ``condition``, asked every 20 ms."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {within_s} s in vain for {what}.")
        time.sleep(0.02)
    return value


class Process:
    """A child in a process group of its own, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: dict[str, str],
        cwd: Path = ROOT,
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        self.environment = environment
        self.cwd = cwd
        self.popen: subprocess.Popen[bytes] | None = None
        self._log_before = 0

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        assert self.popen is not None, "The process was not started."
        return self.popen.pid

    @property
    def log(self) -> str:
        """Everything it has printed so far, both streams together."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def log_since_start(self) -> str:
        """What it has printed since it was last started."""
        return self.log[self._log_before :]

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, ``None`` while it runs."""
        return self.popen.poll() if self.popen else None

    def start(self) -> None:
        """Start it; output goes to ``log_path``."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_before = len(self.log)
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, within_s: float = STOPPED_WITHIN_S) -> int:
        """Wait for its end and return the exit code."""
        assert self.popen is not None
        return self.popen.wait(within_s)

    def terminate(self, signal_number: int = signal.SIGTERM) -> None:
        """Send a signal to the process alone, as an administrator would."""
        if self.exit_code is None:
            os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """End the whole group at once, as a power cut would."""
        if self.popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(10)

    def stop(self) -> None:
        """End it politely, and by force after a while."""
        if self.popen is None:
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait()
        self.kill()


class ServerProcess(Process):
    """A real ``manage.py serve`` (or ``web``, ``worker``) on a free port."""

    def __init__(
        self,
        command: str = "serve",
        *,
        data_dir: Path,
        variables: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
        first_start: bool = False,
    ) -> None:
        """Describe it; ``first_start`` lets it make its database itself."""
        self.name = command
        self.data_dir = data_dir
        variables = dict(variables or {})
        self._is_laid_out = not first_start and "DATABASE_URL" not in variables
        self.port = int(variables.setdefault("PORT", str(free_port())))
        super().__init__(
            [sys.executable, "manage.py", command, *arguments],
            log_path=data_dir.parent / f"{command}-{self.port}.log",
            environment=clean_environment(data_dir, **variables),
        )

    @property
    def url(self) -> str:
        """Where it answers, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        """The address of the chat socket."""
        return f"ws://127.0.0.1:{self.port}/ws/chat/"

    @property
    def setup_link(self) -> str:
        """The link to set up Cortex that it printed at its last start."""
        return str(
            wait_until(
                lambda: re.findall(
                    r"^Open (http\S+/setup/\S+) to set up Cortex$",
                    self.log_since_start,
                    re.M,
                ),
                what="the setup link",
            )[-1]
        )

    def start(self) -> None:
        """Start it and wait until it answers; commands without a port just start."""
        if self._is_laid_out:
            prepared_data.lay_out(self.data_dir)
        super().start()
        if self.name in {"serve", "web"}:
            self.wait_for_health()

    def wait_for_health(self) -> None:
        """Wait until ``/health`` answers, or fail with the log."""

        def healthy() -> bool:
            if self.exit_code is not None:
                raise AssertionError(f"{self.name} ended early:\n{self.log}")
            return bool(self.health())

        try:
            wait_until(healthy, within_s=READY_WITHIN_S, what=f"{self.name} to answer")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def health(self) -> dict[str, Any] | None:
        """Return what ``/health`` says, or ``None`` when nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                result: dict[str, Any] = json.load(answer)
                return result
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def manage(self, *arguments: str, check: bool = True) -> str:
        """Run another ``manage.py`` command on the same data and return its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} failed:\n{done.stdout}{done.stderr}")
        return done.stdout
