"""The pages of personas: the list, one persona's settings, its prompt.

The pages of a persona's files are in ``personas.file_views``; the one that deletes a
persona also stops its turns, so it is in ``channels_app.web.persona_end``. Everything
works without JavaScript; a form that is refused comes back with status 400 and all that
was typed.
"""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.requests import AuthenticatedHttpRequest
from personas.context import persona_material
from personas.errors import TooLong
from personas.forms import NewPersonaForm, PersonaForm
from personas.models import Persona
from personas.personas import (
    create_persona,
    get_persona_for_user,
    personas_visible_to,
)
from personas.prompts import RECALL_TIER, compose, recall_room

BUDGETS = (
    (900, "the built-in model"),
    (3_000, "a model with 4,000 tokens"),
    (6_000, "a model with 8,000 tokens"),
    (28_000, "a model with 32,000 tokens"),
    (120_000, "a model with 128,000 tokens"),
)
"""Input budgets to preview, in tokens, each with the kind of model it belongs to."""
USUAL_BUDGET_TOKENS = 6_000


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def persona_list(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's personas, and on POST make another."""
    form = NewPersonaForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            persona = create_persona(request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_refusal(error)
        else:
            messages.success(request, f"{persona.display_name} is here.")
            return redirect("persona", persona.name)
    context = {"personas": personas_visible_to(request.user), "form": form}
    status = 400 if form.errors else 200
    return render(request, "personas/list.html", context, status=status)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def persona(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Show and change a persona's settings."""
    found = get_persona_for_user(request.user, name)
    # The form writes into its instance even when it refuses; the page keeps ``found``.
    form = PersonaForm(
        request.POST if request.method == "POST" else None,
        instance=get_persona_for_user(request.user, name),
    )
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("persona", found.name)
    context = {"persona": found, "form": form, "tab": "settings"}
    status = 400 if form.errors else 200
    return render(request, "personas/persona.html", context, status=status)


@never_cache
@login_required
@require_safe
def persona_prompt(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """Show the instructions that a model would get, and what would not fit."""
    found = get_persona_for_user(request.user, name)
    alone = request.GET.get("company") != "1"
    budget_tokens = _budget(request.GET.get("budget", ""))
    context = {
        "persona": found,
        "alone": alone,
        "budget_tokens": budget_tokens,
        "budgets": BUDGETS,
        "files_room_tokens": budget_tokens // 2,
        "recall_room_tokens": _recall_room(found, budget_tokens, alone=alone),
        "tab": "prompt",
    }
    try:
        context["composition"] = compose(
            persona_material(found, alone=alone), budget_tokens
        )
    except TooLong as error:
        context["error"] = str(error)
    return render(request, "personas/prompt.html", context)


def _recall_room(persona: Persona, budget_tokens: int, *, alone: bool) -> int:
    """Return how many tokens of old conversations a prompt of the persona may bring."""
    brings = persona.context_tier >= RECALL_TIER and alone
    return recall_room(budget_tokens) if brings else 0


def _budget(wanted: str) -> int:
    budgets = {str(tokens): tokens for tokens, _ in BUDGETS}
    return budgets.get(wanted, USUAL_BUDGET_TOKENS)
