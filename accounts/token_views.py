"""The page of one's own access tokens: create, see once, list, revoke."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts import tokens
from accounts.requests import FORM, AuthenticatedHttpRequest
from accounts.token_forms import TokenForm


@never_cache
@login_required
@FORM
def token_list(request: AuthenticatedHttpRequest) -> HttpResponse:
    """List one's tokens; a new one is shown in this answer and never again."""
    is_new = request.method == "POST"
    form = TokenForm(request.user, request.POST if is_new else None)
    created = ""
    if is_new and form.is_valid():
        created = _create(request, form)
    context = {
        "form": TokenForm(request.user) if created else form,
        "created": created,
        "tokens": list(tokens.tokens_visible_to(request.user)),
        "possible": tokens.scopes_for(request.user),
        "now": timezone.now(),
        "tab": "tokens",
    }
    status = 400 if form.errors else 200
    return render(request, "settings/tokens.html", context, status=status)


def _create(request: AuthenticatedHttpRequest, form: TokenForm) -> str:
    """Return the new token; empty, with the reason in the form, if there is none."""
    data = form.cleaned_data
    try:
        with transaction.atomic():
            return tokens.create_token(
                request.user,
                scopes=data["scopes"],
                days=data["days"],
                name=data["name"],
                actor=request.user,
            )
    except ValidationError as error:
        form.add_refusal(error)
        return ""


@login_required
@require_POST
def token_revoke(
    request: AuthenticatedHttpRequest, token_id: uuid.UUID
) -> HttpResponse:
    """Revoke one of one's own tokens; somebody else's is 404."""
    token = get_object_or_404(tokens.tokens_visible_to(request.user), pk=token_id)
    with transaction.atomic():
        tokens.revoke_token(token, actor=request.user)
    name = f"“{token.name}”" if token.name else "The token"
    messages.success(request, f"{name} is revoked; nothing can use it any more.")
    return redirect("tokens")
