"""Closing rows on their way out: as JSON lines or CSV, oldest first.

A preview is filled in only for the person whose rows these are; everybody else gets
amounts and an empty field. Memory does not grow with the number of rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from django.db.models import QuerySet

from accounts.models import User
from ledger import previews
from ledger.models import LedgerEntry
from ledger.money import format_usd
from ledger.open_attempts import CLOSINGS
from ledger.records import export_record

Format = Literal["jsonl", "csv"]
BATCH_ROWS = 500
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def closing_rows(
    user: User | None = None, *, since: datetime | None = None
) -> QuerySet[LedgerEntry]:
    """Return the closing rows of a person, or of everybody, oldest first."""
    rows = LedgerEntry.objects.filter(kind__in=CLOSINGS).order_by("id")
    if user is not None:
        rows = rows.filter(user_id=user.pk)
    return rows if since is None else rows.filter(created_at__gte=since)


def _in_batches(rows: QuerySet[LedgerEntry]) -> Iterator[LedgerEntry]:
    """Yield all rows without a query that stays open while a slow reader reads."""
    last_id = 0
    while batch := list(rows.filter(id__gt=last_id)[:BATCH_ROWS]):
        yield from batch
        last_id = batch[-1].id


def records(
    rows: Iterable[LedgerEntry], *, owner: User | None = None
) -> Iterator[dict[str, Any]]:
    """Turn rows into export records; with the previews of ``owner``, if given."""
    source = iter(rows)
    while batch := list(islice(source, BATCH_ROWS)):
        texts = (
            previews.for_user(owner, [row.attempt_id for row in batch]) if owner else {}
        )
        for row in batch:
            yield export_record(row, texts.get(row.attempt_id, ""))


def lines(
    form: Format,
    user: User | None = None,
    *,
    since: datetime | None = None,
    owner: User | None = None,
) -> Iterator[str]:
    """Yield the export as lines that end with a line break.

    Args:
        form: ``jsonl`` or ``csv`` (with a line of column names).
        user: Whose rows; everybody's without.
        since: Only rows written then or later.
        owner: Whose previews may be shown.
    """
    found = records(_in_batches(closing_rows(user, since=since)), owner=owner)
    if form == "csv":
        yield from _csv_lines(found)
        return
    for record in found:
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _csv_lines(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    names = list(export_record(LedgerEntry()))
    yield _csv_line(names)
    for record in found:
        record["estimated_cost_usd"] = format_usd(record["cost_nano_usd"])
        yield _csv_line([_cell(record[name]) for name in names])


def _csv_line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; unknown is empty.

    Source: OWASP, CSV Injection.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
