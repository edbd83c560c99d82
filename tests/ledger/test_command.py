"""``manage.py ledger``."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, User
from ledger import budget_requests, journal, triggers
from ledger.models import Budget, BudgetRequest, LedgerEntry
from ledger.types import Prices
from tests.support.ledger import book, left_nano_usd

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
    assert found == {
        "ok": True,
        "rows": 2,
        "head": head,
        "fault": None,
        "restores": [],
    }


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
    said = run("verify").splitlines()
    assert said[0].startswith("ledger.jsonl says: the database was restored at 2")
    assert said[0].endswith(" and went on from row 1 (line 3).")
    assert said[1].startswith("ok 1 rows")
    assert json.loads(run("restored", "--json"))["id"] == 1
    assert len(journal.path().read_text().splitlines()) == 4


def test_restored_over_a_bad_last_line_is_one_sentence() -> None:
    book()
    with open(journal.path(), "a") as file:
        file.write("{}\n")
    with pytest.raises(CommandError, match="The last line of ledger.jsonl cannot be"):
        call_command("ledger", "restored")


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


OLD_LINE = (
    '{"timestamp":"2025-06-01T12:00:00Z","model":"haiku","success":true,'
    '"elapsed_seconds":1.0,"input_tokens":1,"output_tokens":2,'
    '"estimated_cost_usd":0.25,"prompt_preview":"My plan"}\n'
)


def test_import_tells_what_it_did(alice: User, tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(OLD_LINE * 2)
    assert run("import", str(path), "--user", "alice", "--dry-run").splitlines() == [
        "2 calls would be booked for alice: 0.5 USD, 0 of unknown cost.",
        "0 lines were imported before.",
        "2 previews would be kept, encrypted.",
    ]
    assert not LedgerEntry.objects.exists()
    assert "2 calls booked for alice" in run("import", str(path), "--user", "alice")
    found = json.loads(run("import", str(path), "--json"))
    assert (found["imported"], found["already"], found["dry_run"]) == (0, 2, False)
    assert run("verify").startswith("ok 4 rows")


def test_import_says_how_long_chats_would_wait(alice: User, tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(OLD_LINE * 14_000)
    first, *_ = run("import", str(path), "--dry-run").splitlines()
    assert first == (
        "Chats would wait for about 2 s while it is written; do it while nobody chats."
    )


def test_import_names_each_fault(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(OLD_LINE + "oops\n")
    assert run("import", str(path), code=1).splitlines() == [
        "Line 2: It is not JSON.",
        "Nothing was imported.",
    ]
    found = json.loads(run("import", str(path), "--json", code=1))
    assert found["faults"] == [{"line": 2, "why": "It is not JSON."}]
    with pytest.raises(CommandError, match=r"^The file cannot be read: No such file"):
        run("import", str(tmp_path / "missing"))


def test_budget_set_list_remove(alice: User) -> None:
    assert run("budget", "list") == "There is no budget.\n"
    run("budget", "set", "5", "--period", "month")
    run("budget", "set", "2.50", "--period", "day", "--user", "alice", "--soft")
    run("budget", "set", "20", "--period", "week", "--shared", "--roll-over")
    run("budget", "set", "0.5", "--period", "day", "--background", "--counts-notional")
    book(alice, input_tokens=500_000)
    lines = run("budget", "list").splitlines()
    assert sorted(lines) == [
        "alice: 2.5 USD a day (soft), 0.99997 USD left",
        "each person: 0.5 USD a day for background work (hard, counts subscriptions)",
        "each person: 5 USD a month (hard)",
        "everybody together: 20 USD a week (hard, rolls over), 18.49997 USD left",
    ]
    found = json.loads(run("budget", "list", "--json"))["budgets"]
    (own,) = [each for each in found if each["user"] == "alice"]
    assert own == {
        "budget": "person:day",
        "scope": "person",
        "period": "day",
        "user": "alice",
        "limit_usd": "2.5",
        "hard": False,
        "roll_over": False,
        "counts_notional": False,
        "allowed_usd": "2.5",
        "spent_usd": "1.50003",
        "left_usd": "0.99997",
    }
    run("budget", "set", "3", "--period", "day", "--user", "alice")
    assert "alice: 3 USD a day (hard)" in run("budget", "list")
    run("budget", "remove", "--period", "day", "--user", "alice")
    assert "alice" not in run("budget", "list")
    with pytest.raises(CommandError, match="There is no such budget"):
        run("budget", "remove", "--period", "day", "--user", "alice")
    events = AuditEvent.objects.filter(event__startswith="budget.").order_by("id")
    assert [each.event for each in events] == ["budget.set"] * 5 + ["budget.removed"]


@pytest.mark.parametrize("amount", ["-1", "lots", "nan", "1000001"])
def test_budget_refuses_what_is_no_amount(amount: str) -> None:
    with pytest.raises((CommandError, SystemExit)):
        run("budget", "set", "--period", "day", "--", amount)
    assert not Budget.objects.exists()


def test_budget_grant_and_decline(alice: User) -> None:
    run("budget", "set", "1", "--period", "day")
    budget_requests.ask(alice, 2_000_000_000, "a long night")
    assert run("budget", "list").splitlines()[-1] == (
        "alice asks for 2 USD more (person:day): a long night"
    )
    granted = run("budget", "grant", "alice")
    assert granted == "2 USD more for alice (person:day).\n"
    assert not BudgetRequest.objects.filter(state="open").exists()
    same = ("budget", "grant", "alice", "0.5", "--id", str(uuid.uuid4()), "--json")
    for _ in range(2):
        assert json.loads(run(*same))["granted_usd"] == "0.5"
    assert left_nano_usd(alice) == 3_500_000_000
    with pytest.raises(CommandError, match="has not asked; name an amount"):
        run("budget", "grant", "alice")
    with pytest.raises(CommandError, match="no such budget"):
        run("budget", "grant", "alice", "1", "--budget", "person:week")
    with pytest.raises(CommandError, match="has no open request"):
        run("budget", "decline", "alice")
    budget_requests.ask(alice, 1)
    assert run("budget", "decline", "alice") == "The request of alice is declined.\n"
    assert run("verify").startswith("ok 2 rows")


def test_import_of_something_else_names_the_first_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text("garbage\n" * 300, encoding="utf-8")
    lines = run("import", path, code=1).splitlines()
    assert len(lines) == 22
    assert lines[0].startswith("Line 1: ")
    assert lines[-2:] == ["… and 280 more.", "Nothing was imported."]
