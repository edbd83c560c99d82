"""Reserving, closing, correcting."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from ledger import canonical, entries, open_attempts
from ledger.errors import AlreadyClosed, NotReserved
from ledger.models import LedgerEntry, LedgerPreview
from ledger.turn_attempts import charged_to_turns
from ledger.types import Prices, Settlement
from tests.support.ledger import book, make_caller, make_reservation

pytestmark = pytest.mark.django_db


def attempts_before(moment: datetime) -> list[uuid.UUID]:
    """Return the open attempts that were reserved before ``moment``."""
    return [row.attempt_id for row in open_attempts.older_than(moment)]


def test_reserve_writes_what_is_known_before_the_call() -> None:
    reservation = make_reservation(tier=2, attempt_number=3)
    entries.reserve(reservation)
    row = LedgerEntry.objects.get()
    assert row.kind == "reserve"
    assert (row.id, row.previous_hash) == (1, canonical.GENESIS)
    assert row.user_name == "alice"
    assert (row.tier, row.attempt_number, row.billing) == (2, 3, "metered")
    assert row.cost_nano_usd is None
    assert row.reserved_nano_usd == 1000 * 3000 + 100 * 15000
    assert row.hash == canonical.hash_entry(row)


def test_settle_copies_the_reservation_and_prices_the_call() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)
    cost = entries.settle(
        reservation.attempt_id,
        Settlement("complete", 1200, 80, input_tokens=10, output_tokens=2),
    )
    row = LedgerEntry.objects.get(kind="settle")
    assert (cost.cost_nano_usd, cost.estimated) == (10 * 3000 + 2 * 15000, False)
    assert row.cost_nano_usd == cost.cost_nano_usd
    assert (row.model_id, row.user_id, row.role) == ("haiku", 7, "chat")
    assert (row.elapsed_ms, row.first_token_ms) == (1200, 80)
    assert row.previous_hash == LedgerEntry.objects.get(kind="reserve").hash


def test_settle_twice_is_refused_and_the_first_stands() -> None:
    attempt = book(output_tokens=5)
    with pytest.raises(AlreadyClosed):
        entries.settle(attempt, Settlement("failed", 1))
    with pytest.raises(AlreadyClosed):
        entries.release(attempt)
    assert LedgerEntry.objects.exclude(kind="reserve").get().output_tokens == 5


def test_settle_without_a_reservation_is_refused() -> None:
    with pytest.raises(NotReserved):
        entries.settle(uuid.uuid4(), Settlement("complete", 1))
    assert not LedgerEntry.objects.exists()


def test_reserve_twice_is_refused() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)
    with pytest.raises(IntegrityError):
        entries.reserve(reservation)


def test_release_books_nothing_used() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)
    entries.release(reservation.attempt_id, "upstream_unavailable", elapsed_ms=40)
    row = LedgerEntry.objects.get(kind="release")
    assert (row.cost_nano_usd, row.input_tokens, row.output_tokens) == (0, 0, 0)
    assert (row.outcome, row.error_code) == ("failed", "upstream_unavailable")


def test_adjust_adds_a_row_of_differences() -> None:
    attempt = book(input_tokens=10, output_tokens=2)
    entries.adjust(attempt, note="Invoice of May", cost_nano_usd=-500)
    row = LedgerEntry.objects.get(kind="adjust")
    assert (row.cost_nano_usd, row.note) == (-500, "Invoice of May")
    assert row.model_id == "haiku"


def test_adjust_needs_a_closed_attempt() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)
    with pytest.raises(NotReserved):
        entries.adjust(reservation.attempt_id, note="", cost_nano_usd=1)


def test_unknown_tokens_stay_unknown() -> None:
    attempt = book(input_tokens=10, output_tokens=None)
    row = LedgerEntry.objects.get(attempt_id=attempt, kind="settle")
    assert row.output_tokens is None
    assert row.cost_nano_usd is None


def test_impossible_counts_are_booked_as_unknown() -> None:
    attempt = book(input_tokens=10**30, output_tokens=-1)
    row = LedgerEntry.objects.get(attempt_id=attempt, kind="settle")
    assert row.input_tokens is row.output_tokens is row.cost_nano_usd is None


def test_texts_that_a_database_refuses_do_not_lose_the_row() -> None:
    entries.reserve(make_reservation(model_name="a\0b\ud800" + "x" * 300))
    row = LedgerEntry.objects.get()
    assert row.model_name.startswith("ab?x")
    assert len(row.model_name) == 200
    assert row.hash == canonical.hash_entry(row)


def test_preview_is_stored_with_the_reservation_only_when_given() -> None:
    entries.reserve(make_reservation(preview="Hello there"))
    entries.reserve(make_reservation(preview=None))
    row = LedgerPreview.objects.get()
    assert "Hello" not in row.text_encrypted


def test_release_stale_books_a_lost_call_as_unknown() -> None:
    lost = make_reservation()
    entries.reserve(lost)
    assert entries.release_stale(older_than_s=900) == 0
    assert entries.release_stale(older_than_s=-1) == 1
    assert entries.release_stale(older_than_s=-1) == 0
    row = LedgerEntry.objects.get(kind="release")
    assert (row.outcome, row.error_code) == ("interrupted", entries.ABANDONED)
    assert row.cost_nano_usd is None
    assert row.output_tokens is None


def test_release_stale_spares_running_calls_and_costs_nothing_at_home() -> None:
    running, lost = make_reservation(), make_reservation(prices=Prices.local())
    entries.reserve(running)
    entries.reserve(lost)
    alive = {running.caller.turn_id}
    assert entries.release_stale(-1, is_alive=lambda turn: turn in alive) == 1
    row = LedgerEntry.objects.get(kind="release")
    assert (row.attempt_id, row.cost_nano_usd) == (lost.attempt_id, 0)


def test_release_stale_finds_old_attempts_behind_closed_ones() -> None:
    book()
    old = make_reservation()
    entries.reserve(old)
    book()
    later = timezone.now() + timedelta(seconds=1)
    assert attempts_before(later) == [old.attempt_id]
    entries.release(old.attempt_id)
    assert attempts_before(later) == []
    new = make_reservation()
    entries.reserve(new)
    later = timezone.now() + timedelta(seconds=1)
    assert attempts_before(later) == [new.attempt_id]


def test_open_attempts_lists_those_of_one_turn() -> None:
    first = make_reservation()
    entries.reserve(first)
    book()
    assert first.caller.turn_id is not None
    (row,) = entries.open_attempts(first.caller.turn_id)
    assert row.attempt_id == first.attempt_id
    entries.release(first.attempt_id)
    assert entries.open_attempts(first.caller.turn_id) == []


def test_what_was_charged_to_turns_counts_each_paid_call_once() -> None:
    caller = make_caller()
    turns = [caller.turn_id] if caller.turn_id else []
    assert charged_to_turns(turns) == 0
    attempt = book(caller=caller, input_tokens=10, output_tokens=2)
    booked = 10 * 3000 + 2 * 15000
    book(caller=caller, prices=Prices.local(), input_tokens=None)
    book(input_tokens=10, output_tokens=2)  # another turn
    assert charged_to_turns(turns) == booked
    entries.adjust(attempt, note="A credit.", cost_nano_usd=-1000)
    assert charged_to_turns(turns) == booked - 1000


def test_a_call_that_is_open_is_charged_with_its_reservation() -> None:
    reservation = make_reservation()
    turns = [reservation.caller.turn_id] if reservation.caller.turn_id else []
    entries.reserve(reservation)
    assert charged_to_turns(turns) == 1000 * 3000 + 100 * 15000
    assert entries.release_stale(older_than_s=-1) == 1
    assert charged_to_turns(turns) is None
