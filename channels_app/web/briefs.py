"""The pages about briefs: the list, and one brief with its form.

Everything works as plain forms. The form of a brief asks htmx for the part that says
what was chosen, its next runs and its price, while somebody types; without a script
“Show the next runs” does the same.
"""

from __future__ import annotations

import copy
import uuid
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.requests import FORM, AuthenticatedHttpRequest
from channels_app.job_models import QueuedTask, Schedule
from channels_app.jobs import cron, proposals, queue, schedules
from channels_app.jobs.price_words import price_in_words, price_source
from channels_app.jobs.prices import price_of
from channels_app.web.brief_beginnings import Beginning, beginning_of
from channels_app.web.brief_buttons import history_of
from channels_app.web.brief_forms import BriefForm
from channels_app.web.brief_lines import (
    RunLine,
    brief_lines,
    when_in_words,
)
from channels_app.web.brief_targets import targets_for, ways_to_more
from personas.conversations import get_conversation_for_user
from personas.personas import personas_visible_to

RUNS_AHEAD = 5


@never_cache
@login_required
@require_safe
def briefs(request: AuthenticatedHttpRequest) -> HttpResponse:
    """List one's briefs."""
    lines = brief_lines(schedules.schedules_visible_to(request.user))
    waiting = brief_lines(proposals.proposals_visible_to(request.user))
    context = {"tab": "briefs", "lines": lines, "proposals": waiting}
    return render(request, "jobs/briefs.html", context)


@never_cache
@login_required
@FORM
def brief_new(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Make a brief, from nothing or from a conversation."""
    beginning = _beginning(request)
    return _edit(request, None, beginning)


def _beginning(request: AuthenticatedHttpRequest) -> Beginning:
    """Return what the form begins with; raises ``Http404`` for another's chat."""
    if not (id := request.GET.get("conversation", "")):
        return Beginning()
    return beginning_of(request.user, get_conversation_for_user(request.user, id))


@never_cache
@login_required
@FORM
def brief(request: AuthenticatedHttpRequest, brief_id: UUID) -> HttpResponse:
    """Show a brief with its runs, and change it."""
    schedule = schedules.get_schedule_for_user(request.user, brief_id)
    return _edit(request, schedule, Beginning())


def _edit(
    request: AuthenticatedHttpRequest, schedule: Schedule | None, beginning: Beginning
) -> HttpResponse:
    """Show the form, the part of it that htmx asks for, or save what it says."""
    user, data = request.user, request.POST if request.method == "POST" else None
    targets = targets_for(user, schedule, beginning.conversation)
    form = BriefForm(user, targets, schedule, data, beginning.initial)
    draft = copy.copy(schedule) if schedule else Schedule(owner=user)
    draft.owner = user
    if data is None:
        return _page(request, form, schedule, draft, beginning)
    valid = form.is_valid()
    form.put_into(draft)
    wish = data.get("do", "save" if not _by_htmx(request) else "preview")
    if wish == "try":
        return _try(request, form, schedule, draft, beginning)
    if wish == "preview":
        if _by_htmx(request):
            context = _preview(form, draft)
            return render(request, "jobs/brief_preview.html", context)
        status = 200 if valid else 400
        return _page(request, form, schedule, draft, beginning, status=status)
    if not valid:
        return _page(request, form, schedule, draft, beginning, status=400)
    try:
        saved = schedules.save(draft)
    except ValidationError as error:
        form.add_refusal(error)
        return _page(request, form, schedule, draft, beginning, status=400)
    messages.success(request, f"“{saved.name}” is saved.")
    return redirect("brief", brief_id=saved.pk)


def _by_htmx(request: AuthenticatedHttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]


def _page(
    request: AuthenticatedHttpRequest,
    form: BriefForm,
    schedule: Schedule | None,
    draft: Schedule,
    beginning: Beginning,
    *,
    tried: QueuedTask | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "tab": "briefs",
        "form": form,
        "brief": schedule,
        "beginning": beginning,
        "ways": ways_to_more(request.user),
        "has_personas": personas_visible_to(request.user).exists(),
        "try_key": uuid.uuid4(),
        **_preview(form, draft),
    }
    if tried is not None:
        context["tried"] = RunLine(tried)
    if schedule is not None:
        context |= history_of(schedule, "")
    return render(request, "jobs/brief.html", context, status=status)


# --- what it would mean -------------------------------------------------------


def _preview(form: BriefForm, draft: Schedule) -> dict[str, Any]:
    """Return what the chosen times mean, their next runs, and the price of a run."""
    if not form.is_bound:
        values = BriefForm(
            draft.owner,
            form.targets,
            data={
                name: form.get_initial_for_field(field, name)
                for name, field in form.fields.items()
            },
        )
        values.is_valid()
        values.put_into(draft)
        form = values
    known, now = form.cleaned_data, timezone.now()
    context: dict[str, Any] = {}
    if {"expression", "time_zone"} <= known.keys():
        context |= {
            "means": when_in_words(draft.cron, draft.time_zone),
            "expression": draft.cron,
            "zone": draft.time_zone,
            "is_on": draft.enabled,
            "runs_ahead": cron.next_runs(draft.cron, draft.time_zone, now, RUNS_AHEAD),
        }
    else:
        draft.cron = ""  # so that no month is counted by the time of before
    if {"persona", "prompt", "target"} <= known.keys():
        tag = price_of(draft, now)
        context |= {
            "price": price_in_words(tag),
            "price_source": price_source(tag),
            "above_cap": _above_cap(draft, tag.run_nano_usd),
        }
    names = ("how", "weekdays", "time", "cron", "time_zone")
    context["time_faults"] = [
        fault for name in names for fault in form.errors.get(name, [])
    ]
    return context


def _above_cap(draft: Schedule, nano: int | None) -> bool:
    return (
        draft.cap_nano_usd is not None
        and nano is not None
        and nano > draft.cap_nano_usd
    )


# --- trying it once -----------------------------------------------------------


def _try(
    request: AuthenticatedHttpRequest,
    form: BriefForm,
    schedule: Schedule | None,
    draft: Schedule,
    beginning: Beginning,
) -> HttpResponse:
    """Have the prompt answered once, now, without saving or delivering anything."""
    refusal, task = _why_not_tried(form), None
    if not refusal:
        try:
            task = _enqueue_try(request, draft)
        except queue.QueueRefused as error:
            refusal = error.message
    if _by_htmx(request):
        context = {
            "tried": RunLine(task) if task else None,
            "try_refusal": refusal,
            "try_key": uuid.uuid4(),
        }
        return render(request, "jobs/brief_try.html", context)
    if refusal:
        messages.error(request, refusal)
    status = 400 if refusal else 200
    return _page(request, form, schedule, draft, beginning, tried=task, status=status)


def _why_not_tried(form: BriefForm) -> str:
    """Say what is wrong in the fields that a trial depends on; empty = nothing."""
    return " ".join(
        f"{form[name].label}: {fault}"
        for name in ("persona", "prompt", "tier", "cap")
        for fault in form.errors.get(name, [])
    )


def _enqueue_try(request: AuthenticatedHttpRequest, draft: Schedule) -> QueuedTask:
    """Queue the prompt; the form's own key makes a second click harmless."""
    key = request.POST.get("try_key", "")[:40]
    return queue.enqueue(
        request.user,
        queue.NewTask(
            text=draft.prompt,
            kind="trial",
            persona=draft.persona,
            tier=draft.tier,
            cap_nano_usd=draft.cap_nano_usd,
            source="page",
            by_hand=True,
            idempotency_key=f"try-{key}" if key else "",
        ),
    )
