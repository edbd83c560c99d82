"""What checks a submission: ``.ci/run``, and what ``make`` installs for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAMP = Path("node_modules", ".installed")


def test_ci_takes_a_part_that_could_not_run_for_a_failure(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text("test:\n\t@echo CI is $$CI\n")
    done = subprocess.run(
        [tmp_path / ".ci" / "run"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "CI is true\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with the programs that ``make`` needs, and no npm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "make", "grep", "sed", "mkdir", "touch"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def make_stamp(folder: Path, programs: Path) -> bool:
    """Run the rule in a copy of the project; say whether it left its stamp."""
    for name in ("Makefile", "package-lock.json"):
        shutil.copy(ROOT / name, folder)
    subprocess.run(
        [programs / "make", "PYTHON=python3", str(STAMP)],
        cwd=folder,
        env={"PATH": str(programs)},
        check=True,
        timeout=60,
    )
    return (folder / STAMP).exists()


def test_npm_that_comes_later_is_used(tmp_path: Path, programs: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert not make_stamp(project, programs)
    npm = programs / "npm"
    npm.write_text("#!/bin/sh\n")
    npm.chmod(0o755)
    assert make_stamp(project, programs)
