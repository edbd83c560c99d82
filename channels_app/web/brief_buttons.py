"""The buttons of a brief and of a proposal, its history, what came of a try."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import FORM, AuthenticatedHttpRequest
from channels_app.job_models import Schedule
from channels_app.jobs import proposals, queue, schedules
from channels_app.web.brief_lines import RunLine, any_open, run_page


@login_required
@require_POST
def brief_run(request: AuthenticatedHttpRequest, brief_id: UUID) -> HttpResponse:
    """Run a brief now, beside its times."""
    schedule = schedules.get_schedule_for_user(request.user, brief_id)
    try:
        run = schedules.run_now(schedule)
    except (ValidationError, queue.QueueRefused) as error:
        said = error.messages if isinstance(error, ValidationError) else [error.message]
        messages.error(request, " ".join(said))
    else:
        outcome = "runs now." if run.is_new else "is running already."
        messages.success(request, f"“{schedule.name}” {outcome}")
    response = redirect("brief", brief_id=brief_id)
    response["Location"] += "#history"
    return response


@login_required
@require_POST
def brief_switch(request: AuthenticatedHttpRequest, brief_id: UUID) -> HttpResponse:
    """Pause a brief, or let it go on."""
    schedule = schedules.get_schedule_for_user(request.user, brief_id)
    on = request.POST.get("on") == "1"
    try:
        schedules.switch(schedule, on)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        said = "runs at its times again." if on else "is paused."
        messages.success(request, f"“{schedule.name}” {said}")
    if request.POST.get("back") == "brief":
        return redirect("brief", brief_id=brief_id)
    return redirect("briefs")


@never_cache
@login_required
@FORM
def brief_delete(request: AuthenticatedHttpRequest, brief_id: UUID) -> HttpResponse:
    """Ask, then delete a brief; what it wrote stays."""
    schedule = schedules.get_schedule_for_user(request.user, brief_id)
    if request.method == "POST":
        name = schedule.name
        schedules.delete(schedule)
        messages.success(request, f"“{name}” is deleted.")
        return redirect("briefs")
    context = {"tab": "briefs", "brief": schedule}
    return render(request, "jobs/brief_delete.html", context)


@never_cache
@login_required
@require_safe
def brief_history(request: AuthenticatedHttpRequest, brief_id: UUID) -> HttpResponse:
    """Show the runs of a brief, a page at a time; to htmx the list alone."""
    schedule = schedules.get_schedule_for_user(request.user, brief_id)
    context = history_of(schedule, request.GET.get("page", ""))
    context |= {"tab": "briefs", "brief": schedule}
    by_htmx = request.htmx  # type: ignore[attr-defined]
    part = "jobs/brief_runs.html" if by_htmx else "jobs/brief_history.html"
    return render(request, part, context)


def history_of(schedule: Schedule, number: str) -> dict[str, Any]:
    """Return what a page of a brief's history shows."""
    runs = run_page(schedules.runs_of(schedule), number)
    return {"runs": runs, "is_live": any_open(runs.object_list)}


@never_cache
@login_required
@require_safe
def brief_try(request: AuthenticatedHttpRequest, task_id: UUID) -> HttpResponse:
    """Return what came of trying a prompt, for the page it was tried on."""
    task = queue.get_task_for_user(request.user, task_id)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect("task", task_id=task.pk)
    context = {"tried": RunLine(task), "try_key": uuid.uuid4()}
    return render(request, "jobs/brief_try.html", context)


@login_required
@require_POST
def brief_proposal(
    request: AuthenticatedHttpRequest, proposal_id: UUID
) -> HttpResponse:
    """Say yes or no to a brief that was asked for in a chat."""
    proposal = proposals.get_proposal_for_user(request.user, proposal_id)
    answer = request.POST.get("answer")
    if answer == "yes":
        try:
            brief = proposals.confirm(proposal)
        except ValidationError as error:
            messages.error(request, proposals.objections(error))
        else:
            messages.success(request, f"“{brief.name}” is set up.")
            return redirect("brief", brief_id=brief.pk)
    elif answer == "no":
        proposals.drop(proposal)
        messages.success(request, "Nothing was set up.")
    return redirect("briefs")
