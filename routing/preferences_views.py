"""The page under ``/settings/routing/``: what a person lets the router do."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from routing.models import RoutingPreferences
from routing.registry import catalogue_for

_OFF_HERE = "It is switched off for this installation."
_SWITCHES = {
    "use_rules": "CORTEX_ROUTE_RULES",
    "use_classifier": "CORTEX_ROUTE_CLASSIFIER",
}
"""Field → the setting that switches it off for everybody."""


class RoutingPreferencesForm(forms.ModelForm):  # type: ignore[type-arg]
    """Four switches; those that the installation has switched off stay off."""

    class Meta:
        model = RoutingPreferences
        fields = [
            "use_rules",
            "use_classifier",
            "fallback_after_refusal",
            "finish_with_another_model",
        ]
        labels = {
            "use_rules": "Judge each message by plain rules",
            "use_classifier": "Ask a small model where the rules are undecided",
            "fallback_after_refusal": "Ask the next model when one declines to answer",
            "finish_with_another_model": "Finish with another model",
        }
        help_texts = {
            "use_rules": (
                "Its length, code in it, files and certain words tell how capable a "
                "model it needs. This costs nothing and takes no time."
            ),
            "use_classifier": (
                "It reads the beginning of the message and costs a little. "
                "Without an answer within four seconds the usual tier is taken."
            ),
            "fallback_after_refusal": (
                "Otherwise a refusal is the answer, and you decide what to do."
            ),
            "finish_with_another_model": (
                "When an answer breaks off, the next model goes on from there. The "
                "place is marked, and both calls are paid. Otherwise the text stays "
                "as it is and you may ask again."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, setting in _SWITCHES.items():
            if not getattr(settings, setting, True):
                self.fields[name].disabled = True
                self.fields[name].help_text = _OFF_HERE

    @property
    def judging(self) -> list[forms.BoundField]:
        """The switches about how capable a model a message needs."""
        return [self["use_rules"], self["use_classifier"]]

    @property
    def failing(self) -> list[forms.BoundField]:
        """The switches about what happens when a model does not answer."""
        return [self["fallback_after_refusal"], self["finish_with_another_model"]]


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show and change one's own switches."""
    form = RoutingPreferencesForm(
        request.POST if request.method == "POST" else None,
        instance=_row_of(request.user),
    )
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("routing_preferences")
    context = {
        "form": form,
        "has_classifier": _has_classifier(request.user),
    }
    status = 400 if form.errors else 200
    return render(request, "routing/preferences.html", context, status=status)


def _row_of(user: User) -> RoutingPreferences:
    """Return the person's row, or a new one with the defaults."""
    found = RoutingPreferences.objects.filter(owner=user).first()
    return found or RoutingPreferences(owner=user)


def _has_classifier(user: User) -> bool:
    """Say whether a model is set up for the role that judges messages."""
    catalogue = catalogue_for(user)
    chains = (catalogue.own_chains, catalogue.shared_chains, catalogue.role_settings)
    return any(chain.get("classify") for chain in chains)
