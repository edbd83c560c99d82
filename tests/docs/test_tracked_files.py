"""What may not stand in the repository, and what vendored files must match."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

VENDOR = ROOT / "static" / "vendor"
# Put together here, so that this file does not contain what it looks for.
HOSTS = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
)
FOLDERS = ("/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/", "/Us" + "ers/")


def tracked() -> list[Path]:
    """Return the files of the repository; skips where there is none."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("this is not a working copy")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def texts() -> list[tuple[str, str]]:
    """Return name and text of each tracked text file outside the vendored ones."""
    result = []
    for path in tracked():
        if VENDOR in path.parents or not path.is_file():
            continue
        data = path.read_bytes()
        if b"\0" not in data:
            result.append((str(path.relative_to(ROOT)), data.decode("utf-8")))
    return result


@pytest.mark.parametrize("needle", [*HOSTS, *FOLDERS])
def test_tracked_files_name_no_package_host_and_no_machine(needle: str) -> None:
    assert not [name for name, text in texts() if needle in text]


def test_tracked_files_hold_no_data_and_no_secret() -> None:
    names = [str(path.relative_to(ROOT)) for path in tracked()]
    assert not [name for name in names if name.startswith(("data/", ".venv/"))]
    assert not [name for name in names if name.endswith((".sqlite3", ".key", ".env"))]
    begin = "-----BEGIN " + "PRIVATE KEY"
    assert not [name for name, text in texts() if begin in text]


def vendored() -> dict[str, str]:
    """Return the checksum of each vendored file as VERSIONS gives it."""
    lines = (VENDOR / "VERSIONS").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[-2]: row[-1] for row in rows}


def test_vendored_files_match_their_checksums() -> None:
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "VERSIONS"
    }
    assert found == vendored()
