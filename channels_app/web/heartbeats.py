"""The page about heartbeats, for administrators; everybody else gets 404."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import AuthenticatedHttpRequest
from channels_app.jobs import beat_rows, clock
from channels_app.jobs.beat_steps import STEPS
from channels_app.jobs.signs import signs
from channels_app.models import Beat
from channels_app.web.people import administrators_only
from ledger.money import write_amount

SHOWN: Final = 50
_TITLES: Final = {
    **{step.name: step.title for step in STEPS},
    beat_rows.WHOLE: "The heartbeat",
}


@dataclass(frozen=True, slots=True)
class StepLine:
    """What one step of a heartbeat did."""

    title: str
    found: int
    done: int | None
    """``None`` = it did not come to work."""
    failed: str


@dataclass(frozen=True, slots=True)
class BeatLine:
    """One heartbeat as it is shown."""

    beat: Beat
    steps: list[StepLine]
    """Those that found something or failed."""

    @property
    def state(self) -> str:
        """How it ended, in a word."""
        if self.beat.running:
            return "running"
        if self.beat.finished_at is None:
            return "ended early"
        return "failed in part" if self.beat.failed else "done"

    @property
    def badge(self) -> str:
        """The colour of that word."""
        return {"running": "accent", "done": "good"}.get(self.state, "warn")

    @property
    def took(self) -> str:
        """How long it was at work: ``0.03 s``, ``12 s``; empty = nobody knows."""
        if self.beat.finished_at is None:
            return ""
        seconds = (self.beat.finished_at - self.beat.started_at).total_seconds()
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"

    @property
    def cost(self) -> str:
        """What its calls cost; empty where it made none."""
        beat = self.beat
        return write_amount(beat.cost_nano_usd) if beat.model_calls else ""


def line_of(beat: Beat) -> BeatLine:
    """Return how a heartbeat is shown."""
    names = [name for name in _TITLES if beat.found.get(name) or name in beat.failed]
    return BeatLine(
        beat,
        [
            StepLine(
                _TITLES[name],
                beat.found.get(name, 0),
                beat.done.get(name),
                beat.failed.get(name, ""),
            )
            for name in names
        ],
    )


@administrators_only
@require_safe
def heartbeat(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show the last heartbeats and when the next one is due; live by asking again."""
    lines = [line_of(beat) for beat in Beat.objects.order_by("-pk")[:SHOWN]]
    asked = beat_rows.is_asked_for()
    context = {
        "tab": "heartbeat",
        "lines": lines,
        "asked": asked,
        "is_moving": asked or any(line.beat.running for line in lines[:1]),
        "next_at": _next_at(),
        "every_minutes": beat_rows.every() / 60,
        "is_silent": signs().is_silent,
    }
    whole = "HX-Request" not in request.headers
    page = "jobs/heartbeat.html" if whole else "jobs/heartbeat_lines.html"
    return render(request, page, context)


def _next_at() -> datetime | None:
    """Return when the next one is due; ``None`` = as soon as the worker looks."""
    moment = beat_rows.next_at(beat_rows.every())
    return moment if moment and moment > clock.now() else None


@administrators_only
@require_POST
def heartbeat_now(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Ask the worker for one, which begins within seconds."""
    beat_rows.ask_for_one()
    messages.success(request, "The worker begins a heartbeat within a few seconds.")
    return redirect("heartbeat")
