"""The commands with which the pages show the API, run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support import missing
from tests.support.processes import ROOT, ServerProcess
from tests.support.seeding import seed
from tests.support.upstream import Upstream

ADDRESS = "http://127.0.0.1:8000"
PYTHON = ".venv/bin/python"
STRICT = 'set -e\ncurl() { command curl --fail --silent --show-error "$@"; echo; }\n'
"""Ends at the first command that fails, also by an HTTP error."""


def commands_of(page: str) -> list[str]:
    """Return the shell blocks of a page that call the API or set up a call."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    return [block for block in blocks if re.search(r"^(?:curl|export) ", block, re.M)]


@pytest.fixture
def server(
    start_server: Callable[..., ServerProcess], upstream: Upstream
) -> ServerProcess:
    """A Cortex in which alice talks to inara, who is answered for by an echo."""
    missing.program("curl")
    running = start_server("serve")
    seed(running, upstream.url, ["echo"], "alice")
    return running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "calls", "shown"),
    [
        (
            "README.md",
            4,
            ["event: turn.finished", '"result": "Name three rivers', '"entries"'],
        ),
        (
            "docs/api.md",
            11,
            [
                "event: turn.finished",
                '"result": "Name three rivers',
                '"status": "queued"',
                '"tasks": [{"id": "queued-',
                '"entries"',
                '"by_date"',
                '"healthy"',
                '"status": "ok"',
                '"object": "list"',
                "data: [DONE]",
            ],
        ),
    ],
)
def test_the_commands_work_as_printed(
    server: ServerProcess, page: str, calls: int, shown: list[str]
) -> None:
    script = "\n".join(commands_of(page))
    assert len(re.findall(r"^curl ", script, re.M)) == calls
    script = script.replace(ADDRESS, server.url).replace(PYTHON, sys.executable)

    done = subprocess.run(
        ["sh", "-c", STRICT + script],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for words in shown:
        assert words in done.stdout, done.stdout
