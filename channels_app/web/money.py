"""The pages about money: what one's own calls cost; for administrators, all sums.

Figures and rows come from the ledger. The start of a prompt and the titles of
conversations are shown to their owner alone; administrators see amounts of other
people and never a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app.money_amounts import Figure, Own, figures_of
from channels_app.web import money_periods
from ledger import export, previews, statistics
from ledger.allowances import standings_of
from ledger.models import LedgerEntry
from ledger.money import write_amount
from ledger.periods import start_of
from personas.costs import ConversationCost, costliest_conversations
from routing.savings import Saving, saving_of, saving_of_everybody

LATEST_ROWS = 50
_ALL_TABLES = {
    "user_name": ("People", "Person"),
    "model_id": ("Models", "Model"),
    "role": ("Model roles", "Role"),
    "channel": ("Channels", "Channel"),
}
_OWN_TABLES = {
    "model_id": ("Models", "Model"),
    "persona_name": ("Personas", "Persona"),
    "role": ("Model roles", "Role"),
    "channel": ("Channels", "Channel"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One closed call as its owner sees it; without preview for everybody else."""

    entry: LedgerEntry
    amount: str
    preview: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several links, of which one is the page that is shown."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Sums by one thing, such as the model, the most expensive first."""

    title: str
    column: str
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of the chart and of the table that says the same."""

    bars: list[money_periods.Bar]
    by: str

    @property
    def has_calls(self) -> bool:
        """Whether there is anything to draw."""
        return any(bar.calls for bar in self.bars)


@dataclass(frozen=True, slots=True)
class View:
    """What an address asks to see: whose sums, of which time, in whose zone."""

    now: datetime
    zone: tzinfo
    period: str
    chart: str
    user: User | None
    """``None`` = everybody's."""

    @property
    def today(self) -> date:
        """The day at the person's place."""
        return self.now.astimezone(self.zone).date()

    @property
    def since(self) -> datetime | None:
        """When the chosen period began."""
        return money_periods.since_of(self.period, self.now, self.zone)


@never_cache
@login_required
@require_safe
def money(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's own sums, chart, shares, dearest conversations and latest calls."""
    user = request.user
    view = _view(request, user)
    sums = statistics.breakdown(user, *_OWN_TABLES, since=view.since)
    saving = saving_of(user, sums=sums.whole)
    tables = _tables(sums, _OWN_TABLES)
    context = _context(view, tables, sums.whole) | {
        "budgets": [Own(each) for each in standings_of(user)],
        "saving": saving,
        "saved": _saved(saving),
        "conversations": _conversations(user, view.since),
        "rows": _latest(user),
    }
    return render(request, "money/index.html", context)


@never_cache
@login_required
@require_safe
def everybody(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show administrators what all people's calls cost: amounts, and no text."""
    if not request.user.is_admin:
        raise Http404("There is no such page.")
    view = _view(request, None)
    sums = statistics.breakdown(None, "user_id", *_ALL_TABLES, since=view.since)
    saving = saving_of_everybody(by_id=sums.by("user_id"))
    tables = _tables(sums, _ALL_TABLES)
    context = _context(view, tables, sums.whole)
    context |= {"saving": saving, "saved": _saved(saving)}
    return render(request, "money/everybody.html", context)


def _view(request: AuthenticatedHttpRequest, user: User | None) -> View:
    asked = request.GET
    return View(
        now=timezone.now(),
        zone=zone_of(request.user),
        period=money_periods.chosen(
            asked.get("period"), money_periods.PERIODS, money_periods.DEFAULT_PERIOD
        ),
        chart=money_periods.chosen(
            asked.get("chart"), money_periods.CHARTS, money_periods.DEFAULT_CHART
        ),
        user=user,
    )


def _context(
    view: View, tables: list[Table], sums: statistics.Totals
) -> dict[str, Any]:
    """Return what both pages show; ``sums`` are those of the chosen period."""
    by_date = _by_date(view)
    return {
        "zone": view.zone,
        "figures": _sums(view, by_date, sums),
        "chart": Chart(money_periods.bars(by_date, view.chart, view.today), view.chart),
        "tables": [table for table in tables if table.figures],
        "period_name": money_periods.PERIODS[view.period],
        "periods": _choices(money_periods.PERIODS, "period", view),
        "charts": _choices(money_periods.CHARTS, "chart", view),
    }


def _by_date(view: View) -> dict[date, statistics.Totals]:
    """Return the sums of each day of the chart and of this month."""
    chart = money_periods.chart_since(view.chart, view.now, view.zone)
    month = start_of("month", view.now, view.zone)
    return statistics.by_date(view.user, since=min(chart, month), zone=view.zone)


def _sums(
    view: View, by_date: Mapping[date, statistics.Totals], sums: statistics.Totals
) -> list[Figure]:
    first = view.today.replace(day=1)
    month = [each for day, each in by_date.items() if day >= first]
    whole = sums if view.since is None else statistics.totals(view.user)
    return [
        Figure("Today", by_date.get(view.today, statistics.Totals())),
        Figure("This month", statistics.add_up(month)),
        Figure("Since the beginning", whole),
    ]


def _choices(names: Mapping[str, str], kind: str, view: View) -> list[Choice]:
    asked = {"period": view.period, "chart": view.chart}
    links = []
    for value, label in names.items():
        wanted = asked | {kind: value}
        query = "&".join(f"{name}={each}" for name, each in wanted.items())
        links.append(Choice(label, f"?{query}", value == asked[kind]))
    return links


def _tables(
    sums: statistics.Breakdown, titles: Mapping[str, tuple[str, str]]
) -> list[Table]:
    return [
        Table(title, column, figures_of(sums.by(name)))
        for name, (title, column) in titles.items()
    ]


def _saved(saving: Saving) -> str:
    return "–" if saving.nano_usd is None else write_amount(saving.nano_usd)


def _conversations(
    user: User, since: datetime | None
) -> list[tuple[ConversationCost, str]]:
    """Return the costliest conversations with their amounts as they are written."""
    return [
        (each, write_amount(None if each.is_unknown else each.cost_nano_usd))
        for each in costliest_conversations(user, since=since)
    ]


def _latest(user: User) -> list[Row]:
    """Return the person's latest closed calls, newest first."""
    entries = list(export.closing_rows(user).order_by("-id")[:LATEST_ROWS])
    texts = previews.for_user(user, [each.attempt_id for each in entries])
    return [
        Row(each, write_amount(each.cost_nano_usd), texts.get(each.attempt_id, ""))
        for each in entries
    ]
