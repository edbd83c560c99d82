"""The import of Symbiont's ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEvent, User
from ledger import chain, export, journal, previews, statistics, symbiont
from ledger.models import LedgerEntry, LedgerPreview
from ledger.symbiont import ImportReport, import_file
from ledger.symbiont_lines import Fault
from ledger.verify import verify
from tests.support.ledger import book

pytestmark = pytest.mark.django_db(transaction=True)

OLD: dict[str, Any] = {
    "timestamp": "2025-06-01T12:00:00.123456Z",
    "model": "haiku",
    "success": True,
    "elapsed_seconds": 1.25,
    "input_tokens": 812,
    "output_tokens": 64,
    "estimated_cost_usd": 0.000906,
    "prompt_preview": "What is the weather?",
}


def file(*lines: dict[str, Any] | str) -> list[bytes]:
    """Return the lines of a file."""
    return [
        (each if isinstance(each, str) else json.dumps(each)).encode() + b"\n"
        for each in lines
    ]


def test_a_line_becomes_a_closed_call_at_its_own_time(alice: User) -> None:
    book(alice)
    assert import_file(file(OLD), alice) == ImportReport(
        imported=1, cost_nano_usd=906_000, previews=1
    )
    reserve, closing = LedgerEntry.objects.filter(channel="import").order_by("id")
    assert (reserve.kind, closing.kind) == ("reserve", "settle")
    assert reserve.attempt_id == closing.attempt_id
    moment = datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert reserve.created_at == closing.created_at == moment
    assert (closing.user_id, closing.user_name) == (alice.pk, "alice")
    assert (closing.model_id, closing.outcome) == ("haiku", "complete")
    assert (closing.input_tokens, closing.output_tokens) == (812, 64)
    assert (closing.elapsed_ms, closing.cost_nano_usd) == (1250, 906_000)
    assert previews.for_user(alice, [closing.attempt_id]) == {
        closing.attempt_id: "What is the weather?"
    }
    assert verify().ok
    assert len(journal.path().read_text().splitlines()) == 4
    assert "weather" not in journal.path().read_text()


def test_what_comes_out_is_what_went_in(alice: User) -> None:
    import_file(file(OLD), alice)
    (line,) = export.lines("jsonl", alice, owner=alice)
    found = json.loads(line)
    assert {name: found[name] for name in OLD} == OLD
    assert list(found)[:8] == list(OLD)
    days = statistics.by_date(alice)
    assert [day.isoformat() for day in days] == ["2025-06-01"]
    assert list(statistics.breakdown(alice, "channel").by("channel")) == ["import"]


def test_an_import_happens_once_and_a_longer_file_brings_the_rest(alice: User) -> None:
    later = OLD | {"timestamp": "2025-06-02T12:00:00Z"}
    import_file(file(OLD, OLD), alice)
    again = import_file(file(OLD, OLD, later, OLD), alice)
    assert (again.imported, again.already) == (2, 2)
    unchanged = import_file(file("", OLD, later, OLD, OLD))
    assert (unchanged.imported, unchanged.already) == (0, 4)
    assert statistics.totals().calls == 4
    assert verify().ok


def test_spelling_does_not_make_a_line_new(alice: User) -> None:
    import_file(file(OLD))
    spelled = json.dumps(OLD | {"estimated_cost_usd": "0.0009060"}, indent=None)
    reordered = dict(reversed(list(OLD.items())))
    assert import_file(file(spelled)).already == 1
    assert import_file(file(reordered | {"more": [1]})).already == 1


def test_all_lines_or_none_and_each_fault_is_named(alice: User) -> None:
    lines = file(OLD, "{", "", OLD | {"model": None}, OLD | {"input_tokens": "9"})
    report = import_file(lines, alice)
    assert report == ImportReport(
        faults=(
            Fault(2, "It is not JSON."),
            Fault(4, "“model” is missing."),
            Fault(5, "“input_tokens” is no whole number."),
        )
    )
    assert not LedgerEntry.objects.exists()
    assert not LedgerPreview.objects.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"timestamp": None}, "“timestamp” is missing or is no time."),
        ({"timestamp": "yesterday"}, "“timestamp” is missing or is no time."),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "“timestamp” lies in the future."),
        ({"timestamp": "2014-12-31T23:59:59Z"}, "“timestamp” lies before 2015."),
        ({"timestamp": "0001-01-01T00:00:00Z"}, "“timestamp” lies before 2015."),
        ({"model": " "}, "“model” is missing."),
        ({"model": "x" * 201}, "“model” is longer than 200 characters."),
        ({"success": "yes"}, "“success” is neither true nor false."),
        ({"output_tokens": -1}, "“output_tokens” cannot be true: -1."),
        ({"output_tokens": True}, "“output_tokens” is no whole number."),
        ({"input_tokens": 1.5}, "“input_tokens” is no whole number."),
        ({"elapsed_seconds": -1}, "“elapsed_seconds” cannot be true: -1."),
        ({"estimated_cost_usd": "lots"}, "“estimated_cost_usd” is no number."),
        ({"estimated_cost_usd": -0.1}, "“estimated_cost_usd” cannot be true: -0.1."),
        ({"estimated_cost_usd": True}, "“estimated_cost_usd” is no number."),
        ({"estimated_cost_usd": float("nan")}, "It is not JSON."),
        ({"kind": "settle", "hash": "a"}, "It comes from a ledger of Cortex, not of "
         "Symbiont."),
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_refused(change: dict[str, Any], why: str) -> None:
    assert import_file(file(OLD | change)).faults == (Fault(1, why),)


@pytest.mark.parametrize("line", ["[]", "1", "\xff", "[" * 100_000])
def test_what_is_no_object_is_refused(line: str) -> None:
    (fault,) = import_file([line.encode("latin-1")]).faults
    assert fault.line == 1


@pytest.mark.parametrize(
    ("cost", "nano"),
    [
        ("0.000906", 906_000),
        ("9.06e-4", 906_000),
        ("0.00045599999999999997", 456_000),
        ("0.1234567894", 123_456_789),
        ("0.1234567895", 123_456_790),
        ("123456.123456789", 123_456_123_456_789),
        ("0", 0),
        ("null", None),
    ],
)
def test_amounts_are_exact_to_the_nano_dollar(cost: str, nano: int | None) -> None:
    line = json.dumps(OLD).replace("0.000906", cost)
    report = import_file(file(line))
    assert report.unknown_cost == (nano is None)
    assert LedgerEntry.objects.get(kind="settle").cost_nano_usd == nano
    assert statistics.totals().is_unknown == (nano is None)


def test_a_line_may_say_little() -> None:
    import_file(file({"timestamp": "2025-06-01T12:00:00", "model": "opus"}))
    closing = LedgerEntry.objects.get(kind="settle")
    assert closing.created_at == datetime(2025, 6, 1, 12, tzinfo=UTC)
    for name in ("input_tokens", "output_tokens", "elapsed_ms", "cost_nano_usd"):
        assert getattr(closing, name) is None


def test_without_a_person_previews_are_left_out() -> None:
    assert import_file(file(OLD)).previews == 0
    assert not LedgerPreview.objects.exists()
    assert LedgerEntry.objects.filter(user_id=None, user_name="").count() == 2


def test_a_dry_run_writes_nothing(alice: User) -> None:
    report = import_file(file(OLD), alice, dry_run=True)
    assert (report.imported, report.previews) == (1, 1)
    assert not LedgerEntry.objects.exists()
    assert not LedgerPreview.objects.exists()
    assert not AuditEvent.objects.filter(event="ledger.imported").exists()


def test_an_import_is_audited(alice: User) -> None:
    import_file(file(OLD), alice)
    event = AuditEvent.objects.get(event="ledger.imported")
    assert (event.subject, event.detail["calls"]) == ("alice", 1)
    assert "weather" not in str(event.detail)


def test_a_failed_call_and_a_clock_that_is_ahead_are_taken() -> None:
    soon = (timezone.now() + timedelta(hours=1)).isoformat()
    import_file(file(OLD | {"success": False, "timestamp": soon}))
    assert LedgerEntry.objects.get(kind="settle").outcome == "failed"


def test_a_long_file_keeps_one_chain(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbiont, "BATCH", 7)
    book(alice)
    lines = file(*(OLD | {"input_tokens": number} for number in range(300)))
    assert import_file(lines, alice).imported == 300
    assert import_file(lines, alice).already == 300
    book(alice)
    result = verify()
    assert (result.ok, result.rows) == (True, 604), result.fault


def test_a_full_disk_does_not_undo_an_import(
    data_dir: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (data_dir / journal.FILE_NAME).mkdir()
    assert import_file(file(OLD)).imported == 1
    assert "not yet in ledger.jsonl" in caplog.text
    (data_dir / journal.FILE_NAME).rmdir()
    assert journal.fill_gaps() == 2
    assert verify().ok


def test_a_damaged_journal_does_not_undo_an_import(
    data_dir: Any, caplog: pytest.LogCaptureFixture
) -> None:
    journal.path().write_text('{"id": \n')
    assert import_file(file(OLD)).imported == 1
    assert "not yet in ledger.jsonl" in caplog.text
    assert LedgerEntry.objects.count() == 2


def test_what_takes_time_is_done_before_others_have_to_wait(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def watched(work: Any) -> Any:
        def watch(*args: Any) -> Any:
            waited.append(connection.in_atomic_block)
            return work(*args)

        return watch

    monkeypatch.setattr(previews, "seal", watched(previews.seal))
    monkeypatch.setattr(chain, "canonical_values", watched(chain.canonical_values))
    import_file(file(OLD), alice)
    assert waited == [False] * 3
    lines = file(*(OLD | {"input_tokens": number} for number in range(500)))
    with CaptureQueriesContext(connection) as seen:
        import_file(lines, alice)
    statements = [each["sql"] for each in seen]
    begun = next(i for i, sql in enumerate(statements) if sql.startswith("BEGIN"))
    assert len(statements) - begun < 20


def test_two_imports_at_once_book_each_line_once(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = chain.lock

    def after_another() -> None:
        monkeypatch.setattr(chain, "lock", lock)
        import_file(file(OLD), alice)
        lock()

    monkeypatch.setattr(chain, "lock", after_another)
    later = OLD | {"timestamp": "2025-06-02T12:00:00Z"}
    report = import_file(file(OLD, later), alice)
    assert (report.imported, report.already) == (1, 1)
    assert statistics.totals().calls == 2
    assert verify().ok
