"""Pages of chains: which models or kinds of host answer for a role, in which order."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.models import User
from accounts.requests import FORM, AuthenticatedHttpRequest
from routing import hosts
from routing.catalogue import Catalogue, not_set_up
from routing.forms import ChainForm
from routing.models import Model
from routing.registry import catalogue_for
from routing.role_answers import RoleAnswer, answer_for


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a chain as the page shows it."""

    key: str
    """What the form to move it sends."""
    label: str
    now: str
    """What a plain id means at present, or why a place is skipped; mostly empty."""


@never_cache
@login_required
@FORM
def chain(request: AuthenticatedHttpRequest, scope: str, role: str) -> HttpResponse:
    """Choose and order the places of one's own chain or a shared one."""
    owner = _owner_of(request.user, scope)
    if role not in settings.MODEL_ROLES:
        raise Http404
    rows = hosts.chain_of(owner, role)
    data = request.POST if request.method == "POST" else None
    form = ChainForm(request.user, owner, rows, data)
    if data is not None and form.is_valid() and form.save_for(request.user, role):
        messages.success(request, f"The chain for {role} is saved.")
        return redirect("models")
    catalogue = catalogue_for(request.user)
    answer: RoleAnswer = answer_for(role, catalogue)
    context = {
        "form": form,
        "role": role,
        "scope": scope,
        "places": [_place(row, catalogue) for row in rows],
        "answer": answer,
    }
    status = 400 if form.errors else 200
    return render(request, "routing/chain.html", context, status=status)


@never_cache
@login_required
@require_POST
def chain_move(
    request: AuthenticatedHttpRequest, scope: str, role: str
) -> HttpResponse:
    """Move one row of a chain up by one place."""
    owner = _owner_of(request.user, scope)
    rows = hosts.chain_of(owner, role)
    keys = [_key(row) for row in rows]
    wanted = request.POST.get("up", "")
    place = keys.index(wanted) if wanted in keys else 0
    if place > 0:
        rows[place - 1], rows[place] = rows[place], rows[place - 1]
        try:
            hosts.set_chain(owner, role, rows, actor=request.user)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    return redirect("chain", scope, role)


def _key(row: hosts.ChainRow) -> str:
    return str(row.id) if isinstance(row, Model) else row


def _place(row: hosts.ChainRow, catalogue: Catalogue) -> Place:
    if isinstance(row, Model):
        usable = any(model.id == row.id for model in catalogue.models)
        return Place(_key(row), row.label, "" if usable else "not in use, so skipped")
    model = catalogue.find(row)
    if model is None:
        return Place(row, row, not_set_up(row))
    return Place(row, row, "" if model.label == row else f"now {model.label}")


def _owner_of(user: User, scope: str) -> User | None:
    """Return whose chain ``scope`` means; 404 for the shared one to members."""
    if scope == "own":
        return user
    if scope == "shared" and user.is_admin:
        return None
    raise Http404
