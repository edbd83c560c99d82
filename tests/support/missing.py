"""Programs that a test needs and this machine may lack.

A test that cannot run is skipped with a reason that starts with ``MARK``; the run
names them all at its end, and fails when ``CI`` is true, so that a green CI never
hides a part that was not tried.
"""

from __future__ import annotations

import glob
import os
import shutil
from typing import Any, NoReturn

import pytest

from tests.support.environment import MISSING_REPORT

MARK = "could not run: "
EXTRA_FOLDERS = ["/usr/lib/postgresql/*/bin", "/usr/sbin", "/opt/homebrew/bin"]


def could_not_run(reason: str) -> NoReturn:
    """Skip the running test; ``reason`` names what to install."""
    pytest.skip(MARK + reason)


def find_program(*names: str) -> str | None:
    """Return the path of the first program found, also outside the search path."""
    for name in names:
        if path := shutil.which(name):
            return path
        for pattern in EXTRA_FOLDERS:
            for folder in sorted(glob.glob(pattern), reverse=True):
                if path := shutil.which(name, path=folder):
                    return path
    return None


def program(*names: str) -> str:
    """Return the path of a program, or skip the test and have that reported."""
    if path := find_program(*names):
        return path
    could_not_run(f"{names[0]} is not installed")


def _reasons(terminalreporter: Any) -> dict[str, int]:
    """Count the skipped tests per missing thing."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if not isinstance(report.longrepr, tuple):
            continue
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(MARK):
            reason = reason.removeprefix(MARK)
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def report(terminalreporter: Any) -> None:
    """Print one line for each missing thing with the number of tests it cost."""
    counts = _reasons(terminalreporter)
    if counts:
        terminalreporter.section("could not run")
    lines = [f"{count} tests: {reason}" for reason, count in sorted(counts.items())]
    for line in lines:
        terminalreporter.line(line)
    if lines and (path := os.environ.get(MISSING_REPORT)):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def fail_in_ci(session: pytest.Session) -> None:
    """Turn a green run red when something could not run in CI."""
    terminalreporter = session.config.pluginmanager.getplugin("terminalreporter")
    if (
        terminalreporter
        and os.environ.get("CI", "").lower() in {"1", "true"}
        and _reasons(terminalreporter)
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
