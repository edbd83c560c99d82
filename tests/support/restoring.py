"""Running restores in tests, and changing the archives that they read."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from ledger import journal
from ledger.models import LedgerEntry

Member = tuple[tarfile.TarInfo, bytes]


def run(*words: str) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    call_command("restore", *words, stdout=out)
    return out.getvalue()


def state() -> dict[str, Any]:
    """Return what must not change when a restore is refused."""
    root = Path(settings.DATA_DIR)
    return {
        "people": sorted(User.objects.values_list("username", flat=True)),
        "ledger": sorted(LedgerEntry.objects.values_list("id", "hash")),
        "files": {
            str(path.relative_to(root)): path.read_bytes()
            for path in [*(root / "media").rglob("*"), root / "secret.key"]
            if path.is_file()
        },
        "journal": journal.path().read_bytes(),
        "beside": sorted(p.name for p in root.iterdir() if p.name.startswith(".")),
    }


@contextlib.contextmanager
def nothing_changes() -> Iterator[None]:
    before = state()
    yield
    assert state() == before


def rewrite(path: Path, change: Callable[[dict[str, Member]], None]) -> None:
    """Change an archive's members, in order, and write it again."""
    members: dict[str, Member] = {}
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info)
            members[info.name] = (info, file.read() if file else b"")
    change(members)
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members.values():
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)


def edit_manifest(members: dict[str, Member], change: Callable[[Any], None]) -> None:
    info, text = members["manifest.json"]
    found = json.loads(text)
    change(found)
    members["manifest.json"] = (info, json.dumps(found).encode())


same_on_every_database = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="nothing in it asks the database"
)
