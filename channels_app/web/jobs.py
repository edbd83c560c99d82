"""The pages about one's queued tasks, below ``/jobs/``."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import FORM, AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app.jobs import queue as tasks
from channels_app.jobs.queue import QueueRefused, get_task_for_user
from channels_app.models import QueuedTask
from channels_app.web import job_lines
from channels_app.web.job_forms import NewTaskForm

UNCHANGED = 204
"""Says that what is shown is still so; htmx then changes nothing."""


@never_cache
@login_required
@FORM
def queue(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's tasks, and queue one."""
    if request.method != "POST":
        if "state" in request.GET:
            return _one_state(request)
        return _overview(request, NewTaskForm(request.user))
    form = NewTaskForm(request.user, request.POST)
    status = 400
    if form.is_valid():
        try:
            added = tasks.enqueue(request.user, form.new_task())
        except QueueRefused as error:
            form.add_error(None, error.message)
            status = error.status
        else:
            if not added.is_new:
                messages.info(request, "This task was queued before.")
            return redirect("jobs")
    return _overview(request, form, status)


def _overview(
    request: AuthenticatedHttpRequest, form: NewTaskForm, status: int = 200
) -> HttpResponse:
    context = _context(request) | {"form": form}
    context["overview"] = job_lines.overview_of(request.user)
    return render(request, "jobs/queue.html", context, status=status)


def _one_state(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show all tasks in a state, page by page."""
    state, before = request.GET["state"], request.GET.get("before")
    if state not in QueuedTask.State.values:
        raise Http404("There is no such state.")
    last = get_task_for_user(request.user, before) if before else None
    page = job_lines.page_of(request.user, state, last)
    context = _context(request) | {"page": page, "is_later": before is not None}
    return render(request, "jobs/state.html", context)


@never_cache
@login_required
@require_safe
def queue_live(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show the groups of tasks again, if they look different from what is seen."""
    overview = job_lines.overview_of(request.user)
    if overview.every and overview.digest == request.GET.get("seen"):
        return HttpResponse(status=UNCHANGED)
    context = _context(request) | {"overview": overview}
    return render(request, "jobs/groups.html", context)


@never_cache
@login_required
@require_safe
def task(request: AuthenticatedHttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Show one task with what came of it."""
    found = get_task_for_user(request.user, task_id)
    return render(request, "jobs/task.html", _task_context(request, found))


@never_cache
@login_required
@require_safe
def task_live(request: AuthenticatedHttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Show how a task goes again, if it looks different from what is seen."""
    found = get_task_for_user(request.user, task_id)
    digest = job_lines.digest_of([found], [tasks.position_of(found)])
    is_seen = digest == request.GET.get("seen")
    if is_seen and found.state in tasks.OPEN:
        return HttpResponse(status=UNCHANGED)
    return render(request, "jobs/task_state.html", _task_context(request, found))


@never_cache
@login_required
@require_POST
def task_cancel(request: AuthenticatedHttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Cancel a task."""
    return _change(request, task_id, tasks.cancel)


@never_cache
@login_required
@require_POST
def task_retry(request: AuthenticatedHttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Try a task again."""
    return _change(request, task_id, tasks.retry)


def _change(
    request: AuthenticatedHttpRequest,
    task_id: uuid.UUID,
    change: Callable[[QueuedTask], QueuedTask],
) -> HttpResponse:
    found = get_task_for_user(request.user, task_id)
    try:
        change(found)
    except QueueRefused as error:
        messages.error(request, error.message)
    if request.POST.get("back") == "list":
        return redirect("jobs")
    return redirect("task", task_id)


@never_cache
@login_required
@FORM
def task_delete(request: AuthenticatedHttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Ask, then delete a task that is over."""
    found = get_task_for_user(request.user, task_id)
    if found.state in tasks.OPEN:
        messages.error(request, "It is not over yet; cancel it first.")
        return redirect("task", task_id)
    if request.method == "POST":
        try:
            tasks.forget(found)
        except QueueRefused as error:
            messages.error(request, error.message)
            return redirect("task", task_id)
        messages.success(request, "The task is deleted.")
        return redirect("jobs")
    context = _context(request) | {"line": job_lines.TaskLine(found)}
    return render(request, "jobs/task_delete.html", context)


def _context(request: AuthenticatedHttpRequest) -> dict[str, Any]:
    return {"tab": "queue", "zone": zone_of(request.user)}


def _task_context(
    request: AuthenticatedHttpRequest, found: QueuedTask
) -> dict[str, Any]:
    position = tasks.position_of(found)
    return _context(request) | {
        "line": job_lines.TaskLine(found),
        "task": found,
        "cost": job_lines.cost_words(found),
        "digest": job_lines.digest_of([found], [position]),
        "every": job_lines.often(found),
        "position": position,
    }
