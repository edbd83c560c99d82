"""Running sums of what counts towards budgets, kept by each process.

A budget is checked before every call, and a month may have 100,000 rows. The ledger
only grows, so each process remembers its sums and the open attempts up to some row and
reads only the rows after it. It trusts what it remembers only while that row is still
there with the same hash; after a rollback, a restore, or too many new rows it begins
again.

Reading comes before the lock of this module is given back, so sums never run ahead of
what their transaction sees.
"""

from __future__ import annotations

import bisect
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import (
    BigIntegerField,
    Case,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from ledger.canonical import GENESIS
from ledger.models import LedgerEntry
from ledger.open_attempts import CLOSINGS, open_reserves

OPEN_WINDOW = timedelta(days=1)
"""Open reservations older than this are left behind by a dead process."""
MAX_NEW_ROWS = 2000
"""More are summed up by the database again rather than here."""
MAX_SELECTIONS = 2000
_KIND = LedgerEntry.Kind
_BOOKED = (*CLOSINGS, _KIND.ADJUST)
_UNKNOWN = Q(kind__in=CLOSINGS, cost_nano_usd=None) & ~Exists(
    LedgerEntry.objects.filter(attempt_id=OuterRef("attempt_id"), kind=_KIND.ADJUST)
)


class Selection(NamedTuple):
    """Which calls count."""

    user_id: int | None
    """Those of this person, or of the installation itself."""
    everybody: bool = False
    """Those of all people; ``user_id`` means nothing then."""
    background: bool = False
    """Only background work."""
    notional: bool = False
    """Also those that a subscription covers."""

    @property
    def billings(self) -> tuple[str, ...]:
        """The kinds of payment that count."""
        metered, notional = LedgerEntry.Billing.METERED, LedgerEntry.Billing.NOTIONAL
        return (metered, notional) if self.notional else (metered,)


class _Row(NamedTuple):
    """The columns that are read of each row."""

    id: int
    hash: str
    kind: str
    attempt_id: uuid.UUID
    created_at: datetime
    user_id: int | None
    billing: str
    background: bool | None
    cost_nano_usd: int | None
    reserved_nano_usd: int | None


def rows_of(selection: Selection) -> QuerySet[LedgerEntry]:
    """Return the rows of every kind that a selection means."""
    rows = LedgerEntry.objects.filter(billing__in=selection.billings).order_by()
    if not selection.everybody:
        rows = rows.filter(user_id=selection.user_id)
    return rows.filter(background=True) if selection.background else rows


def _booked_by_user(
    selections: Sequence[Selection],
    bounds: Sequence[datetime],
    up_to_id: int,
) -> dict[int | None, list[int]]:
    """Ask once what calls cost that ended between each bound and the next.

    The selections differ in their people alone. Gives a sum for each bound by person,
    or under ``None`` for everybody together. A call of unknown cost counts with what
    was reserved for it, until a correction says more.
    """
    first = selections[0]
    rows = rows_of(first._replace(everybody=True)).filter(
        kind__in=_BOOKED, created_at__gte=bounds[0], id__lte=up_to_id
    )
    if not first.everybody:
        rows = rows.filter(_of([each.user_id for each in selections]))
    number = Case(
        *(When(created_at__lt=end, then=at) for at, end in enumerate(bounds[1:])),
        default=len(bounds) - 1,
        output_field=IntegerField(),
    )
    whose = Value(None, BigIntegerField()) if first.everybody else F("user_id")
    sums: dict[int | None, list[int]] = {}
    for row in (
        rows.annotate(whose=whose, number=number)
        .values("whose", "number")
        .annotate(
            known=Sum("cost_nano_usd", default=0),
            unknown=Sum("reserved_nano_usd", filter=_UNKNOWN, default=0),
        )
    ):
        parts = sums.setdefault(row["whose"], [0] * len(bounds))
        parts[row["number"]] += row["known"] + row["unknown"]
    return sums


def _of(user_ids: Sequence[int | None]) -> Q:
    people = Q(user_id__in=[each for each in user_ids if each is not None])
    return people | Q(user_id=None) if None in user_ids else people


def _matches(selection: Selection, row: _Row) -> bool:
    return (
        row.billing in selection.billings
        and (selection.everybody or row.user_id == selection.user_id)
        and (not selection.background or bool(row.background))
    )


class Wanted(NamedTuple):
    """What is asked about one budget: its calls, and periods that touch each other."""

    selection: Selection
    bounds: tuple[datetime, ...]
    """Where each period began, the oldest first; the last one is the present one."""


class Used(NamedTuple):
    """What calls used of a budget, in nano-dollars."""

    earlier: tuple[int, ...]
    """What was booked in each period that is over."""
    booked: int
    """What was booked in the present one."""
    reserved: int
    """What open attempts reserve."""


@dataclass
class Tally:
    """What one process remembers; every method may be called from any thread."""

    _last_id: int = 0
    _last_hash: str = GENESIS
    _known: bool = False
    _open: dict[uuid.UUID, _Row] = field(default_factory=dict)
    _sums: dict[Wanted, list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def used(self, wanted: Sequence[Wanted]) -> list[Used]:
        """Return what is used of several budgets, with few questions for all."""
        with self._lock:
            self._catch_up()
            if len(self._sums) + len(wanted) > MAX_SELECTIONS:
                self._sums.clear()
            missing = {each for each in wanted if each not in self._sums}
            for alike in _alike(missing):
                self._fill(alike)
            return [self._used(each) for each in wanted]

    def _used(self, wanted: Wanted) -> Used:
        *earlier, booked = self._sums[wanted]
        return Used(tuple(earlier), booked, self._reserved(wanted.selection))

    def _fill(self, wanted: Sequence[Wanted]) -> None:
        """Sum up what several people used in the same periods, some since later."""
        longest = max((each.bounds for each in wanted), key=len)
        sums = _booked_by_user(
            [each.selection for each in wanted], longest, self._last_id
        )
        none = [0] * len(longest)
        for each in wanted:
            whose = None if each.selection.everybody else each.selection.user_id
            self._sums[each] = sums.get(whose, none)[-len(each.bounds) :]

    def _reserved(self, selection: Selection) -> int:
        since = timezone.now() - OPEN_WINDOW
        return sum(
            row.reserved_nano_usd or 0
            for row in self._open.values()
            if row.created_at >= since and _matches(selection, row)
        )

    def _catch_up(self) -> None:
        """Read what was appended since the last time."""
        rows = _read(LedgerEntry.objects.filter(id__gte=self._last_id))
        new = rows[1:] if self._last_id else rows
        is_same = not self._last_id or (rows and rows[0].hash == self._last_hash)
        if not (self._known and is_same) or len(rows) > MAX_NEW_ROWS:
            self._begin_again()
            return
        for row in new:
            self._take(row)

    def _begin_again(self) -> None:
        head = LedgerEntry.objects.order_by("-id").values_list("id", "hash").first()
        self._last_id, self._last_hash = head or (0, GENESIS)
        since = timezone.now() - OPEN_WINDOW
        found = open_reserves().filter(created_at__gte=since, id__lte=self._last_id)
        self._open = {row.attempt_id: row for row in _read(found, limit=None)}
        self._sums.clear()
        self._known = True

    def _take(self, row: _Row) -> None:
        """Count one more row."""
        self._last_id, self._last_hash = row.id, row.hash
        if row.kind == _KIND.RESERVE:
            self._open[row.attempt_id] = row
        elif row.kind in CLOSINGS:
            self._open.pop(row.attempt_id, None)
            cost = row.cost_nano_usd
            self._add(row, row.reserved_nano_usd if cost is None else cost)
        elif row.kind == _KIND.ADJUST:
            # It may make a cost known that was counted as it was reserved.
            self._sums.clear()

    def _add(self, row: _Row, amount: int | None) -> None:
        """Count it in the period in which it was written.

        That may be one that is over: a row carries the moment before its commit, and
        imported ones their own.
        """
        for (selection, bounds), sums in self._sums.items():
            at = bisect.bisect_right(bounds, row.created_at) - 1
            if at >= 0 and _matches(selection, row):
                sums[at] += amount or 0


def _alike(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """Put together what differs in the person and in the oldest period alone."""
    groups: dict[object, list[Wanted]] = {}
    for each in wanted:
        bounds, whose = each.bounds, each.selection._replace(user_id=None)
        zone = bounds[-1].tzinfo if len(bounds) > 1 else None
        key = (whose, bounds[-1], bounds[-2:-1], str(zone))
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _read(
    rows: QuerySet[LedgerEntry], *, limit: int | None = MAX_NEW_ROWS + 1
) -> list[_Row]:
    found: Iterable[tuple[object, ...]] = rows.order_by("id").values_list(*_Row._fields)
    return [_Row._make(each) for each in found[:limit]]  # type: ignore[index]


TALLY = Tally()
"""The one of this process."""
