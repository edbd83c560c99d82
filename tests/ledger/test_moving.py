"""A person's rows of the ledger move to another installation."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import User
from ledger import chain, entries, moving, moving_in, previews
from ledger.errors import AlreadyClosed
from ledger.models import LedgerEntry, LedgerPreview
from ledger.turn_attempts import charged_to_turns, cost_of_turns
from ledger.verify import verify
from tests.support.ledger import book

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2026, 3, 1, 9, tzinfo=UTC)


def lines_of(user: User) -> list[dict[str, Any]]:
    return [json.loads(line) for line in moving.lines_of(user)]


def bring(
    lines: list[dict[str, Any]],
    user: User,
    *,
    turns: moving_in.Turns = lambda named: {},
    **options: Any,
) -> moving_in.Moved:
    return moving_in.import_lines(
        lambda: (json.dumps(line).encode() for line in lines),
        user,
        turns=turns,
        personas={},
        **options,
    )


@pytest.fixture
def foreign(alice: User) -> Callable[[int], list[dict[str, Any]]]:
    """Return a function that makes lines of calls that this ledger does not know."""

    def make(count: int) -> list[dict[str, Any]]:
        attempt = book(alice, preview="I play the cello.")
        line = next(
            line for line in lines_of(alice) if line["attempt_id"] == str(attempt)
        )
        return [
            line
            | {
                "attempt_id": str(uuid.uuid4()),
                "created_at": (LONG_AGO + timedelta(hours=number)).isoformat(),
                "cost_nano_usd": 100,
            }
            for number in range(count)
        ]

    return make


def correction(line: dict[str, Any], cost: int, **changes: Any) -> dict[str, Any]:
    later = datetime.fromisoformat(line["created_at"]) + timedelta(minutes=1)
    return line | {
        "kind": "adjust",
        "outcome": "",
        "prompt_preview": "",
        "cost_nano_usd": cost,
        "created_at": later.isoformat(),
        **changes,
    }


# --- how long others wait -------------------------------------------------------


def test_rows_are_made_before_the_chain_is_locked_and_booked_a_few_at_a_time(
    alice: User,
    foreign: Callable[[int], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = foreign(5)
    told: list[str] = []

    def telling(owner: Any, name: str, word: str) -> None:
        real = getattr(owner, name)

        def tell(*args: Any, **kwargs: Any) -> Any:
            told.append(word)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, tell)

    monkeypatch.setattr(moving_in, "BATCH", 2)
    telling(chain, "lock", "lock")
    telling(chain.History, "append", "append")
    telling(chain.History, "__init__", "make")
    telling(previews, "seal", "seal")

    moved = bring(lines, alice)

    assert (moved.imported, moved.already, moved.cost_nano_usd) == (5, 0, 500)
    made = [["seal", "seal", "make"], ["seal", "seal", "make"], ["seal", "make"]]
    assert told == [word for part in made for word in [*part, "lock", "append"]]
    assert LedgerPreview.objects.count() == 6
    assert verify().ok


def test_what_is_booked_while_one_waits_is_not_booked_twice(
    alice: User,
    foreign: Callable[[int], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = foreign(3)
    real = chain.lock

    def somebody_else_is_first() -> None:
        monkeypatch.setattr(chain, "lock", real)
        bring(lines[:2], alice)
        real()

    monkeypatch.setattr(chain, "lock", somebody_else_is_first)
    moved = bring(lines, alice)

    assert (moved.imported, moved.already) == (1, 2)
    assert LedgerEntry.objects.filter(note=moving.IMPORTED).count() == 6


def test_an_interrupted_import_is_completed_by_the_next(
    alice: User,
    foreign: Callable[[int], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = foreign(3)
    lines = [first, *others, correction(first, -30)]
    monkeypatch.setattr(moving_in, "BATCH", 2)
    real = chain.History.append
    calls = []

    def fail_in_the_second(history: chain.History) -> None:
        calls.append(history)
        if len(calls) == 2:
            raise RuntimeError("the machine stops")
        real(history)

    monkeypatch.setattr(chain.History, "append", fail_in_the_second)
    with pytest.raises(RuntimeError):
        bring(lines, alice)

    moved = bring(lines, alice)
    assert (moved.imported, moved.already, moved.cost_nano_usd) == (2, 2, 70)
    assert bring(lines, alice).imported == 0


def test_one_bad_line_far_down_leaves_the_ledger_as_it_was(
    alice: User,
    foreign: Callable[[int], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = foreign(5)
    monkeypatch.setattr(moving_in, "BATCH", 2)
    rows = LedgerEntry.objects.count()
    for bad in (
        lines[4] | {"kind": "grant"},
        lines[0],
        correction(lines[0], -101),
    ):
        with pytest.raises(moving_in.BadRow):
            bring([*lines, bad], alice)
        assert LedgerEntry.objects.count() == rows


def test_a_trial_counts_and_books_nothing(
    alice: User,
    foreign: Callable[[int], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = foreign(3)
    lines.append(correction(lines[0], -30))
    rows = LedgerEntry.objects.count()
    monkeypatch.setattr(chain, "lock", lambda: pytest.fail("others would wait"))

    trial = bring(lines, alice, book=False)

    assert LedgerEntry.objects.count() == rows
    monkeypatch.undo()
    assert bring(lines, alice) == trial


# --- what a file cannot do ------------------------------------------------------


def test_what_somebody_spent_here_is_never_corrected_by_a_file(alice: User) -> None:
    attempt = book(alice)
    spent = LedgerEntry.objects.get(attempt_id=attempt, kind="settle").cost_nano_usd
    assert spent
    (line,) = lines_of(alice)
    rows = LedgerEntry.objects.count()

    moved = bring([line, correction(line, -spent)], alice)

    assert (moved.imported, moved.already) == (0, 2)
    assert LedgerEntry.objects.count() == rows


def test_a_later_correction_of_an_imported_call_is_taken_once(
    alice: User, bob: User, foreign: Callable[[int], list[dict[str, Any]]]
) -> None:
    (line,) = foreign(1)
    bring([line], alice)

    lines = [line, correction(line, -40)]
    assert bring(lines, alice).cost_nano_usd == -40
    assert bring(lines, alice).imported == 0
    assert bring(lines, bob).imported == 0
    later = LONG_AGO + timedelta(days=1)
    with pytest.raises(moving_in.BadRow, match="less than nothing"):
        bring([correction(line, -61, created_at=later.isoformat())], alice)


def test_calls_count_for_the_persons_own_answers_only(
    alice: User, foreign: Callable[[int], list[dict[str, Any]]]
) -> None:
    own, now, theirs = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    first, second, third = foreign(3)
    first["turn_id"], second["turn_id"] = str(own), str(theirs)
    third["turn_id"] = None

    bring([first, second, third], alice, turns=lambda named: {own: now})

    assert cost_of_turns([now]) == 100
    assert cost_of_turns([theirs]) == 0
    found = LedgerEntry.objects.filter(note=moving.IMPORTED, kind="settle")
    assert [row.turn_id for row in found] == [now, None, None]


@pytest.mark.parametrize("apart", [False, True])
def test_a_correction_stands_where_its_call_stands(
    alice: User, foreign: Callable[[int], list[dict[str, Any]]], apart: bool
) -> None:
    """Else the sum of the other answer has a correction without its call."""
    own, other = uuid.uuid4(), uuid.uuid4()
    (line,) = foreign(1)
    line |= {"turn_id": str(own), "billing": "notional"}
    wrong = correction(line, 7, turn_id=str(other), billing="metered")

    def both(named: Any) -> dict[uuid.UUID, uuid.UUID]:
        return {own: own, other: other}

    if apart:
        bring([line], alice, turns=both)
    bring([line, wrong], alice, turns=both)

    row = LedgerEntry.objects.get(kind="adjust")
    assert (row.turn_id, row.billing) == (own, "notional")
    assert charged_to_turns([own, other]) == 0
    assert cost_of_turns([own]) == 107


def test_rows_come_out_as_they_came_in(
    alice: User, bob: User, foreign: Callable[[int], list[dict[str, Any]]]
) -> None:
    first, second = foreign(2)
    lines = [first, second, correction(second, -9, note="the bill")]

    bring(lines, bob)

    out = lines_of(bob)
    for line in [*lines, *out]:
        del line["turn_id"]
        line["created_at"] = datetime.fromisoformat(line["created_at"])
    assert out == lines
    assert previews.for_user(alice, [uuid.UUID(first["attempt_id"])]) == {}
    with pytest.raises(AlreadyClosed):
        entries.release(uuid.UUID(first["attempt_id"]))
