"""What the supervisor checks before it starts anything, without loading Django.

``check_machine`` refuses what cannot work with one sentence. ``prepared`` tells whether
the last ``manage.py prepare`` still holds (same code, same settings, a database with
exactly the migrations it had), so that a second start needs no process for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sqlite3
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cortex_site import env

STAMP = "prepared.json"
"""File in the data folder: what the last successful ``prepare`` found."""
APPS = ("accounts", "ledger", "routing", "personas", "channels_app")
FINISHED_ADMINISTRATOR = """
SELECT 1 FROM accounts_user AS person
WHERE is_superuser AND is_active AND (
    (password <> '' AND password NOT LIKE '!%')
    OR EXISTS (SELECT 1 FROM socialaccount_socialaccount WHERE user_id = person.id)
) LIMIT 1
"""
"""What ``accounts.invites.finished_administrator_exists`` asks, without Django."""
SETTINGS_OF_A_RUN = frozenset({"PORT", "HOST", "CORTEX_LOG"})
"""Variables that change nothing of what ``prepare`` does."""


class CannotStart(Exception):
    """Cortex cannot start; the text is one sentence for the person who tried."""


def check_machine() -> env.Address:
    """Refuse an old Python, unusable settings, a closed data folder and a used port.

    Returns:
        Where Cortex will listen.

    Raises:
        CannotStart: with the sentence to print.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - older ones may well try
        found = ".".join(map(str, sys.version_info[:3]))
        raise CannotStart(f"Cortex needs Python 3.11 or newer; this is Python {found}.")
    try:
        address = env.address()
        env.choice("CORTEX_LOG", "text", ("text", "json"))
        env.integer("CORTEX_BUILTIN_THREADS", 0, high=512)
        folder = env.prepare_data_dir()
        env.secret_keys()
        env.database_url()
    except (env.EnvError, OSError) as error:
        raise CannotStart(str(error)) from None
    _check_restored(folder)
    _check_writable(folder)
    _check_port(address)
    return address


def _check_restored(folder: Path) -> None:
    """Refuse what a restore that was cut off has left; its file says what to do."""
    path = folder / "restore.pending"
    if path.exists():
        raise CannotStart(path.read_text(encoding="utf-8").strip())


def _check_writable(folder: Path) -> None:
    """Write for real: permissions say nothing about a full or read-only disk."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"The data folder {folder} cannot be written: {error.strerror}."
        ) from None


def _check_port(address: env.Address) -> None:
    where = f"Port {address.port} on {address.host}"
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise CannotStart(f"HOST={address.host} is not an address here.") from None
    family, kind, protocol, _, target = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen(1)
        except PermissionError:
            raise CannotStart(
                f"{where} may not be used by this account; set PORT to 1024 or higher."
            ) from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise CannotStart(
                    f"HOST={address.host} is not an address of this machine."
                ) from None
            raise CannotStart(
                f"{where} is already in use; stop the other program or set PORT "
                "to a free one."
            ) from None


# --- what prepare left behind ---------------------------------------------------------


def code_fingerprint() -> str:
    """Return a digest of everything in the code and settings that ``prepare`` acts on.

    Migrations of Cortex by name, installed packages by name and version (their
    migrations and static files come with them), ``settings.py`` by its text, our static
    files by path, size and time of change, the settings by value.
    """
    digest = hashlib.sha256()
    for app in APPS:
        for path in sorted((env.BASE_DIR / app / "migrations").glob("*.py")):
            digest.update(f"{app}/{path.name}\n".encode())
    packages = Path(sysconfig.get_path("purelib"))
    for path in sorted(packages.glob("*.dist-info")):
        digest.update(f"{path.name}\n".encode())
    digest.update((env.BASE_DIR / "cortex_site" / "settings.py").read_bytes())
    for root, directories, names in os.walk(env.BASE_DIR / "static"):
        directories.sort()
        for name in sorted(names):
            found = os.stat(os.path.join(root, name))
            line = f"{root}/{name} {found.st_size} {found.st_mtime_ns}\n"
            digest.update(line.encode())
    for name in sorted(os.environ):
        ours = name.startswith("CORTEX_") or name in {"DATABASE_URL", "REDIS_URL"}
        if ours and name not in SETTINGS_OF_A_RUN:
            digest.update(f"{name}={os.environ[name]}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What can be told about the database without Django."""

    migrations: str
    """Digest of the applied migrations."""
    administrator: bool
    """Whether an active person administers; without one a setup link is due."""


def database_state() -> DatabaseState | None:
    """Look into the SQLite file; None where only Django can answer.

    That is so for PostgreSQL, and for a file that is missing, locked or damaged:
    ``manage.py prepare`` then finds out and says why.
    """
    url = env.database_url()
    if url and not url.startswith("sqlite:"):
        return None
    path = Path(unquote(urlsplit(url).path[1:])) if url else _default_database()
    try:
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
    except sqlite3.Error:
        return None
    try:
        rows = base.execute(
            "SELECT app, name FROM django_migrations ORDER BY app, name"
        ).fetchall()
        person = base.execute(FINISHED_ADMINISTRATOR).fetchone()
    except sqlite3.Error:
        return None
    finally:
        base.close()
    lines = "\n".join(f"{app}.{name}" for app, name in rows)
    return DatabaseState(hashlib.sha256(lines.encode()).hexdigest(), bool(person))


def _default_database() -> Path:
    return env.data_dir() / "cortex.sqlite3"


def write_stamp(code: str) -> None:
    """Remember that ``prepare`` succeeded.

    Args:
        code: What ``code_fingerprint`` said before it ran.
    """
    state = database_state()
    if state is None:
        return
    path = env.data_dir() / STAMP
    part = path.with_suffix(".part")
    stamp = {"code": code, "migrations": state.migrations}
    part.write_text(json.dumps(stamp), encoding="ascii")
    part.replace(path)


def prepared() -> DatabaseState | None:
    """Return the state of the database when the last ``prepare`` still holds."""
    try:
        stamp = json.loads((env.data_dir() / STAMP).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    state = database_state()
    if state is None or not isinstance(stamp, dict):
        return None
    if not (env.BASE_DIR / "staticfiles").is_dir():
        return None
    same = stamp.get("migrations") == state.migrations
    return state if same and stamp.get("code") == code_fingerprint() else None
