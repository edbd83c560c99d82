"""Whether Cortex serves this data folder, and keeping it from doing so for a while.

``manage.py serve`` holds a lock on a file as long as it runs; the system frees it when
the process dies, however that comes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from channels_app.care.errors import StillRunning


def lock_path() -> Path:
    """Return the file that ``serve`` locks."""
    return Path(settings.DATA_DIR) / "serve.lock"


def is_served() -> bool:
    """Say whether a ``serve`` runs with this data folder."""
    try:
        with open(lock_path(), encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """Keep ``serve`` from starting meanwhile.

    Raises:
        StillRunning: It runs.
    """
    with open(lock_path(), "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StillRunning(
                f"Cortex runs with this data folder (process {holder}); stop it first."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
