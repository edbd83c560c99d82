"""The page ``/settings/models/`` with hosts, models and chains, and the drill.

Everybody sees the shared ones and changes their own; administrators change the shared
ones on the same pages. Everything works without JavaScript; a form that is refused
comes back with status 400 and all that was typed, except keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import AuthenticatedHttpRequest
from routing import hosts
from routing.catalogue import BUILTIN, Catalogue
from routing.forms import FreeUrlForm
from routing.models import Model
from routing.registry import (
    catalogue_for,
    hosts_visible_to,
    may_add_free_url,
    models_visible_to,
)
from routing.role_answers import (
    TYPICAL_MESSAGE,
    WITHOUT,
    DrillRow,
    answer_for,
    drill,
    price_of,
)

ROLE_WORDS = {
    "chat": "conversation",
    "orchestrator": "work in several steps, with tools",
    "distill": "turning conversations into memory",
    "coder": "programming",
    "research": "looking things up",
    "classify": "judging how hard a message is",
}
"""What each role is for."""


@dataclass(frozen=True, slots=True)
class RoleRow:
    """How one role is answered at present."""

    role: str
    words: str
    models: tuple[str, ...]
    source: str
    without: str
    own: bool
    shared: bool


@never_cache
@login_required
@require_safe
def overview(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show all hosts with their models, and what answers for each role."""
    user = request.user
    visible = list(hosts_visible_to(user))
    models: dict[int, list[Model]] = {}
    for model in models_visible_to(user):
        models.setdefault(model.host_id, []).append(model)
    listed = [(host, models.get(host.id, [])) for host in visible]
    catalogue = catalogue_for(user)
    context = {
        "own": [row for row in listed if row[0].owner_id is not None],
        "shared": [row for row in listed if row[0].owner_id is None],
        "builtin": BUILTIN,
        "roles": [_role_row(role, catalogue) for role in settings.MODEL_ROLES],
        "may_add": bool(hosts.addable_types()),
        "may_add_free": may_add_free_url(user),
        "people_form": FreeUrlForm() if user.is_admin else None,
    }
    return render(request, "routing/overview.html", context)


@never_cache
@login_required
@require_safe
def drill_page(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show what would answer for each role if the ticked hosts were down."""
    catalogue = catalogue_for(request.user)
    in_use = {model.host.id: model.host for model in catalogue.models}
    asked = request.GET.getlist("down")
    down = {host_id for host_id in in_use if str(host_id) in asked}
    context = {
        "hosts": [(host, host.id in down) for host in in_use.values()],
        "down": [in_use[host_id].name for host_id in down],
        "rows": [
            _drill_row(row) for row in drill(catalogue, down, settings.MODEL_ROLES)
        ],
        "typical": TYPICAL_MESSAGE,
    }
    return render(request, "routing/drill.html", context)


@never_cache
@login_required
@require_POST
def free_urls(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Choose who may add hosts at addresses of their own choice; for administrators."""
    if not request.user.is_admin:
        raise Http404
    form = FreeUrlForm(request.POST)
    if form.is_valid():
        form.save_for(request.user)
        messages.success(request, "Saved.")
    return redirect("models")


def _drill_row(row: DrillRow) -> dict[str, object]:
    """Return one role of the drill in the words of the page."""
    before, after = row.before.first, row.after
    return {
        "role": row.role,
        "words": ROLE_WORDS.get(row.role, ""),
        "answers": [(model.label, price_of(model)) for model in after.models],
        "nobody": f"{after.reason} So {WITHOUT.get(row.role, 'it is off')}.",
        "was_answered": before is not None,
        "instead_of": before.label if before and row.changes else "",
    }


def _role_row(role: str, catalogue: Catalogue) -> RoleRow:
    own, shared = role in catalogue.own_chains, role in catalogue.shared_chains
    answer = answer_for(role, catalogue)
    configured = own or shared or bool(catalogue.role_settings.get(role))
    without = answer.reason if configured else WITHOUT.get(role, "it is off")
    source = "your chain" if own else "the shared chain" if shared else answer.reason
    return RoleRow(
        role,
        ROLE_WORDS.get(role, ""),
        tuple(model.label for model in answer.models),
        source,
        without,
        own,
        shared,
    )
