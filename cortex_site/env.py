"""Typed readers for environment variables, shared by the settings and the supervisor.

Imports nothing outside the standard library, so that the supervisor stays small.
Every reader raises ``EnvError`` with one sentence that names the variable.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

EMAIL_SCHEMES = frozenset(
    {
        "console",
        "dummy",
        "dummymail",
        "file",
        "memory",
        "smtp",
        "smtp+ssl",
        "smtp+tls",
        "smtps",
        "submission",
    }
)
BASE_DIR = Path(__file__).resolve().parent.parent


class EnvError(ValueError):
    """A setting cannot be used; the text is one sentence for the person who set it."""


def text(name: str, default: str = "") -> str:
    """Return the variable, stripped; an empty value counts as unset."""
    return os.environ.get(name, "").strip() or default


def integer(name: str, default: int, *, low: int = 0, high: int = 2**31) -> int:
    """Return the variable as a whole number between ``low`` and ``high`` inclusive."""
    raw = text(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        raise EnvError(f"{name} must be a whole number, not {raw!r}.") from None
    if not low <= value <= high:
        raise EnvError(f"{name} must be between {low} and {high}, not {value}.")
    return value


def dollars(name: str) -> Decimal | None:
    """Return an amount of dollars from 0 to a million; ``None`` where it is unset."""
    raw = text(name)
    if not raw:
        return None
    try:
        value = Decimal(raw)
    except InvalidOperation:
        value = Decimal("NaN")
    if not (value.is_finite() and 0 <= value <= 1_000_000):
        raise EnvError(
            f"{name} must be an amount of dollars such as 0.50, not {raw!r}."
        )
    return value


def flag(name: str, default: bool = False) -> bool:
    """Return the variable as yes or no (1, true, yes, on / 0, false, no, off)."""
    raw = text(name, "1" if default else "0").lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise EnvError(f"{name} must be 1 or 0, not {raw!r}.")


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Return the variable, which must be one of ``allowed``."""
    raw = text(name, default)
    if raw not in allowed:
        raise EnvError(f"{name} must be one of {', '.join(allowed)}, not {raw!r}.")
    return raw


def time_of_day(name: str, default: str) -> time | None:
    """Return a time such as 03:30; ``None`` for ``off``."""
    raw = text(name, default)
    if raw == "off":
        return None
    try:
        return datetime.strptime(raw, "%H:%M").time()
    except ValueError:
        raise EnvError(
            f"{name} must be a time such as 03:30, or off, not {raw!r}."
        ) from None


def words(name: str, default: str = "") -> list[str]:
    """Return a comma-separated list without empty entries, in the order given."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


@dataclass(frozen=True, slots=True)
class Address:
    """Where Cortex listens and the address people use."""

    host: str
    port: int
    public_url: str
    """Scheme, host and port without a trailing slash."""
    hostname: str
    """The host name of ``public_url``."""

    @property
    def https(self) -> bool:
        """Whether people reach Cortex by https."""
        return self.public_url.startswith("https://")

    @property
    def allowed_hosts(self) -> list[str]:
        """Host names that requests may carry; loopback names stand for each other."""
        loopback = ["127.0.0.1", "localhost", "[::1]"]
        if self.hostname in {"127.0.0.1", "localhost", "::1"}:
            return loopback
        return [self.hostname]

    @property
    def origins(self) -> list[str]:
        """Origins (scheme, host, port) that pages of this installation have."""
        parts = urlsplit(self.public_url)
        port = f":{parts.port}" if parts.port else ""
        return [f"{parts.scheme}://{name}{port}" for name in self.allowed_hosts]


def address() -> Address:
    """Read ``HOST``, ``PORT`` and ``CORTEX_PUBLIC_URL``."""
    host = text("HOST", "127.0.0.1")
    port = integer("PORT", 8000, low=1, high=65535)
    public_url = text("CORTEX_PUBLIC_URL", f"http://127.0.0.1:{port}").rstrip("/")
    try:
        parts = urlsplit(public_url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.path
        _ = parts.port
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise EnvError(
            "CORTEX_PUBLIC_URL must look like https://chat.example.org "
            f"(no path), not {public_url!r}."
        )
    return Address(host, port, public_url.lower(), str(parts.hostname).lower())


def database_url() -> str:
    """Return ``DATABASE_URL``; "" stands for the SQLite file in the data folder.

    The address itself is never repeated in an error: it may hold a password.
    """
    url = text("DATABASE_URL")
    scheme = url.partition(":")[0]
    known = scheme in {"sqlite", "postgres", "postgresql"} and _has_usable_port(url)
    if url and not known:
        raise EnvError(
            "DATABASE_URL must begin with postgres:// (postgres://user:password@host/"
            "name) or sqlite:/// (sqlite:////path/to/file)."
        )
    return url


def email_url() -> str:
    """Return ``EMAIL_URL``; without one, mails are written to the console."""
    url = text("EMAIL_URL", "console:")
    if url.partition(":")[0] not in EMAIL_SCHEMES or not _has_usable_port(url):
        raise EnvError(
            "EMAIL_URL must look like smtps://user:password@host:465, "
            "smtp+tls://user:password@host:587 or console:."
        )
    return url


def _has_usable_port(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def data_dir() -> Path:
    """Return ``CORTEX_DATA_DIR``: database, keys, media, backups."""
    return Path(text("CORTEX_DATA_DIR", str(BASE_DIR / "data"))).expanduser().resolve()


def control_socket() -> Path:
    """Return where the supervisor listens for its children.

    Unix socket addresses hold at most 107 bytes, so a long data folder gets a socket
    in a folder of this account within the temporary folder, named after the data
    folder. ``XDG_RUNTIME_DIR`` would not do: commands run by cron do not have it.
    """
    path = data_dir() / "control.sock"
    if len(os.fsencode(path)) <= 100:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cortex-{os.getuid()}" / f"{digest}.sock"


def recall_socket() -> Path:
    """Return where the worker answers questions about what messages mean.

    With a data folder whose path is too long for an address nobody listens there.
    """
    return data_dir() / "recall.sock"


def prepare_data_dir() -> Path:
    """Create the data folder for its owner alone and return it."""
    os.umask(0o077)
    path = data_dir()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("media", "backups"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvError(
            f"The data folder {path} cannot be used: {error.strerror}."
        ) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise EnvError(f"The data folder {path} cannot be written.")
    return path


def secret_keys() -> list[str]:
    """Return the secret keys, newest first; the first signs and encrypts.

    ``CORTEX_SECRET_KEY`` holds one key or several separated by commas; without it
    the file ``secret.key`` in the data folder holds one a line, made on first use.
    """
    given = words("CORTEX_SECRET_KEY")
    if not given:
        path = prepare_data_dir() / "secret.key"
        try:
            with open(path, "x", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(48) + "\n")
        except FileExistsError:
            pass
        given = path.read_text(encoding="ascii").split()
    for key in given:
        if len(key) < 32 or len(set(key)) < 10 or "insecure" in key:
            raise EnvError(
                "CORTEX_SECRET_KEY is too weak: use at least 32 random characters, "
                "for example from `openssl rand -base64 48`."
            )
    if not given:
        raise EnvError("The file secret.key in the data folder is empty.")
    return given
