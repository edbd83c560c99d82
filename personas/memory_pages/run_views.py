"""The pages about what was distilled: the history, one run, and deciding about it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.models import User
from accounts.requests import FORM, AuthenticatedHttpRequest
from personas.errors import EntryGone, FileRefused
from personas.memory import runs
from personas.memory.changes import Change
from personas.memory.files import locked_memory
from personas.memory_pages import reviews
from personas.models import MemoryRun
from personas.personas import get_persona_for_user

RUNS_PER_PAGE = 20
FIELD = "added:"
"""Before the name of a file in the name of the box with its added lines."""
_DECIDED = "This was decided meanwhile; nothing was changed."


@never_cache
@login_required
@require_safe
def memory_runs(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """List all runs of a persona, newest first."""
    persona = get_persona_for_user(request.user, name)
    page = Paginator(reviews.runs_of(persona), RUNS_PER_PAGE).get_page(
        request.GET.get("page")
    )
    context = {
        "persona": persona,
        "tab": "memory",
        "page": page,
        "runs": [reviews.shown_run(run) for run in page],
    }
    return render(request, "personas/memory_runs.html", context)


@never_cache
@login_required
@FORM
def memory_run(
    request: AuthenticatedHttpRequest, name: str, run_id: uuid.UUID
) -> HttpResponse:
    """Show one run with its changes, and on POST decide about it."""
    persona = get_persona_for_user(request.user, name)
    run = runs.get_run_for_user(request.user, run_id)
    if run.persona_id != persona.pk:
        raise Http404("There is no such run.")
    if request.method != "POST":
        return _page(request, run)
    verb = request.POST.get("do", "")
    if verb not in _VERBS:
        return HttpResponseBadRequest("There is nothing to do that is called so.")
    try:
        decided = _decide(request, run, verb)
    except (EntryGone, FileRefused) as error:
        status = 409 if isinstance(error, EntryGone) else 400
        return _page(request, run, refused=str(error), status=status)
    if decided is None:
        run.refresh_from_db()
        return _page(request, run, refused=_DECIDED, status=409)
    if decided.state == MemoryRun.State.LEFT:
        messages.error(request, decided.explanation)
    else:
        messages.success(request, _VERBS[verb].said)
    back = _BACK.get(request.POST.get("back", ""), "persona_memory")
    return redirect(back, persona.name)


@dataclass(frozen=True, slots=True)
class _Verb:
    states: tuple[str, ...]
    """In which states a run can be decided so."""
    decide: Callable[[MemoryRun, User, list[Change] | None], MemoryRun]
    said: str


_VERBS: Final = {
    "accept": _Verb(
        runs.OPEN_STATES,
        runs.accept,
        "Accepted: it is in the memory.",
    ),
    "edit": _Verb(runs.OPEN_STATES, runs.accept, "Accepted as you edited it."),
    "reject": _Verb(
        runs.OPEN_STATES,
        lambda run, user, edited: runs.reject(run),
        "Rejected; nothing of it enters the memory.",
    ),
    "undo": _Verb(
        (MemoryRun.State.APPLIED,),
        lambda run, user, edited: runs.undo(run, user),
        "Undone.",
    ),
}
_BACK: Final = {"runs": "persona_memory_runs"}


def _decide(
    request: AuthenticatedHttpRequest, run: MemoryRun, verb: str
) -> MemoryRun | None:
    """Decide about a run as it stands now; ``None`` when it was decided meanwhile.

    What was typed is compared before the memory is locked, for that may take a while.
    """
    edited = reviews.edited(run, _typed(request)) if verb == "edit" else None
    with locked_memory(run.persona):
        now = runs.get_run_for_user(request.user, run.pk)
        is_other = edited is not None and now.changes != run.changes
        if now.state not in _VERBS[verb].states or is_other:
            return None
        return _VERBS[verb].decide(now, request.user, edited)


def _page(
    request: AuthenticatedHttpRequest,
    run: MemoryRun,
    *,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    """Show a run; after a refusal with what was typed for it."""
    typed = _typed(request) if refused and request.POST.get("do") == "edit" else {}
    shown = reviews.shown_run(run, typed)
    context = {
        "persona": run.persona,
        "tab": "memory",
        "shown": shown,
        "only": [shown],
        "refused": refused,
        "typed": typed,
    }
    return render(request, "personas/memory_run.html", context, status=status)


def _typed(request: AuthenticatedHttpRequest) -> dict[str, str]:
    """Return what stands in the boxes, by the name of the file."""
    return {
        name.removeprefix(FIELD): str(request.POST[name])
        for name in request.POST
        if name.startswith(FIELD)
    }
