"""A person's rows of the ledger on their way to another installation.

A row goes out as one line of JSON, without what belongs to the installation alone: its
number, the hashes, the keys of people and personas. Where it comes in, it is appended
to that chain at its own time with a note that it was imported; an attempt that is known
there already is passed over, so importing twice books nothing twice. Calls that never
ended and grants stay behind. Sums of a person agree on both sides.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from django.db import transaction
from django.utils import timezone
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from accounts.models import User
from ledger import chain, previews
from ledger.models import LedgerEntry, LedgerPreview
from ledger.money import MAX_NANO_USD, MAX_TOKENS
from ledger.open_attempts import CLOSINGS

IMPORTED: Final = "Imported from a bundle"
"""How the note of such a row begins."""
BATCH: Final = 500
LONGEST_LINE: Final = 64 * 1024
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_FUTURE: Final = timedelta(days=1)
"""How far another machine's clock may be ahead."""
_MOVED: Final = (*CLOSINGS, LedgerEntry.Kind.ADJUST)
_NOT_BEFORE_THE_CALL: Final = {
    "note": "",
    "outcome": "",
    "error_code": "",
    "elapsed_ms": None,
    "first_token_ms": None,
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
    "estimated": False,
    "cost_nano_usd": None,
}
"""What a reservation does not say."""

_Tokens = Annotated[int, Field(ge=-MAX_TOKENS, le=MAX_TOKENS)] | None
_Money = Annotated[int, Field(ge=-MAX_NANO_USD, le=MAX_NANO_USD)] | None
_Some = Annotated[int, Field(ge=0, le=2**63 - 1)] | None
_Text32 = Annotated[str, Field(max_length=32)]
_Text200 = Annotated[str, Field(max_length=200)]


class BadRow(Exception):
    """A line cannot be taken; the text is one sentence."""


