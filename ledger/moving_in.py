"""Books a person's rows that another installation wrote, see ``ledger.moving``.

A row is appended to this chain at its own time with a note that it was imported. An
attempt that is known here already is passed over, so importing twice books nothing
twice, and an import that was interrupted is completed by the next. Corrections are
taken of imported attempts alone: what somebody really spent here is never changed by
what a file says.

All lines are checked before the first row is booked. Then they are booked in batches,
so that everybody else who writes to the ledger waits for a few hundred rows at most.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from pydantic import ValidationError

from accounts.models import User
from ledger import chain, previews
from ledger.models import LedgerEntry, LedgerPreview
from ledger.moving import BATCH, IMPORTED, Row
from ledger.open_attempts import CLOSINGS

LONGEST_LINE: Final = 64 * 1024
Turns = Callable[[Collection[uuid.UUID]], Mapping[uuid.UUID, uuid.UUID]]
"""Gives the present ids of those answers that are the person's; others are absent."""
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_FUTURE: Final = timedelta(days=1)
"""How far another machine's clock may be ahead."""
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


class BadRow(Exception):
    """A line cannot be taken; the text is one sentence."""


@dataclass(slots=True)
class Moved:
    """What an import did."""

    imported: int = 0
    already: int = 0
    """Rows that are in this ledger already, or correct what is not the file's."""
    cost_nano_usd: int = 0
    """Sum of the known costs of what was imported, corrections included."""

    def count(self, rows: list[Row], new: list[Row]) -> None:
        """Add a batch and what of it is new."""
        self.imported += len(new)
        self.already += len(rows) - len(new)
        self.cost_nano_usd += sum(row.cost_nano_usd or 0 for row in new)


def import_lines(
    read: Callable[[], Iterable[bytes]],
    user: User,
    *,
    turns: Turns,
    personas: Mapping[str, int],
    book: bool = True,
) -> Moved:
    """Book the rows of such a file for a person.

    Do not call it in a transaction: each batch has its own, which is what lets others
    write in between.

    Args:
        read: Begins to read the lines anew; called once to check, once to book.
        turns: Which answers are the person's. What was spent for others counts as
            spent for none.
        personas: The keys of the person's personas, by name.
        book: ``False`` = only check and count.

    Raises:
        BadRow: A line that cannot be taken; nothing was booked.
    """
    checked = Moved()
    attempts: dict[uuid.UUID, _Attempt] = {}
    for rows in _batches(read()):
        attempts |= _known({row.attempt_id for row in rows} - attempts.keys())
        checked.count(rows, _new_of(rows, attempts, user))
    if any(each.in_file and each.cost < 0 for each in attempts.values()):
        raise BadRow("A call costs less than nothing.")
    if not book:
        return checked
    attempts.clear()
    booked = Moved()
    for rows in _batches(read()):
        mine = turns({row.turn_id for row in rows if row.turn_id is not None})
        here = [_of_turn(row, mine) for row in rows]
        booked.count(rows, _book(here, user, personas))
    return booked


def _batches(lines: Iterable[bytes]) -> Iterator[list[Row]]:
    """Yield the rows a few at a time; raises ``BadRow``."""
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        rows.append(_read(number, line))
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


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


def _of_turn(row: Row, mine: Mapping[uuid.UUID, uuid.UUID]) -> Row:
    """Return a row that names its answer here, or none where that is not here."""
    turn_id = None if row.turn_id is None else mine.get(row.turn_id)
    return row.model_copy(update={"turn_id": turn_id})


# --- what is new ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is known about an attempt, from the ledger or from earlier lines."""

    user_id: int | None
    cost: int = 0
    imported: bool = False
    """Its closing row came from a bundle."""
    turn_id: uuid.UUID | None = None
    billing: str = ""
    corrected_at: frozenset[datetime] = frozenset()
    in_file: bool = False
    """Lines that are read now add to it."""

    def takes(self, row: Row, user: User) -> bool:
        """Say whether a correction is new, and one of an import of the person's."""
        return (
            self.imported
            and self.user_id == user.pk
            and row.created_at not in self.corrected_at
        )

    def corrected(self, cost: int | None, at: datetime, *, in_file: bool) -> _Attempt:
        """Return it with a correction."""
        return replace(
            self,
            cost=self.cost + (cost or 0),
            corrected_at=self.corrected_at | {at},
            in_file=in_file,
        )


def _new_of(
    rows: list[Row], attempts: dict[uuid.UUID, _Attempt], user: User
) -> list[Row]:
    """Return the rows to book, and note in ``attempts`` what they say.

    Raises:
        BadRow: One closes or corrects what another row does not allow.
    """
    new: list[Row] = []
    for row in rows:
        there = attempts.get(row.attempt_id)
        if row.kind == "adjust":
            if there is None:
                raise BadRow(f"A correction of {row.attempt_id} has no call.")
            if there.takes(row, user):
                attempts[row.attempt_id] = there.corrected(
                    row.cost_nano_usd, row.created_at, in_file=True
                )
                # Whoever adds up a turn must find the call beside its correction.
                same = {"turn_id": there.turn_id, "billing": there.billing}
                new.append(row.model_copy(update=same))
        elif there is None:
            attempts[row.attempt_id] = _Attempt(
                user_id=user.pk,
                cost=row.cost_nano_usd or 0,
                imported=True,
                turn_id=row.turn_id,
                billing=row.billing,
                in_file=True,
            )
            new.append(row)
        elif there.in_file:
            raise BadRow(f"The call {row.attempt_id} is closed twice.")
    return new


def _known(attempt_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, _Attempt]:
    """Return what the ledger knows about these attempts."""
    found: dict[uuid.UUID, _Attempt] = {}
    rows = LedgerEntry.objects.filter(attempt_id__in=attempt_ids).order_by("id")
    for row in rows:
        there = found.setdefault(row.attempt_id, _Attempt(row.user_id))
        if row.kind in CLOSINGS:
            found[row.attempt_id] = replace(
                there,
                cost=row.cost_nano_usd or 0,
                imported=row.note.startswith(IMPORTED),
                turn_id=row.turn_id,
                billing=row.billing,
            )
        elif row.kind == LedgerEntry.Kind.ADJUST:
            found[row.attempt_id] = there.corrected(
                row.cost_nano_usd, row.created_at, in_file=False
            )
    return found


# --- booking --------------------------------------------------------------------


def _book(rows: list[Row], user: User, personas: Mapping[str, int]) -> list[Row]:
    """Append what is new of a batch; return it.

    Everything is made before the chain is locked. Under the lock it is only asked
    whether the ledger still knows the same about these attempts.
    """
    ids = {row.attempt_id for row in rows}
    while True:
        known = _known(ids)
        new = _new_of(rows, dict(known), user)
        if not new:
            return []
        seals = _sealed(new, user)
        history = chain.History(
            [entry for row in new for entry in _entries(row, user, personas)]
        )
        with transaction.atomic():
            chain.lock()
            if _known(ids) == known:
                LedgerPreview.objects.bulk_create(seals, ignore_conflicts=True)
                history.append()
                return new


def _entries(row: Row, user: User, personas: Mapping[str, int]) -> list[LedgerEntry]:
    """Return the unsaved rows of a line: for a closing one its reservation too."""
    values: dict[str, Any] = row.model_dump(exclude={"prompt_preview"})
    values |= {
        "user_id": user.pk,
        "user_name": user.username,
        "persona_id": personas.get(row.persona_name),
        "note": f"{IMPORTED}: {row.note}"[:200] if row.note else IMPORTED,
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
        if row.kind != "adjust" and row.prompt_preview.strip()
    ]
