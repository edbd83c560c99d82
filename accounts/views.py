"""Pages about one's own account that allauth does not have."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from allauth.decorators import rate_limit
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.generic import View

from accounts import audit, resets
from accounts.forms import ProfileForm, ResetForm
from accounts.models import PasswordReset, User
from accounts.requests import AuthenticatedHttpRequest


@method_decorator(rate_limit(action="reset_password_from_key"), name="dispatch")
@method_decorator(never_cache, name="dispatch")
@method_decorator(sensitive_post_parameters("password1", "password2"), name="dispatch")
class ResetView(View):
    """Choose a new password behind a mailed link.

    GET never uses the link up. A closed link answers 410 with its reason, an unknown
    one 404. The person signs in afterwards, so that a second factor still counts.
    """

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show the form."""
        try:
            _, user = self._open(token)
        except resets.ResetNotOpen as error:
            return self._closed(request, error)
        return self._form(request, ResetForm(user))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Change the password."""
        try:
            reset, user = self._open(token)
            form = ResetForm(user, request.POST)
            if not form.is_valid():
                return self._form(request, form)
            user = resets.use_reset(reset, form.cleaned_data["password1"])
        except resets.ResetNotOpen as error:
            return self._closed(request, error)
        audit.record("password.reset", subject=user.username)
        adapter = get_adapter(request)
        adapter.forget_failures(request, user)
        adapter.send_notification_mail("account/email/password_reset", user)
        return redirect("account_reset_password_from_key_done")

    @staticmethod
    def _open(token: str) -> tuple[PasswordReset, User]:
        reset = resets.find_reset(token)
        if reset is None or reset.user is None:
            raise Http404("There is no such link.")
        state = resets.state_of(reset)
        if state is not resets.ResetState.OPEN:
            raise resets.ResetNotOpen(state)
        return reset, reset.user

    @staticmethod
    def _form(request: HttpRequest, form: ResetForm) -> HttpResponse:
        context = {"form": form, "bare": True}
        status = 400 if form.errors else 200
        return render(request, "setup/reset.html", context, status=status)

    @staticmethod
    def _closed(request: HttpRequest, reason: resets.ResetNotOpen) -> HttpResponse:
        context = {"reason": str(reason), "state": reason.state.value, "bare": True}
        return render(request, "setup/closed.html", context, status=410)


@never_cache
@login_required
def profile(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Change one's own language and time zone."""
    form = ProfileForm(
        request.POST if request.method == "POST" else None, instance=request.user
    )
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your settings are saved.")
        return redirect("profile")
    status = 400 if form.errors else 200
    context = {"form": form, "google": bool(settings.GOOGLE_CLIENT_ID)}
    return render(request, "settings/profile.html", context, status=status)


@login_required
@require_POST
def end_session(request: AuthenticatedHttpRequest, session_id: int) -> HttpResponse:
    """End one of one's own sessions; somebody else's is 404."""
    session = get_object_or_404(UserSession, pk=session_id, user=request.user)
    session.end()
    audit.record("session.ended", actor=request.user, subject=request.user.username)
    messages.success(request, "The session is ended.")
    return redirect("usersessions_list")
