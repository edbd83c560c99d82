"""The memory page of a persona, its settings and the button that begins at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.requests import FORM, AuthenticatedHttpRequest
from personas.errors import EditConflict, EntryGone, FileRefused
from personas.files import MEMORY_FILES, get_file
from personas.memory import sources, triggers
from personas.memory.files import settings_of
from personas.memory_pages import line_changes, reviews, shown
from personas.memory_pages.forms import MemorySettingsForm
from personas.memory_pages.line_changes import Done, Wish
from personas.models import Persona
from personas.personas import get_persona_for_user

RECENT_RUNS = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done, and what was typed for it."""

    said: str
    status: int
    text: str = ""
    file: str = MEMORY_FILES[0]


@never_cache
@login_required
@FORM
def memory(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Show a persona's memory, and on POST change one of its lines."""
    persona = get_persona_for_user(request.user, name)
    if request.method != "POST":
        return memory_page(request, persona)
    verb, _, to = request.POST.get("do", "").partition(":")
    if verb == "restore":
        return _restore(request, persona)
    file = request.POST.get("file", "")
    known = verb in line_changes.CHANGES and file in MEMORY_FILES
    if not known or (verb == "move") != (to in MEMORY_FILES):
        return HttpResponseBadRequest("There is nothing to do that is called so.")
    wish = Wish(
        persona=persona,
        author=request.user,
        file=file,
        raw=request.POST.get("raw", ""),
        text=request.POST.get("text", ""),
        to=to,
    )
    return _change(request, wish, verb)


def _change(request: AuthenticatedHttpRequest, wish: Wish, verb: str) -> HttpResponse:
    try:
        done = line_changes.CHANGES[verb](wish)
    except (EntryGone, FileRefused) as error:
        status = 409 if isinstance(error, EntryGone) else 400
        typed = wish.text if verb in ("add", "edit") else ""
        refusal = Refusal(str(error), status, typed, wish.file)
        return memory_page(request, wish.persona, refusal=refusal)
    return _done(request, wish.persona, wish.file, done)


def _done(
    request: AuthenticatedHttpRequest, persona: Persona, file: str, done: Done
) -> HttpResponse:
    """Lead back to the page as it was looked at, where a deletion can be undone."""
    query = {"q": request.POST.get("q", "").strip()}
    if done.removed_at:
        query["removed"] = f"{file}:{done.removed_at}"
    else:
        messages.success(request, done.said)
    query = {name: value for name, value in query.items() if value}
    address = reverse("persona_memory", args=[persona.name])
    return redirect(f"{address}?{urlencode(query)}" if query else address)


def _restore(request: AuthenticatedHttpRequest, persona: Persona) -> HttpResponse:
    removed = _removed(persona, request.POST.get("removed", ""))
    if removed is None:
        raise Http404("There is no such deletion.")
    try:
        done = line_changes.restore(
            persona, removed["file"], removed["number"], request.user
        )
    except (EditConflict, FileRefused) as error:
        status = 409 if isinstance(error, EditConflict) else 400
        return memory_page(request, persona, refusal=Refusal(str(error), status))
    return _done(request, persona, removed["file"], done)


def _removed(persona: Persona, value: str) -> dict[str, Any] | None:
    """Read which deletion an address or a button means; ``None`` when it is none."""
    name, _, number = value.partition(":")
    if name not in MEMORY_FILES or not number.isascii() or not number.isdigit():
        return None
    try:
        lines = line_changes.removed_lines(get_file(persona, name), int(number[:9]))
    except Http404:
        return None
    if not lines:
        return None
    said = [shown.shown_line(line) for line in lines]
    return {"file": name, "number": int(number[:9]), "value": value, "lines": said}


def memory_page(
    request: AuthenticatedHttpRequest,
    persona: Persona,
    *,
    refusal: Refusal | None = None,
    form: MemorySettingsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """Render the page as things are now, with what was refused above."""
    search = (request.POST.get("q") or request.GET.get("q") or "").strip()[:200]
    settings = settings_of(persona)
    tiers = shown.tiers_of(persona, request.user, search)
    recent = reviews.runs_of(persona).exclude(state="waiting")[: RECENT_RUNS + 1]
    waiting, waiting_more = reviews.waiting_of(persona)
    context = {
        "persona": persona,
        "tab": "memory",
        "settings": settings,
        "settings_form": form or MemorySettingsForm(instance=settings),
        "why_off": triggers.why_off(request.user, private=persona.private),
        "undistilled": sources.undistilled(persona).count(),
        "last_run": reviews.last_run_of(persona),
        "waiting": waiting,
        "waiting_more": waiting_more,
        "waiting_count": len(waiting) + waiting_more,
        "tiers": tiers,
        "all_private": all(tier.file.private for tier in tiers),
        "found": sum(len(tier.entries) for tier in tiers),
        "q": search,
        "removed": _removed(persona, request.GET.get("removed", "")),
        "refusal": refusal,
        "settings_open": form is not None,
        "recent": [reviews.shown_run(run) for run in recent[:RECENT_RUNS]],
        "has_older": len(recent) > RECENT_RUNS,
    }
    return render(
        request,
        "personas/memory.html",
        context,
        status=refusal.status if refusal else status,
    )


@login_required
@require_POST
def memory_now(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Ask for a distillation without waiting for its moment."""
    persona = get_persona_for_user(request.user, name)
    if why := triggers.why_off(request.user, private=persona.private):
        messages.error(request, why)
    else:
        triggers.ask(persona)
        messages.success(request, "It begins in a moment; what comes of it shows here.")
    return redirect("persona_memory", name)


@never_cache
@login_required
@FORM
def memory_settings(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Show the page with its settings open, and on POST save them."""
    persona = get_persona_for_user(request.user, name)
    form = MemorySettingsForm(
        request.POST if request.method == "POST" else None,
        instance=settings_of(persona),
    )
    if request.method == "POST" and form.is_valid():
        form.keep(persona)
        messages.success(request, "Saved.")
        return redirect("persona_memory", name)
    status = 400 if form.errors else 200
    return memory_page(request, persona, form=form, status=status)
