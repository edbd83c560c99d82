"""A known environment for every test process, whatever the machine around it has set.

``scrub`` runs before the settings are read and once in each parallel worker;
``clean_environment`` gives the same to processes that a test starts.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

SECRET_KEY = "tests-only-7uR2mQ9xVb4KpZ8sWc3LfYh6Td1NgJa5-eHq0XyVtBn"
"""Strong enough to pass the start-up check, public, and used nowhere else."""

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "SHELL", "TERM", "CI")
"""What a started process may see of this machine."""

BUILTIN_THREADS = "CORTEX_BUILTIN_THREADS"
"""Several threads wait for each other where other tests take the processor."""
CORTEX_PREFIXES = ("CORTEX_", "GOOGLE_CLIENT_")
CORTEX_NAMES = ("HOST", "PORT", "DATABASE_URL", "REDIS_URL", "EMAIL_URL")
PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")
DATABASE_FOR_TESTS = "TEST_DATABASE_URL"
"""Set by the second test run, which uses PostgreSQL."""
SOAK = "TEST_SOAK"
"""Set by ``make soak``: tests that are as long as wanted are long."""
MISSING_REPORT = "TEST_MISSING_REPORT"
"""A file that takes a line for each thing that could not run."""


def is_ours(name: str) -> bool:
    """Say whether a variable would change what Cortex or its clients do."""
    return (
        name.startswith(CORTEX_PREFIXES)
        or name in CORTEX_NAMES
        or name.lower() in PROXY_NAMES
    )


def scrub() -> Path:
    """Clear Cortex's variables, set the tests' own and return the new data folder.

    The folder belongs to this process and is removed when it ends.
    """
    database_url = os.environ.get(DATABASE_FOR_TESTS, "")
    for name in [name for name in os.environ if is_ours(name)]:
        del os.environ[name]
    folder = removed_at_exit(Path(tempfile.mkdtemp(prefix="cortex-test-")))
    os.environ["CORTEX_DATA_DIR"] = str(folder)
    os.environ["CORTEX_SECRET_KEY"] = SECRET_KEY
    os.environ[BUILTIN_THREADS] = "1"
    if database_url:
        os.environ["DATABASE_URL"] = database_url
    return folder


def removed_at_exit(folder: Path) -> Path:
    """Return a folder that goes when this process ends."""
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def clean_environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return the whole environment for a process of its own with ``data_dir``."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept,
        "CORTEX_DATA_DIR": str(data_dir),
        "CORTEX_SECRET_KEY": SECRET_KEY,
        BUILTIN_THREADS: "1",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
