"""Read the old ``ledger.jsonl`` of Symbiont and book it here.

One JSON object a line: ``timestamp, model, success, elapsed_seconds, input_tokens,
output_tokens, estimated_cost_usd, prompt_preview``. Each becomes a reservation and its
closing at its own time, in the channel ``import``. All lines are taken or none. An
attempt's id follows from its line, so a file that is imported again, or has grown,
brings only what is new. Amounts are read as decimals and are exact to the nano-dollar;
what a line does not say stays unknown.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import transaction

from accounts import audit
from accounts.models import User
from ledger import chain, previews
from ledger.models import LedgerEntry, LedgerPreview
from ledger.money import format_usd
from ledger.symbiont_lines import Fault, OldCall, read_lines

CHANNEL = "import"
BATCH = 500
_NAMESPACE = uuid.UUID("3f0c6a52-1f8e-5d0e-9f3b-6a1d1c5f2b90")
"""Under it the ids of imported attempts are made; it must never change."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do."""

    imported: int = 0
    already: int = 0
    """Lines that an earlier import took."""
    unknown_cost: int = 0
    """Imported lines that do not say what they cost."""
    cost_nano_usd: int = 0
    """Sum of the known costs of what was imported."""
    previews: int = 0
    """Previews that were kept; none without a person."""
    faults: tuple[Fault, ...] = ()
    """Lines that cannot be taken; then nothing was imported."""


def import_file(
    lines: Iterable[bytes], user: User | None = None, *, dry_run: bool = False
) -> ImportReport:
    """Book the lines of an old ledger, all or none.

    Args:
        lines: The file's lines; empty ones count and are passed over.
        user: Whose calls they were; without, nobody's, and previews are left out.
        dry_run: Only say what would happen.
    """
    calls: list[OldCall] = []
    faults: list[Fault] = []
    for read in read_lines(lines):
        if isinstance(read, Fault):
            faults.append(read)
        else:
            calls.append(read)
    if faults:
        return ImportReport(faults=tuple(faults))
    named = list(_named(calls))
    while True:
        prepared = _prepare(named, user)
        if dry_run or prepared.history is None or prepared.append(user):
            return prepared.report


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An import that only has to be written."""

    report: ImportReport
    history: chain.History | None
    """``None`` when nothing is new."""
    kept: list[LedgerPreview]
    head_id: int
    """The ledger's last row when it was looked what is new."""

    def append(self, user: User | None) -> bool:
        """Write everything; ``False`` when another import was faster."""
        with transaction.atomic():
            chain.lock()
            rows = LedgerEntry.objects.filter(id__gt=self.head_id, channel=CHANNEL)
            if self.history is None or rows.exists():
                return False
            LedgerPreview.objects.bulk_create(self.kept, ignore_conflicts=True)
            self.history.append()
            _audit(self.report, user)
        return True


def _prepare(named: list[tuple[uuid.UUID, OldCall]], user: User | None) -> _Prepared:
    """Do all that takes time, while everybody else can still write."""
    head_id, _ = chain.head()
    known = _known([attempt_id for attempt_id, _ in named])
    new = [(name, call) for name, call in named if name not in known]
    kept = _seal(new, user) if user is not None else []
    costs = [call.cost_nano_usd for _, call in new]
    report = ImportReport(
        imported=len(new),
        already=len(named) - len(new),
        unknown_cost=costs.count(None),
        cost_nano_usd=sum(cost for cost in costs if cost is not None),
        previews=len(kept),
    )
    rows = [row for each in new for row in _rows(*each, user)]
    return _Prepared(report, chain.History(rows) if rows else None, kept, head_id)


def _named(calls: Iterable[OldCall]) -> Iterator[tuple[uuid.UUID, OldCall]]:
    """Give each call the id of its attempt; equal lines are counted through."""
    seen: Counter[str] = Counter()
    for call in calls:
        seen[call.identity] += 1
        name = f"{seen[call.identity]}|{call.identity}"
        yield uuid.uuid5(_NAMESPACE, name), call


def _known(attempt_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Return those that are in the ledger."""
    found: set[uuid.UUID] = set()
    for start in range(0, len(attempt_ids), BATCH):
        rows = LedgerEntry.objects.filter(
            attempt_id__in=attempt_ids[start : start + BATCH]
        )
        found.update(rows.values_list("attempt_id", flat=True))
    return found


def _seal(new: list[tuple[uuid.UUID, OldCall]], user: User) -> list[LedgerPreview]:
    return [
        previews.seal(attempt_id, user.pk, call.preview)
        for attempt_id, call in new
        if call.preview.strip()
    ]


def _rows(
    attempt_id: uuid.UUID, call: OldCall, user: User | None
) -> tuple[LedgerEntry, LedgerEntry]:
    """Return the reservation of an old call and its closing."""
    about = {
        "attempt_id": attempt_id,
        "created_at": call.moment,
        "user_id": user.pk if user else None,
        "user_name": user.username if user else "",
        "channel": CHANNEL,
        "role": "chat",
        "host_type": CHANNEL,
        "model_id": call.model,
        "model_name": call.model,
    }
    outcome = LedgerEntry.Outcome
    closing = LedgerEntry(
        kind=LedgerEntry.Kind.SETTLE,
        outcome=outcome.COMPLETE if call.success else outcome.FAILED,
        elapsed_ms=call.elapsed_ms,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cost_nano_usd=call.cost_nano_usd,
        **about,
    )
    return LedgerEntry(kind=LedgerEntry.Kind.RESERVE, **about), closing


def _audit(report: ImportReport, user: User | None) -> None:
    audit.record(
        "ledger.imported",
        subject=user.username if user else "nobody",
        calls=report.imported,
        cost_usd=format_usd(report.cost_nano_usd),
    )
