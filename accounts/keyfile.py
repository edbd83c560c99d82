"""The file with the secret keys of an installation that was given none."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from pathlib import Path

from django.conf import settings

from accounts.control import is_own_socket


def key_file() -> Path | None:
    """Return the key file, or None when ``CORTEX_SECRET_KEY`` holds the keys."""
    if os.environ.get("CORTEX_SECRET_KEY", "").strip():
        return None
    return Path(settings.DATA_DIR) / "secret.key"


def new_key() -> str:
    """Return 384 random bits as text."""
    return secrets.token_urlsafe(48)


def write_keys(path: Path, keys: list[str]) -> None:
    """Replace the file in one step, readable for its owner alone."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write("\n".join(keys) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cortex_is_running() -> bool:
    """Say whether a supervisor of this installation answers on its control socket."""
    path = Path(settings.CORTEX_CONTROL_SOCKET)
    if not is_own_socket(path):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
