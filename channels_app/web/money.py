"""The page about money: what one's own calls cost; for administrators, all sums.

Figures and rows come from the ledger. The start of a prompt is shown to its owner
alone; administrators see amounts of other people and never a text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from accounts.zones import zone_of
from ledger import budgets, export, previews, statistics
from ledger.models import LedgerEntry
from ledger.money import format_usd
from ledger.periods import start_of
from ledger.statistics import Totals

LATEST_ROWS = 50
_CHUNK_LINES = 500


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum with its name and its amount as it is written on the page."""

    name: str
    sums: Totals

    @property
    def amount(self) -> str:
        """The known cost in dollars, or ``unknown``."""
        return write_amount(None if self.sums.is_unknown else self.sums.cost_nano_usd)

    @property
    def unknown_beside(self) -> int:
        """How many calls of unknown cost come on top of the amount."""
        return 0 if self.sums.is_unknown else self.sums.unknown_cost_calls


@dataclass(frozen=True, slots=True)
class Row:
    """One closed call as its owner sees it."""

    entry: LedgerEntry
    amount: str
    preview: str


def write_amount(nano: int | None) -> str:
    """Write an amount for people: at least cents, more digits only where they matter.

    Example: ``$12.50``, ``$0.0031``, ``$0.00``, ``unknown``.
    """
    if nano is None:
        return "unknown"
    sign = "-" if nano < 0 else ""
    digits = 2
    while digits < 9 and 0 < abs(nano) < 10 ** (11 - digits):
        digits += 1
    unit = 10 ** (9 - digits)
    rounded = (abs(nano) + unit // 2) // unit * unit
    whole, _, part = str(format_usd(rounded)).partition(".")
    return f"{sign}${whole}.{part:0<2}"


@never_cache
@login_required
@require_safe
def money(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's own sums, models and latest calls; to administrators also people."""
    user = request.user
    zone = zone_of(user)
    now = timezone.now()
    month = start_of("month", now, zone)
    left = budgets.left_nano_usd(user)
    context: dict[str, Any] = {
        "zone": zone,
        "figures": [
            Figure("Today", statistics.totals(user, since=start_of("day", now, zone))),
            Figure("This month", statistics.totals(user, since=month)),
            Figure("Since the beginning", statistics.totals(user)),
        ],
        "budget_left": None if left is None else write_amount(left),
        "models": _figures(statistics.by_model(user, since=month)),
        "rows": _latest(user),
        "people": _figures(statistics.by_user(since=month)) if user.is_admin else [],
    }
    return render(request, "money/index.html", context)


@never_cache
@login_required
@require_safe
def download(request: AuthenticatedHttpRequest) -> StreamingHttpResponse:
    """Send all of one's own calls as a CSV file."""
    user = request.user
    if request.method == "GET":
        audit.record("ledger.exported", actor=user, subject=user.username)
    lines = export.lines("csv", user, owner=user)
    is_async = isinstance(request, ASGIRequest)
    response = StreamingHttpResponse(
        _chunks_async(lines) if is_async else lines,
        content_type="text/csv; charset=utf-8",
    )
    response["Content-Disposition"] = 'attachment; filename="cortex-ledger.csv"'
    return response


async def _chunks_async(lines: Iterator[str]) -> AsyncIterator[str]:
    """Read the lines in the thread of the request, some hundred at a time."""
    while chunk := await sync_to_async(lambda: "".join(islice(lines, _CHUNK_LINES)))():
        yield chunk


def _figures(groups: dict[str, Totals]) -> list[Figure]:
    """Return the sums of each name, the most expensive first."""
    figures = [Figure(name, sums) for name, sums in groups.items()]
    return sorted(figures, key=lambda each: -each.sums.cost_nano_usd)


def _latest(user: User) -> list[Row]:
    """Return the person's latest closed calls, newest first."""
    entries = list(export.closing_rows(user).order_by("-id")[:LATEST_ROWS])
    texts = previews.for_user(user, [each.attempt_id for each in entries])
    return [
        Row(each, write_amount(each.cost_nano_usd), texts.get(each.attempt_id, ""))
        for each in entries
    ]