class Row(BaseModel):
    """One line: a closing row, or a later correction of one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["settle", "release", "adjust"]
    attempt_id: uuid.UUID
    created_at: AwareDatetime
    persona_name: _Text32
    channel: _Text32
    turn_id: uuid.UUID | None
    role: _Text32
    host_type: _Text32
    model_id: _Text200
    model_name: _Text200
    tier: Annotated[int, Field(ge=0, le=32767)] | None
    attempt_number: Annotated[int, Field(ge=0, le=32767)]
    outcome: Literal["", "complete", "incomplete", "interrupted", "failed"]
    error_code: _Text32
    elapsed_ms: _Some
    first_token_ms: _Some
    input_tokens: _Tokens
    output_tokens: _Tokens
    cache_read_tokens: _Tokens
    cache_write_tokens: _Tokens
    estimated: bool
    billing: Literal["metered", "notional", "local"]
    input_price_nano_usd_per_mtok: _Some
    output_price_nano_usd_per_mtok: _Some
    cache_read_price_nano_usd_per_mtok: _Some
    cache_write_price_nano_usd_per_mtok: _Some
    reserved_nano_usd: _Some
    cost_nano_usd: _Money
    note: _Text200
    background: bool | None
    prompt_preview: Annotated[str, Field(max_length=2 * previews.MAX_CHARACTERS)] = ""


_COLUMNS: Final = tuple(name for name in Row.model_fields if name != "prompt_preview")


@dataclass(slots=True)
class Moved:
    """What an import did."""

    imported: int = 0
    already: int = 0
    """Rows that are in this ledger already."""
    cost_nano_usd: int = 0
    """Sum of the known costs of what was imported, corrections included."""


# --- out ----------------------------------------------------------------------


def lines_of(user: User) -> Iterator[str]:
    """Yield a person's closing rows and corrections with their previews, oldest first.

    Each line ends with a line break.
    """
    last_id = 0
    rows = LedgerEntry.objects.filter(user_id=user.pk, kind__in=_MOVED).order_by("id")
    while batch := list(rows.filter(id__gt=last_id)[:BATCH]):
        last_id = batch[-1].id
        texts = previews.for_user(user, [row.attempt_id for row in batch])
        for row in batch:
            own = texts.get(row.attempt_id, "") if row.kind in CLOSINGS else ""
            values = {
                name: getattr(row, name)
                for name in Row.model_fields
                if name in _COLUMNS
            }
            values |= {"note": _unmarked(row.note), "prompt_preview": own}
            line = Row.model_construct(**values)
            yield line.model_dump_json(warnings=False) + "\n"


def _unmarked(note: str) -> str:
    """Return a note without the mark of an earlier import."""
    return note.removeprefix(IMPORTED).removeprefix(": ")


def _marked(note: str) -> str:
    return f"{IMPORTED}: {note}"[:200] if note else IMPORTED


# --- in -----------------------------------------------------------------------


def import_lines(
    lines: Iterable[bytes],
    user: User,
    *,
    turns: Mapping[uuid.UUID, uuid.UUID],
    personas: Mapping[str, int],
) -> Moved:
    """Book the rows of such a file for a person, all or none.

    Everybody else who writes to the ledger waits meanwhile.

    Args:
        turns: New ids of answers that could not keep theirs.
        personas: The keys of the person's personas, by name.

    Raises:
        BadRow: A line that cannot be taken; nothing was booked.
    """
    rows = [_read(number, line) for number, line in enumerate(lines, start=1)]
    with transaction.atomic():
        chain.lock()
        new = _new_of(rows, user)
        entries: list[LedgerEntry] = []
        for row in new:
            entries += _entries(row, user, turns, personas)
        if entries:
            LedgerPreview.objects.bulk_create(_sealed(new, user), ignore_conflicts=True)
            chain.History(entries).append()
    costs = [row.cost_nano_usd for row in new if row.cost_nano_usd is not None]
    return Moved(len(new), len(rows) - len(new), sum(costs))


def _read(number: int, line: bytes) -> Row:
    try:
        if len(line) > LONGEST_LINE:
            raise BadRow(f"Line {number} is too long.")
        row = Row.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BadRow(f"Line {number}: {where or 'the line'}: {fault['msg']}.") from None
    if not _EARLIEST <= row.created_at <= timezone.now() + _FUTURE:
        raise BadRow(f"Line {number}: its time cannot be true.")
    return row


def _new_of(rows: list[Row], user: User) -> list[Row]:
    """Return those that are not in the ledger yet.

    Raises:
        BadRow: One closes or corrects what another row does not allow.
    """
    known = _known({row.attempt_id for row in rows})
    sums: dict[uuid.UUID, int] = {}
    new: list[Row] = []
    for row in rows:
        there = known.get(row.attempt_id)
        if row.kind == "adjust":
            if there is not None:
                if there.takes(row, user):
                    new.append(row)
                continue
            if row.attempt_id not in sums:
                raise BadRow(f"A correction of {row.attempt_id} has no call.")
        elif there is not None:
            continue
        elif row.attempt_id in sums:
            raise BadRow(f"The call {row.attempt_id} is closed twice.")
        new.append(row)
        sums[row.attempt_id] = sums.get(row.attempt_id, 0) + (row.cost_nano_usd or 0)
    if any(cost < 0 for cost in sums.values()):
        raise BadRow("A call costs less than nothing.")
    return new


@dataclass(slots=True)
class _Known:
    """What the ledger knows about an attempt."""

    user_id: int | None
    cost: int
    corrected_at: set[datetime]

    def takes(self, row: Row, user: User) -> bool:
        """Say whether a correction is new, and the person's own."""
        if self.user_id != user.pk or row.created_at in self.corrected_at:
            return False
        self.cost += row.cost_nano_usd or 0
        self.corrected_at.add(row.created_at)
        if self.cost < 0:
            raise BadRow("A call costs less than nothing.")
        return True


def _known(attempt_ids: set[uuid.UUID]) -> dict[uuid.UUID, _Known]:
    found: dict[uuid.UUID, _Known] = {}
    ids = list(attempt_ids)
    for start in range(0, len(ids), BATCH):
        rows = LedgerEntry.objects.filter(attempt_id__in=ids[start : start + BATCH])
        for row in rows:
            attempt = found.setdefault(row.attempt_id, _Known(row.user_id, 0, set()))
            if row.kind in _MOVED:
                attempt.cost += row.cost_nano_usd or 0
            if row.kind == LedgerEntry.Kind.ADJUST:
                attempt.corrected_at.add(row.created_at)
    return found


def _entries(
    row: Row,
    user: User,
    turns: Mapping[uuid.UUID, uuid.UUID],
    personas: Mapping[str, int],
) -> list[LedgerEntry]:
    """Return the unsaved rows of a line: for a closing one its reservation too."""
    values: dict[str, Any] = row.model_dump(exclude={"prompt_preview"})
    values |= {
        "user_id": user.pk,
        "user_name": user.username,
        "persona_id": personas.get(row.persona_name),
        "turn_id": turns.get(row.turn_id, row.turn_id) if row.turn_id else None,
        "note": _marked(row.note),
    }
    entry = LedgerEntry(**values)
    if row.kind == "adjust":
        return [entry]
    before = values | _NOT_BEFORE_THE_CALL | {"kind": LedgerEntry.Kind.RESERVE}
    return [LedgerEntry(**before | {"note": IMPORTED}), entry]


def _sealed(rows: list[Row], user: User) -> list[LedgerPreview]:
    return [
        previews.seal(row.attempt_id, user.pk, row.prompt_preview)
        for row in rows
        if row.prompt_preview.strip()
    ]
