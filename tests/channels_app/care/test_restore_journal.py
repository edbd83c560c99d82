"""``ledger.jsonl`` in a restore."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import User
from channels_app.care import backup
from ledger import journal, restores
from ledger.verify import verify
from tests.support.ledger import book
from tests.support.restoring import run, same_on_every_database


@same_on_every_database
def test_journal_that_cannot_be_read_is_kept_beside_the_backups_one(
    installation: Path, written: Path
) -> None:
    book()
    lines = journal.path().read_text().splitlines(keepends=True)
    damaged = lines[0] + "nonsense\n" + "".join(lines[1:])
    journal.path().write_text(damaged)
    said = run(str(written), "--force")
    assert "Line 2 of ledger.jsonl cannot be read. That file is kept as" in said
    (kept,) = (installation / "backups").glob("ledger-*.jsonl")
    assert kept.read_text() == damaged
    assert verify().ok


@pytest.mark.parametrize("both", [False, True])
@same_on_every_database
def test_journal_with_a_bad_last_line_is_kept_and_written_anew(
    installation: Path, alice: User, both: bool
) -> None:
    book(alice)
    target = installation.parent / "all.tar.gz"
    whole = journal.path().read_bytes()
    bad = whole + b"{}\n"
    journal.path().write_bytes(bad if both else whole)
    backup.write(target)
    journal.path().write_bytes(bad)
    said = run(str(target), "--force")
    assert "The last line of ledger.jsonl cannot be read. That file is kept" in said
    assert ("it was made anew" in said) is both
    kept = list((installation / "backups").glob("ledger-*.jsonl"))
    assert [path.read_bytes() for path in kept] == [bad] * (2 if both else 1)
    assert verify().ok
    book(alice)
    assert verify().ok


@same_on_every_database
def test_other_machine_notes_a_restore_by_command(
    installation: Path, written: Path, tmp_path: Path, settings: Any
) -> None:
    book()
    there = tmp_path / "there"
    there.mkdir()
    (there / "ledger.jsonl").write_bytes(journal.path().read_bytes())
    run(str(written), "--force")
    for _ in range(3):  # more rows than the other machine knew
        book()

    settings.DATA_DIR = there
    journal.fill_gaps()
    assert "Row 3 is not the one that ledger.jsonl has" in (verify().fault or "")
    call_command("ledger", "restored", stdout=io.StringIO())
    assert verify().ok
    book()
    assert verify().ok
    assert len(restores.sentences()) == 1
