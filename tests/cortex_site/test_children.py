"""Restarting with back-off, without waiting for it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from cortex_site import children
from cortex_site.children import Backoff, Child, Lifeline, describe_exit


def test_backoff_doubles_up_to_thirty_seconds() -> None:
    backoff = Backoff()
    assert [backoff.delay_s(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_backoff_begins_again_after_a_healthy_life() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.delay_s(1)
    assert backoff.delay_s(60) == 1
    assert backoff.delay_s(59.9) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit 0"),
        (3, "exit 3"),
        (-9, "SIGKILL"),
        (-15, "SIGTERM"),
        (-99, "signal 99"),
    ],
)
def test_exit_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


async def test_child_is_started_again_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_DELAY_S", 0.0)
    monkeypatch.setattr(children, "LONGEST_DELAY_S", 0.0)
    log = tmp_path / "starts"
    program = (
        "import sys, time\n"
        f"with open({str(log)!r}, 'a') as file: file.write('x')\n"
        f"if len(open({str(log)!r}).read()) >= 3: time.sleep(60)\n"
    )
    child = Child("it", [sys.executable, "-c", program], Lifeline())
    running = asyncio.create_task(child.run())
    while not log.exists() or len(log.read_text()) < 3:
        await asyncio.sleep(0.01)
    child.stop()
    await asyncio.wait_for(running, 5)
    assert child.pid is None
    assert log.read_text() == "xxx"


async def test_child_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(children, "LONGEST_DELAY_S", 0.01)
    program = tmp_path / "program"
    child = Child("it", [str(program)], Lifeline())
    running = asyncio.create_task(child.run())
    while "not started: No such file" not in caplog.text:
        await asyncio.sleep(0.01)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    async with asyncio.timeout(10):
        while child.pid is None:
            await asyncio.sleep(0.01)
    child.stop()
    await asyncio.wait_for(running, 5)


async def test_stop_while_waiting_for_a_restart_ends_at_once() -> None:
    child = Child("it", [sys.executable, "-c", "raise SystemExit(1)"], Lifeline())
    running = asyncio.create_task(child.run())
    while child.pid is None:
        await asyncio.sleep(0.01)
    while child.pid is not None:
        await asyncio.sleep(0.01)
    child.stop()
    await asyncio.wait_for(running, 0.9)  # the back-off would be a second


async def test_child_has_a_session_of_its_own_and_a_lifeline() -> None:
    program = (
        "import os, sys; fd = int(os.environ['CORTEX_LIFELINE_FD']);"
        "os.fstat(fd); sys.exit(0 if os.getsid(0) == os.getpid() else 7)"
    )
    lifeline = Lifeline()
    child = Child("it", [sys.executable, "-c", program], lifeline)
    running = asyncio.create_task(child.run())
    while child._process is None or child._process.returncode is None:
        await asyncio.sleep(0.01)
    assert child._process.returncode == 0
    child.stop()
    await running


async def test_stubborn_child_can_be_killed() -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    child = Child("it", [sys.executable, "-c", program], Lifeline())
    running = asyncio.create_task(child.run())
    while child.pid is None:
        await asyncio.sleep(0.01)
    child.stopping = True
    child.signal(signal.SIGKILL)
    await asyncio.wait_for(running, 5)
