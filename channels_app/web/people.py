"""The page about people, for administrators: who is here, who is invited.

Everybody else gets 404. Every change is a plain form; a new link is shown once, on the
page that answers the form, and never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import invites, mails, people
from accounts.forms import RefusableForm
from accounts.models import Invite, User
from accounts.names import validate_name
from accounts.requests import AuthenticatedHttpRequest
from channels_app.people import delete_person, person_rows, waiting_rows

View = Callable[..., HttpResponse]
VERBS: dict[str, tuple[Callable[..., None], str]] = {
    "deactivate": (people.deactivate, "“{}” is signed out everywhere and locked out."),
    "activate": (people.activate, "“{}” can sign in again."),
    "promote": (people.promote, "“{}” is an administrator now."),
    "demote": (people.demote, "“{}” is a member now."),
}


class InviteForm(RefusableForm):
    """Whom to invite; what is left empty the person chooses."""

    username = forms.CharField(
        label="User name",
        required=False,
        max_length=32,
        validators=[validate_name],
        help_text="Leave it empty to let the person choose.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )
    email = forms.EmailField(
        label="E-mail address",
        required=False,
        help_text="The link is mailed there; without it, pass the link on yourself.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    is_admin = forms.BooleanField(label="As an administrator", required=False)


def administrators_only(view: View) -> View:
    """Let administrators in; a member learns nothing, not even that there is a page."""

    @wraps(view)
    def guarded(
        request: AuthenticatedHttpRequest, *args: Any, **kw: Any
    ) -> HttpResponse:
        if not request.user.is_admin:
            raise Http404("There is no such page.")
        return view(request, *args, **kw)

    return never_cache(login_required(guarded))


@administrators_only
@require_safe
def people_page(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show everybody and the open invites."""
    return _page(request, InviteForm())


@administrators_only
@require_POST
def invite_person(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Create an invite, mail its link and show it."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=400)
    try:
        invite, token = invites.create_invite(
            **form.cleaned_data, invited_by=request.user
        )
    except ValidationError as error:
        form.add_refusal(error)
        return _page(request, form, status=409)
    return _page(request, InviteForm(), handed=mails.hand_out(invite, token))


@administrators_only
@require_POST
def renew_invite(request: AuthenticatedHttpRequest, invite_id: int) -> HttpResponse:
    """Replace an invite's link by a new one, mail it and show it."""
    invite = get_object_or_404(Invite, pk=invite_id)
    try:
        fresh, token = invites.renew_invite(invite, actor=request.user)
    except (invites.InviteNotOpen, ValidationError) as error:
        messages.error(request, " ".join(getattr(error, "messages", [str(error)])))
        return redirect("people")
    return _page(request, InviteForm(), handed=mails.hand_out(fresh, token))


@administrators_only
@require_POST
def revoke_invite(request: AuthenticatedHttpRequest, invite_id: int) -> HttpResponse:
    """Withdraw an invite."""
    invite = get_object_or_404(Invite, pk=invite_id)
    try:
        invites.revoke_invite(invite, actor=request.user)
    except invites.InviteNotOpen as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "The invite is withdrawn.")
    return redirect("people")


@administrators_only
@require_POST
def change_person(
    request: AuthenticatedHttpRequest, username: str, verb: str
) -> HttpResponse:
    """Deactivate, activate, promote or demote a person."""
    person = get_object_or_404(User, username=username)
    if verb not in VERBS:
        raise Http404("There is no such action.")
    act, done = VERBS[verb]
    try:
        act(person, actor=request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, done.format(username))
    return redirect("people")


@administrators_only
def remove_person(request: AuthenticatedHttpRequest, username: str) -> HttpResponse:
    """Ask for the name to be typed, then delete the person and all their texts."""
    person = get_object_or_404(User, username=username)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() != username:
            error = "That is not the name; nothing was deleted."
        else:
            try:
                delete_person(person, actor=request.user)
            except ValidationError as refusal:
                error = " ".join(refusal.messages)
            else:
                messages.success(request, f"“{username}” is deleted.")
                return redirect("people")
    context = {"person": person, "error": error}
    return render(request, "people/delete.html", context, status=409 if error else 200)


def _page(
    request: AuthenticatedHttpRequest,
    form: InviteForm,
    *,
    handed: mails.HandedInvite | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = person_rows()
    context = {
        "form": form,
        "people": rows,
        "waiting": waiting_rows({row.username for row in rows}),
        "invites": invites.open_invites().select_related("invited_by"),
        "handed": handed,
    }
    return render(request, "people/people.html", context, status=status)
