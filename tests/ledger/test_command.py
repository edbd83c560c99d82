"""``manage.py ledger``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, User
from ledger import journal, triggers
from ledger.models import LedgerEntry
from ledger.types import Prices
from tests.support.ledger import book

pytestmark = pytest.mark.django_db(transaction=True)

Tampering = Callable[[], AbstractContextManager[Callable[..., None]]]


def run(*arguments: str, code: int = 0) -> str:
    """Run the command and return what it printed; ``code`` is the exit code."""
    out = io.StringIO()
    try:
        call_command("ledger", *arguments, stdout=out)
    except SystemExit as exit_:
        assert exit_.code == code
    else:
        assert code == 0
    return out.getvalue()


def test_verify_ends_with_rows_and_head() -> None:
    assert run("verify") == f"ok 0 rows head {'0' * 64}\n"
    book()
    head = LedgerEntry.objects.latest("id").hash
    assert run("verify") == f"ok 2 rows head {head}\n"
    found = json.loads(run("verify", "--json"))
    assert found == {"ok": True, "rows": 2, "head": head, "fault": None}


def test_verify_ends_with_the_first_fault(tampering: Tampering) -> None:
    book()
    with tampering() as execute:
        execute(f"UPDATE {triggers.TABLE} SET cost_nano_usd = 0 WHERE id = 2")
    fault = "Row 2 was changed: its content does not give its hash."
    assert run("verify", code=1) == f"{fault}\n"
    found = json.loads(run("verify", "--json", code=1))
    assert (found["ok"], found["rows"], found["fault"]) == (False, 1, fault)


def test_restored_makes_a_lawful_restore_verify(tampering: Tampering) -> None:
    book()
    with tampering() as execute:
        execute(f"DELETE FROM {triggers.TABLE} WHERE id = 2")
    assert "cut" in run("verify", code=1)
    assert run("restored") == "ledger.jsonl now says: restored to row 1.\n"
    assert run("verify").startswith("ok 1 rows")
    assert json.loads(run("restored", "--json"))["id"] == 1
    assert len(journal.path().read_text().splitlines()) == 4


def test_export_writes_only_rows(alice: User) -> None:
    assert run("export") == ""
    book(alice, preview="My plan")
    (line,) = run("export").splitlines()
    assert json.loads(line)["prompt_preview"] == ""
    (own,) = run("export", "--user", "alice", "--json").splitlines()
    assert json.loads(own)["prompt_preview"] == "My plan"
    names, row = run("export", "--format", "csv").splitlines()
    assert names.startswith("timestamp,model,")
    assert row.split(",")[1] == "haiku"


def test_exports_are_audited(alice: User) -> None:
    run("export")
    run("export", "--user", "alice")
    events = AuditEvent.objects.filter(event="ledger.exported").order_by("id")
    assert [event.subject for event in events] == ["everybody", "alice"]


def test_export_of_an_unknown_person_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"^There is no person named “nobody”\.$"):
        run("export", "--user", "nobody")


def test_stats(alice: User, bob: User) -> None:
    assert run("stats") == "all: 0 calls, 0 USD\n"
    book(alice)
    book(alice, prices=Prices(), model_id="mystery")
    book(bob)
    lines = run("stats", "--user", "alice").splitlines()
    assert lines[:3] == [
        "all: 2 calls, 0.00006 USD, 1 of unknown cost",
        "haiku: 1 call, 0.00006 USD",
        "mystery: 1 call, unknown",
    ]
    found: dict[str, Any] = json.loads(run("stats", "--json"))
    assert found["total_calls"] == 3
    assert set(found["by_model"]) == {"haiku", "mystery"}
