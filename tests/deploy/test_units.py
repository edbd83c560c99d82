"""The units for systemd: what systemd says of them, and what must not change."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from channels_app.jobs import worker
from channels_app.turns import SETTLE_S
from cortex_site import supervisor
from tests.support.missing import could_not_run
from tests.support.proxies import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NAMES = [path.name for path in UNITS]


def read(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path, encoding="utf-8")
    return unit


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_systemd_finds_nothing_wrong(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        could_not_run("systemd-analyze is not installed")
    # It looks for the program, which stands in another folder here.
    program = tmp_path / "python"
    program.symlink_to("/bin/true")
    text = path.read_text(encoding="utf-8")
    start = "%h/cortex/.venv/bin/python"
    assert f"ExecStart={start} manage.py" in text
    unit = tmp_path / path.name
    unit.write_text(text.replace(start, str(program)), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert done.returncode == 0 and not ours, done.stderr


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_a_stop_leaves_the_time_to_drain(path: Path) -> None:
    """A signal to all processes at once would be the second one for the children."""
    service = read(path)["Service"]
    assert service["KillMode"] == "mixed"
    assert "KillSignal" not in service
    needed = supervisor.DRAIN_S + supervisor.PATIENCE_S
    if "worker" in path.name:
        needed = worker.GRACE_S + SETTLE_S + 2 * worker.SEND_GRACE_S
    assert int(service["TimeoutStopSec"]) > needed
    assert service["Type"] == "exec"
    assert service["Restart"] in {"on-failure", "always"}
    assert service["NoNewPrivileges"] == "yes"
    # Programs that write their own machine code, such as Node, are started by Cortex.
    assert "MemoryDenyWriteExecute" not in service


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_programs_of_the_account_are_found(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    given = "Environment=PATH=%h/.local/bin:/usr/local/bin:/usr/bin:/bin\n"
    assert given in text
    # Whoever sets another one in the file has it.
    assert text.index(given) < text.index("EnvironmentFile=")


def test_there_are_a_unit_for_everything_and_one_for_a_worker() -> None:
    commands = [read(path)["Service"]["ExecStart"].split()[-1] for path in UNITS]
    assert sorted(commands) == ["serve", "worker"]
    for path in UNITS:
        assert read(path)["Install"]["WantedBy"] == "default.target"
