"""Hosts of a test: network namespaces, each on a cable of its own to this machine.

A host has its own addresses and interfaces; its cable can be pulled and plugged in
again, and all its processes can be killed at once. Needs root and ``ip`` (iproute2).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from tests.support import missing
from tests.support.processes import wait_until

_numbers: Final = itertools.count()


class NetworkHost:
    """One host; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"cx{os.getpid() % 100_000}-{number}"
        self._cable, self._inside = f"{self.name}a", f"{self.name}b"
        # Cables of four addresses each, in a part of 10.0.0.0/8 that is rarely used.
        start = random.randrange(64) * 4
        network = f"10.213.{os.getpid() % 200 + number}"
        self.network = f"{network}.{start}/30"
        self.gateway, self._own = f"{network}.{start + 1}", f"{network}.{start + 2}"
        """The address of this machine, as the host sees it."""

    def __enter__(self) -> NetworkHost:
        """Make it, or skip where that is not allowed."""
        ip = missing.program("ip")
        if os.getuid() != 0:
            missing.could_not_run("network namespaces need root")
        self._ip = ip
        try:
            self._run("netns", "add", self.name)
        except subprocess.CalledProcessError:
            missing.could_not_run("network namespaces are not allowed here")
        try:
            self._set_up()
        except BaseException:
            self._remove()
            raise
        return self

    def _set_up(self) -> None:
        link = ("link", "add", self._cable, "type", "veth")
        self._run(*link, "peer", "name", self._inside, "netns", self.name)
        self._run("address", "add", f"{self.gateway}/30", "dev", self._cable)
        self.plug_in()
        inside = ("-n", self.name)
        self._run(*inside, "address", "add", f"{self._own}/30", "dev", self._inside)
        self._run(*inside, "link", "set", "lo", "up")
        self._run(*inside, "link", "set", self._inside, "up")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what runs there and remove it."""
        self.kill()
        self._remove()

    def command(self, *words: str) -> list[str]:
        """Return the command that runs ``words`` on this host."""
        return [self._ip, "netns", "exec", self.name, *words]

    def cut_off(self) -> None:
        """Pull the cable."""
        self._run("link", "set", self._cable, "down")

    def plug_in(self) -> None:
        """Plug the cable in (again)."""
        self._run("link", "set", self._cable, "up")

    def kill(self) -> None:
        """End all its processes at once, as a power cut would."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not list(self._pids()), what="the host's processes to end")

    def _pids(self) -> Iterator[int]:
        yield from map(int, self._run("netns", "pids", self.name).split())

    def _remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("link", "delete", self._cable)
        self._run("netns", "delete", self.name)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [self._ip, *words], check=True, capture_output=True, text=True, timeout=20
        )
        return done.stdout
