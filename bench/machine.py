"""The processes of a measurement: start, stop, memory; and the machine's name."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tests.support.processes import ROOT, ServerProcess


class Helper:
    """A module that prints ``ready URL`` and ends with its standard input."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout
        word, self.url = self.popen.stdout.readline().split()
        assert word == "ready"

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it."""
        assert self.popen.stdin
        self.popen.stdin.close()
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()


def journal(upstream: Helper) -> list[dict[str, Any]]:
    """Return the upstream's journal and empty it."""
    with urllib.request.urlopen(f"{upstream.url}/journal") as answer:
        calls: list[dict[str, Any]] = json.load(answer)
    urllib.request.urlopen(
        urllib.request.Request(f"{upstream.url}/journal", method="DELETE")
    ).close()
    return calls


def start_timed(server: ServerProcess) -> float:
    """Start Cortex and return the seconds until ``/health`` answered."""
    started = time.monotonic()
    server.start()
    return time.monotonic() - started


def prepare(server: ServerProcess, upstream: Helper) -> dict[str, Any]:
    """Fill the installation and return what ``bench.prepare`` printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.prepare", upstream.url],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def pss_mb(pid: int) -> float:
    """Return a process's proportional share of memory in MB.

    Source: the Linux manual page proc_pid_smaps(5), ``Pss``.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = next(
        int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
    )
    return kilobytes / 1024


def memory_by_process(server: ServerProcess) -> dict[str, float]:
    """Return MB of each process of Cortex, named by what it was started as."""
    top = psutil.Process(server.pid)
    result: dict[str, float] = {}
    for process in [top, *top.children(recursive=True)]:
        words = process.cmdline()
        name = next((word for word in words if word in {"serve", "web", "worker"}), "")
        name = name or ("model" if "builtin_model" in " ".join(words) else "other")
        result[name] = result.get(name, 0) + pss_mb(process.pid)
    return result


def web_pid(server: ServerProcess) -> int:
    """Return the id of the process that serves pages and sockets."""
    for process in psutil.Process(server.pid).children(recursive=True):
        if "web" in process.cmdline():
            return int(process.pid)
    raise RuntimeError("There is no web process.")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, user and system."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def describe() -> str:
    """Name the machine: cores, processor, memory, system, Python."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gb = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB memory, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )
