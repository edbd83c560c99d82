"""A data folder as the first start leaves it, laid out without making its tables anew.

Preparing a database takes longer than starting a server, and most tests of running
servers want one that is ready. What they get is what ``manage.py prepare`` made.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.environment import clean_environment, removed_at_exit

ROOT = Path(__file__).resolve().parent.parent.parent
_STAMP = "from cortex_site import startup as s; s.write_stamp(s.code_fingerprint())"
_LEFT_OUT = shutil.ignore_patterns("*.lock", "*-wal", "*-shm")


def lay_out(data_dir: Path) -> None:
    """Fill a data folder that does not exist or is empty; leave any other as it is."""
    if data_dir.exists() and any(data_dir.iterdir()):
        return
    shutil.copytree(_prepared(), data_dir, ignore=_LEFT_OUT, dirs_exist_ok=True)
    data_dir.chmod(0o700)


@functools.cache
def _prepared() -> Path:
    """Prepare a folder once in each process of the tests."""
    folder = removed_at_exit(Path(tempfile.mkdtemp(prefix="cortex-prepared-")))
    environment = clean_environment(folder / "data")
    for words in (["manage.py", "prepare", "--json"], ["-c", _STAMP]):
        subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=60,
        )
    return folder / "data"
