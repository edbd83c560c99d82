"""Sums over the ledger for ``/metrics``: exact, and cheap after the first time.

Rows of the ledger never change and get their numbers in the order in which they become
visible, so each scrape reads only those after the last one and adds them to sums that
this process keeps. The row it stopped at is read along: when its hash is not the one
remembered, a backup was restored underneath, and the sums start over.

A correction may be negative; it is kept apart, because a counter must only grow.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from prometheus_client.metrics_core import Metric

from channels_app.care.metrics_values import Histogram, Labels, Names, counter, gauge
from ledger.models import LedgerEntry
from ledger.money import NANO_PER_USD
from ledger.open_attempts import CLOSINGS
from routing import classifier

MAX_MODELS: Final = 100
MAX_LABELS: Final = 50
"""Of channels and error codes there are fewer; old imports may bring some."""
CHUNK: Final = 500
"""After so many rows the other threads of the process may go on."""
SETTLED_AFTER: Final = timedelta(seconds=60)
"""A turn whose last attempt failed so long ago is not taken up by another model."""
FIRST_TOKEN_S: Final = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 40, 80)
DURATION_S: Final = (0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
TOKEN_KINDS: Final = ("input", "output", "cache_read", "cache_write")
_FIELDS: Final = (
    "id", "hash", "kind", "created_at", "turn_id", "role", "channel", "host_type",
    "model_id", "outcome", "error_code", "elapsed_ms", "first_token_ms", "billing",
    "cost_nano_usd", *(f"{kind}_tokens" for kind in TOKEN_KINDS),
)  # fmt: skip
_FINAL: Final = {LedgerEntry.Outcome.COMPLETE, LedgerEntry.Outcome.INTERRUPTED}
"""After these no further model is asked in the same turn."""


class Turns:
    """How turns ended, told from their attempts.

    A complete or stopped attempt ends its turn. After a failed one another model may
    be asked, so that is counted when nobody was for ``SETTLED_AFTER``.
    """

    def __init__(self) -> None:
        self.ended: Counter[Labels] = Counter()
        self._undecided: dict[uuid.UUID, tuple[datetime, Labels]] = {}

    def begun(self, turn: uuid.UUID) -> None:
        """Note that a model is asked."""
        self._undecided.pop(turn, None)

    def closed(self, turn: uuid.UUID, at: datetime, outcome: str, channel: str) -> None:
        """Note the end of an attempt."""
        if outcome in _FINAL:
            self._undecided.pop(turn, None)
            self.ended[outcome, channel] += 1
        else:
            self._undecided[turn] = at, (outcome, channel)

    def settle(self, now: datetime) -> None:
        """Count the turns that nobody took up again."""
        for turn, (at, labels) in list(self._undecided.items()):
            if at <= now - SETTLED_AFTER:
                del self._undecided[turn]
                self.ended[labels] += 1


class LedgerSums:
    """The sums of one process; ``collect`` brings them up to date first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start_over()

    def _start_over(self) -> None:
        self._last_id, self._last_hash = 0, ""
        self._models = Names(MAX_MODELS)
        self._channels = Names(MAX_LABELS)
        self._codes = Names(MAX_LABELS)
        self._turns = Turns()
        self._attempts: Counter[Labels] = Counter()
        self._tokens: Counter[Labels] = Counter()
        self._cost: Counter[Labels] = Counter()
        self._unknown_cost: Counter[Labels] = Counter()
        self._corrected_cost: Counter[Labels] = Counter()
        self._corrected_tokens: Counter[Labels] = Counter()
        self._first_token = Histogram(*FIRST_TOKEN_S)
        self._duration = Histogram(*DURATION_S)

    def collect(self, now: datetime | None = None) -> Iterable[Metric]:
        """Read what is new and return the metrics; waits for another reader."""
        with self._lock:
            self._read_on()
            self._turns.settle(now or timezone.now())
            return list(self._metrics())

    # --- reading ------------------------------------------------------------------

    def _read_on(self) -> None:
        rows = self._rows()
        if self._last_id:
            first = next(rows, None)
            if first is None or (first.id, first.hash) != (
                self._last_id,
                self._last_hash,
            ):
                self._start_over()
                rows = self._rows()
        for number, row in enumerate(rows, start=1):
            self._add(row)
            self._last_id, self._last_hash = row.id, row.hash
            if number % CHUNK == 0:
                time.sleep(0)  # lets go of the interpreter's lock

    def _rows(self) -> Iterator[LedgerEntry]:
        """Return the row that was read last and all that came after it."""
        rows = LedgerEntry.objects.filter(id__gte=self._last_id).order_by("id")
        return rows.only(*_FIELDS).iterator(chunk_size=CHUNK)

    def _add(self, row: LedgerEntry) -> None:
        answers = row.turn_id is not None and row.role != classifier.ROLE
        if row.kind in CLOSINGS:
            self._add_call(row)
            if answers and row.turn_id:
                channel = self._channels.of(row.channel)
                self._turns.closed(row.turn_id, row.created_at, row.outcome, channel)
        elif row.kind == LedgerEntry.Kind.RESERVE and answers and row.turn_id:
            self._turns.begun(row.turn_id)
        elif row.kind == LedgerEntry.Kind.ADJUST:
            self._add_correction(row)

    def _add_call(self, row: LedgerEntry) -> None:
        model = self._models.of(row.model_id)
        code = self._codes.of(row.error_code)
        self._attempts[model, row.host_type, row.outcome, code] += 1
        self._add_tokens(self._tokens, model, row)
        if row.cost_nano_usd is None:
            self._unknown_cost[(model,)] += 1
        else:
            self._cost[model, row.billing] += row.cost_nano_usd
        if row.first_token_ms is not None:
            self._first_token.observe((model,), row.first_token_ms / 1000)
        if row.elapsed_ms is not None:
            self._duration.observe((model,), row.elapsed_ms / 1000)

    def _add_correction(self, row: LedgerEntry) -> None:
        model = self._models.of(row.model_id)
        self._corrected_cost[model, row.billing] += row.cost_nano_usd or 0
        self._add_tokens(self._corrected_tokens, model, row)

    @staticmethod
    def _add_tokens(sums: Counter[Labels], model: str, row: LedgerEntry) -> None:
        for kind in TOKEN_KINDS:
            count = getattr(row, f"{kind}_tokens")
            if count is not None:
                sums[model, kind] += count

    # --- telling ------------------------------------------------------------------

    def _metrics(self) -> Iterator[Metric]:
        yield counter(
            "cortex_turns",
            "Answers by how they ended; a failed one is counted a minute later.",
            ["outcome", "channel"],
            self._turns.ended,
        )
        yield counter(
            "cortex_attempts",
            "Calls of models, those that failed before a fallback included.",
            ["model", "host_type", "outcome", "error_code"],
            self._attempts,
        )
        yield counter(
            "cortex_tokens",
            "Known tokens; input includes what was read from and written to a cache.",
            ["model", "kind"],
            self._tokens,
        )
        yield counter(
            "cortex_cost_dollars",
            "Known cost of calls in US dollars; notional is covered by a subscription.",
            ["model", "billing"],
            self._cost,
            NANO_PER_USD,
        )
        yield counter(
            "cortex_unknown_cost_calls",
            "Calls whose cost was unknown when they ended.",
            ["model"],
            self._unknown_cost,
        )
        yield from self._corrections()
        yield self._first_token.family(
            "cortex_first_token_seconds",
            "Time until the first word of a call.",
            "model",
        )
        yield self._duration.family(
            "cortex_call_duration_seconds", "Time until the end of a call.", "model"
        )

    def _corrections(self) -> Iterator[Metric]:
        dollars = {
            labels: nano / NANO_PER_USD for labels, nano in self._corrected_cost.items()
        }
        yield gauge(
            "cortex_corrections_dollars",
            "Sum of later corrections; to be added to the cost.",
            ["model", "billing"],
            dollars,
        )
        yield gauge(
            "cortex_corrections_tokens",
            "Sum of later corrections; to be added to the tokens.",
            ["model", "kind"],
            {labels: float(count) for labels, count in self._corrected_tokens.items()},
        )
