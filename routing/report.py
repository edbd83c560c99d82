"""How well routing judges: what each class of request cost, saved, and was redone.

A class is what the rules or the classifier took a message for (``RouteDecision.kind``).
An answer that its reader asked to redo one or more tiers up was judged too low; the
share of these is the figure to watch. Tokens count as on the page about money: those of
every attempt, and kept prompts at their own price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import (
    Case,
    Exists,
    F,
    OuterRef,
    QuerySet,
    Value,
    When,
)

from accounts.models import User
from ledger.models import LedgerEntry
from ledger.money import format_usd
from routing import classifier
from routing.catalogue import ModelInfo
from routing.models import RouteDecision
from routing.registry import catalogue_for
from routing.savings import Used, compare

NOT_JUDGED = "not judged"
"""Decisions that name no class."""
JUDGING = "(classifier)"
"""The calls of the role ``classify``: judging costs, and saves nothing by itself."""
ALL = "all"
_TESTS = "test"
"""The role of host tests, which nobody asked for an answer."""
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
_FAILED = LedgerEntry.Outcome.FAILED.value
_NO_FIGURE = "–"


@dataclass(frozen=True, slots=True)
class ClassReport:
    """Sums over the requests of one class."""

    kind: str
    calls: int
    """Those that gave an answer, if only a part of one."""
    redone_upward: int
    """Answers of which a better one was asked for, one or more tiers up."""
    cost_nano_usd: int
    """Sum of the known costs."""
    unknown_cost_calls: int
    saved_nano_usd: int | None
    """Against always the top tier; ``None`` where a price is unknown."""
    failed: int = 0
    """Requests that no model answered; what they cost is in the sums."""

    @property
    def redone_percent(self) -> float:
        """The share of answers that were redone upward."""
        return 100 * self.redone_upward / self.calls if self.calls else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the report's row for ``--json``; unknown is null."""
        all_unknown = self.unknown_cost_calls == self.calls + self.failed > 0
        return {
            "class": self.kind,
            "calls": self.calls,
            "failed": self.failed,
            "redone_upward": self.redone_upward,
            "redone_upward_percent": round(self.redone_percent, 1),
            "cost_usd": None if all_unknown else format_usd(self.cost_nano_usd),
            "unknown_cost_calls": self.unknown_cost_calls,
            "saved_usd": format_usd(self.saved_nano_usd),
        }


def report(
    user: User | None = None, *, since: datetime | None = None
) -> list[ClassReport]:
    """Return one row for each class, the most frequent first, and then their sum.

    Without ``user`` everybody's decisions count, each compared with the models that
    its own person may call; that is for administrators. Empty without decisions.
    """
    parts: dict[str, list[ClassReport]] = {}
    catalogues: dict[int, Sequence[ModelInfo]] = {}
    for (owner_id, kind), sums in _sums(_decisions(user, since)).items():
        if owner_id not in catalogues:
            owner = user or User.objects.get(pk=owner_id)
            catalogues[owner_id] = catalogue_for(owner).models
        parts.setdefault(kind, []).append(_part(kind, sums, catalogues[owner_id]))
    rows = [_joined(kind, each) for kind, each in parts.items()]
    rows.sort(key=lambda row: (-row.calls, row.kind))
    return [*rows, _joined(ALL, rows)] if rows else []


def _decisions(
    user: User | None, since: datetime | None
) -> QuerySet[RouteDecision, RouteDecision]:
    """Return decisions that came to a call, of a person or of everybody."""
    rows = RouteDecision.objects.exclude(attempts=[]).exclude(role=_TESTS)
    if user is not None:
        rows = rows.filter(owner=user)
    return rows if since is None else rows.filter(created_at__gte=since)


@dataclass(slots=True)
class _Sums:
    """One person's decisions of one class, added up."""

    calls: int = 0
    failed: int = 0
    redone: int = 0
    unknown: int = 0
    cost_nano_usd: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        """Add one decision."""
        if all(each.get("outcome") == _FAILED for each in row["attempts"]):
            self.failed += 1
        else:
            self.calls += 1
            self.redone += row["is_redone"]
        self.unknown += row["cost_nano_usd"] is None
        self.cost_nano_usd += row["cost_nano_usd"] or 0
        # Attempts that were kept without counts have those of the whole answer.
        counted = [each for each in row["attempts"] if "input_tokens" in each] or [row]
        for each in counted:
            self.tokens.update({name: each.get(name) or 0 for name in _TOKENS})


def _sums(
    rows: QuerySet[RouteDecision, RouteDecision],
) -> dict[tuple[int, str], _Sums]:
    """Return the sums of each person's decisions of each class."""
    better = RouteDecision.objects.filter(
        owner_id=OuterRef("owner_id"), redo_of=OuterRef("turn_id"), redo_step__gt=0
    )
    kind_of = Case(When(role=classifier.ROLE, then=Value(JUDGING)), default=F("kind"))
    marked = rows.annotate(is_redone=Exists(better), of=kind_of).values(
        "owner_id",
        "of",
        "is_redone",
        "cost_nano_usd",
        "input_tokens",
        "output_tokens",
        "attempts",
    )
    sums: dict[tuple[int, str], _Sums] = {}
    for row in marked.order_by("owner_id", "of").iterator(chunk_size=1000):
        key = row["owner_id"], row["of"] or NOT_JUDGED
        sums.setdefault(key, _Sums()).add(row)
    return sums


def _part(kind: str, sums: _Sums, models: Sequence[ModelInfo]) -> ClassReport:
    tokens = {} if kind == JUDGING else dict(sums.tokens)
    used = Used(
        cost_nano_usd=sums.cost_nano_usd, unknown_cost_calls=sums.unknown, **tokens
    )
    saved = compare(models, used).nano_usd
    return ClassReport(
        kind,
        sums.calls,
        sums.redone,
        sums.cost_nano_usd,
        sums.unknown,
        saved,
        sums.failed,
    )


def _joined(kind: str, parts: Sequence[ClassReport]) -> ClassReport:
    """Add rows up; one unknown saving makes the sum unknown."""
    saved = [part.saved_nano_usd for part in parts]
    known = [each for each in saved if each is not None]
    return ClassReport(
        kind=kind,
        calls=sum(part.calls for part in parts),
        redone_upward=sum(part.redone_upward for part in parts),
        cost_nano_usd=sum(part.cost_nano_usd for part in parts),
        unknown_cost_calls=sum(part.unknown_cost_calls for part in parts),
        saved_nano_usd=sum(known) if len(known) == len(saved) else None,
        failed=sum(part.failed for part in parts),
    )


def table(rows: Iterable[ClassReport]) -> str:
    """Write the report as aligned columns, amounts in dollars."""
    lines = [("class", "calls", "failed", "redone up", "cost USD", "saved USD")]
    for row in rows:
        data = row.as_json()
        cost = "unknown" if data["cost_usd"] is None else data["cost_usd"]
        if row.unknown_cost_calls and data["cost_usd"] is not None:
            cost += f" + {row.unknown_cost_calls} unknown"
        share = f"{data['redone_upward_percent']:g} %"
        saved = data["saved_usd"] or _NO_FIGURE
        counts = (str(row.calls), str(row.failed))
        lines.append((row.kind, *counts, share, cost, saved))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Write the first cell to the left and the figures to the right."""
    first, *rest = (
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()
