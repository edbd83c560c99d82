"""Setting up: from an invite's link to a signed-in person with a first persona.

Looking at a link never uses it up. A link that is used, expired or withdrawn says so
with 410; an unknown one is 404.
"""

from __future__ import annotations

from allauth.account.utils import perform_login
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import invites
from accounts.forms import SetupForm
from accounts.models import Invite, User
from accounts.requests import AuthenticatedHttpRequest
from personas.forms import NewPersonaForm
from personas.personas import create_persona, personas_visible_to


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Show the form of an invite, and on POST create the account and sign it in."""
    invite = invites.find_invite(token)
    if invite is None:
        raise Http404("There is no such invite.")
    if invites.state_of(invite) is not Invite.State.OPEN:
        return _closed(request, invites.InviteNotOpen(invites.state_of(invite)))
    form = SetupForm(invite, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            user = invites.redeem_invite(
                token,
                username=form.chosen("username"),
                email=form.chosen("email"),
                password=form.cleaned_data["password1"],
                time_zone=request.POST.get("time_zone", ""),
            )
        except invites.InviteNotOpen as error:
            return _closed(request, error)
        except ValidationError as error:
            form.add_refusal(error)
        else:
            _sign_in(request, user)
            return redirect("setup_persona")
    context = {"form": form, "invite": invite, "bare": True}
    status = 400 if form.errors else 200
    return render(request, "setup/setup.html", context, status=status)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def setup_persona(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Choose one of the starter personas, name it and begin."""
    form = NewPersonaForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            create_persona(request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_refusal(error)
        else:
            return redirect("/")
    context = {
        "form": form,
        "bare": True,
        "is_first": not personas_visible_to(request.user).exists(),
    }
    status = 400 if form.errors else 200
    return render(request, "setup/persona.html", context, status=status)


def _sign_in(request: HttpRequest, user: User) -> None:
    """Sign the new person in; whoever was signed in here before is signed out.

    An address that the person chose gets a mail that asks to confirm it.
    """
    if request.user.is_authenticated:
        logout(request)
    perform_login(request, user, signup=True)


def _closed(request: HttpRequest, reason: invites.InviteNotOpen) -> HttpResponse:
    context = {"reason": str(reason), "state": reason.state.value, "bare": True}
    return render(request, "setup/closed.html", context, status=410)
