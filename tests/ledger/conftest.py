"""What the ledger's tests share: an own journal, and a way past the triggers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from ledger import triggers


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Any) -> Path:
    """Give each test a ``ledger.jsonl`` of its own."""
    settings.DATA_DIR = tmp_path
    return tmp_path


@contextmanager
def _lifted() -> Iterator[Callable[..., None]]:
    def execute(statement: str, values: list[Any] | None = None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    triggers.remove(connection)
    try:
        yield execute
    finally:
        triggers.install(connection)


@pytest.fixture
def tampering() -> Callable[[], AbstractContextManager[Callable[..., None]]]:
    """Return what an intruder with the database's password can do: raw statements."""
    return _lifted
