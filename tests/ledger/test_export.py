"""Exports."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from ledger import entries, export
from ledger.types import Prices
from tests.support.ledger import book, make_caller, make_reservation

pytestmark = pytest.mark.django_db


def as_csv(*args: Any, **kwargs: Any) -> list[dict[str, str]]:
    """Return a CSV export as dictionaries."""
    text = "".join(export.lines("csv", *args, **kwargs))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_jsonl_holds_closing_rows_oldest_first(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BATCH_ROWS", 2)
    attempts = [book(alice) for _ in range(3)] + [book(bob)]
    entries.adjust(attempts[0], note="", cost_nano_usd=1)
    entries.reserve(make_reservation(alice))
    found = [json.loads(line) for line in export.lines("jsonl")]
    assert [row["attempt_id"] for row in found] == [str(each) for each in attempts]
    assert list(found[0])[:8] == [
        "timestamp",
        "model",
        "success",
        "elapsed_seconds",
        "input_tokens",
        "output_tokens",
        "estimated_cost_usd",
        "prompt_preview",
    ]
    mine = [json.loads(line) for line in export.lines("jsonl", bob)]
    assert [row["user"] for row in mine] == ["bob"]
    later = timezone.now() + timedelta(seconds=1)
    assert list(export.lines("jsonl", since=later)) == []


def test_previews_are_filled_in_for_their_owner_alone(alice: User, bob: User) -> None:
    book(alice, preview="My plan")
    book(bob, preview="His plan")
    texts = [json.loads(line)["prompt_preview"] for line in export.lines("jsonl")]
    assert texts == ["", ""]
    found = [json.loads(line) for line in export.lines("jsonl", owner=alice)]
    assert [row["prompt_preview"] for row in found] == ["My plan", ""]


def test_csv_has_a_line_of_names_even_without_rows() -> None:
    (line,) = export.lines("csv")
    assert line.startswith("timestamp,model,success,elapsed_seconds,")


def test_csv_writes_amounts_without_exponent_and_unknown_as_empty(alice: User) -> None:
    book(alice, input_tokens=1, output_tokens=0, prices=Prices(1_000_000, 0))
    book(alice, prices=Prices())
    known, unknown = as_csv()
    assert known["estimated_cost_usd"] == "0.000000001"
    assert (known["success"], known["estimated"]) == ("true", "false")
    assert (unknown["estimated_cost_usd"], unknown["cost_nano_usd"]) == ("", "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_disarms_formulas(alice: User, start: str) -> None:
    evil = f"{start}HYPERLINK(1)"
    caller = make_caller(alice, persona_name=evil)
    book(alice, caller=caller, model_id=evil, preview=evil)
    (row,) = as_csv(owner=alice)
    assert row["model"] == row["persona"] == f"'{evil}"
    assert not row["prompt_preview"].startswith(("=", "+", "-", "@"))
