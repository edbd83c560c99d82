"""An installation of its own for each test of the care, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accounts import secrets
from accounts.models import User
from channels_app.care import backup
from routing.db_pool import DB_POOL
from routing.models import Host
from tests.support.ledger import book
from tests.support.pools import close_all

KEY = "first-of-this-test-Ax93kLmQ0vRz71TgUwYpBnEd8-sJ"


@pytest.fixture
def installation(
    transactional_db: None,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a data folder with a key file and an empty media folder.

    The database is that of the tests, which nobody else has open.
    """
    folder = tmp_path / "data"
    for path in (folder, folder / "media", folder / "backups"):
        path.mkdir(mode=0o700)
    settings.DATA_DIR = folder
    settings.MEDIA_ROOT = folder / "media"
    monkeypatch.delenv("CORTEX_SECRET_KEY")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = KEY, []
    key_file = folder / "secret.key"
    key_file.write_text(f"{KEY}\n")
    key_file.chmod(0o600)
    close_all(DB_POOL)
    return folder


@pytest.fixture
def written(installation: Path, alice: User) -> Path:
    """Return a backup, with its key, of one person, two rows, a file and a secret."""
    book(alice)
    (installation / "media" / "cat.png").write_bytes(b"a cat")
    Host.objects.create(
        name="H",
        type="local_openai",
        key_encrypted=secrets.encrypt("host_key", "sk-stored"),
    )
    target = installation.parent / "all.tar.gz"
    backup.write(target, with_key=True)
    return target
