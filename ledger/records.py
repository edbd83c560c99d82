"""A row of the ledger as a flat record, for ``ledger.jsonl`` and exports.

Symbiont's fields come first, in its order, so that its tools go on working; the rest
of the row follows. Example (shortened)::

    {"timestamp": "2026-01-31T12:00:00.000000Z", "model": "haiku", "success": true,
     "elapsed_seconds": 1.25, "input_tokens": 812, "output_tokens": 64,
     "estimated_cost_usd": 0.000906, "id": 17, "kind": "settle", …}

Costs are US dollars, null when unknown; ``cost_nano_usd`` is the exact amount.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from ledger.canonical import ADDED_FIELDS, FIELDS
from ledger.models import LedgerEntry
from ledger.money import NANO_PER_USD

NAMES = {
    name: {
        "created_at": "timestamp",
        "user_name": "user",
        "persona_name": "persona",
        "model_id": "model",
    }.get(name, name)
    for name in FIELDS
}
"""What a record calls each of the ledger's ``FIELDS``."""
_OWN = {name: NAMES.get(name, name) for name in (*FIELDS, "hash")}
for _known in ("created_at", "model_id", "input_tokens", "output_tokens"):
    del _OWN[_known]  # Symbiont has them


def timestamp(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with ``Z`` and microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def symbiont_record(entry: LedgerEntry) -> dict[str, Any]:
    """Return the fields that Symbiont knew, without the preview."""
    elapsed, cost = entry.elapsed_ms, entry.cost_nano_usd
    return {
        "timestamp": timestamp(entry.created_at),
        "model": entry.model_id,
        "success": entry.outcome == LedgerEntry.Outcome.COMPLETE,
        "elapsed_seconds": None if elapsed is None else elapsed / 1000,
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "estimated_cost_usd": None if cost is None else cost / NANO_PER_USD,
    }


def own_record(entry: LedgerEntry) -> dict[str, Any]:
    """Return the fields that Symbiont did not know."""
    return {name: _plain(getattr(entry, field)) for field, name in _OWN.items()}


def added_record(entry: LedgerEntry) -> dict[str, Any]:
    """Return the later fields that this row uses; most rows use none."""
    values = {name: getattr(entry, name) for name in ADDED_FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def journal_record(entry: LedgerEntry) -> dict[str, Any]:
    """Return a row as ``ledger.jsonl`` holds it: no text of a person."""
    return symbiont_record(entry) | own_record(entry) | added_record(entry)


def export_record(entry: LedgerEntry, prompt_preview: str = "") -> dict[str, Any]:
    """Return a row as exports and the API show it to somebody who may see it."""
    return (
        symbiont_record(entry)
        | {"prompt_preview": prompt_preview}
        | own_record(entry)
        | {"background": bool(entry.background)}
    )
