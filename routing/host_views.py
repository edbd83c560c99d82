"""Pages that add, change, delete and test hosts.

The kind of a host is chosen first, so that its form has only the fields it needs; a
host that exists keeps its kind.
"""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.models import User
from accounts.requests import FORM, AuthenticatedHttpRequest
from routing import discovery, hosts
from routing.backends import programs
from routing.catalogue import PROGRAM_TYPES
from routing.host_check import HostReport, test_host
from routing.host_forms import DeleteHostForm, HostForm, kinds_for
from routing.models import Host
from routing.registry import (
    FREE_URL_TYPES,
    NO_PERMISSION,
    get_host_to_change,
    info_for,
    may_add_free_url,
)


@never_cache
@login_required
@FORM
def host_add(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Ask for the kind, then for the rest; one's own or, by administrators, shared."""
    kind = request.POST.get("type") or request.GET.get("type", "")
    if kind in FREE_URL_TYPES and not may_add_free_url(request.user):
        context = {"sentence": NO_PERMISSION}
        return render(request, "routing/not_allowed.html", context, status=403)
    if kind not in hosts.addable_types():
        choice: dict[str, object] = {
            "kinds": kinds_for(request.user),
            "unknown": bool(kind),
        }
        status = 400 if kind or request.method == "POST" else 200
        return render(request, "routing/host_kinds.html", choice, status=status)
    return _host_form(request, Host(type=kind))


@never_cache
@login_required
@FORM
def host_edit(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Change a host."""
    return _host_form(request, get_host_to_change(request.user, host_id))


def _host_form(request: AuthenticatedHttpRequest, host: Host) -> HttpResponse:
    is_new, name = host.pk is None, host.name
    data = request.POST if request.method == "POST" else None
    form = HostForm(request.user, data, instance=host)
    if data is not None and form.is_valid():
        saved = form.save_for(request.user)
        if saved is not None:
            messages.success(request, f"{saved.name} is saved. {form.hint}".strip())
            shows_command = is_new and _login_command(request.user, saved)
            return redirect("host", saved.id) if shows_command else redirect("models")
    context = {
        "form": form,
        "host": host,
        "name": name,
        "login_command": _login_command(request.user, host),
        "program_missing": _missing_program(host),
    }
    status = 400 if form.errors else 200
    return render(request, "routing/host.html", context, status=status)


def _missing_program(host: Host) -> str:
    """Return the sentence for a program that is not on this machine."""
    if host.type not in PROGRAM_TYPES or programs.find_program(host.type):
        return ""
    return programs.not_found_sentence(host.type)


def _login_command(user: User, host: Host) -> str:
    """Return how to log in by hand, for who runs the machine; empty for others."""
    by_hand = host.credential == Host.Credential.LOGIN and host.type in PROGRAM_TYPES
    if not by_hand or host.pk is None or host.owner_id is not None:
        return ""
    return programs.login_command(host.type, host.pk) if user.is_admin else ""


@never_cache
@login_required
@FORM
def host_delete(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Ask for the host's name, then delete it."""
    host = get_host_to_change(request.user, host_id)
    form = DeleteHostForm(host, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        hosts.delete_host(host, actor=request.user)
        messages.success(request, f"{host.name} is deleted.")
        return redirect("models")
    context = {"form": form, "host": host, "model_count": host.models.count()}
    status = 400 if form.errors else 200
    return render(request, "routing/host_delete.html", context, status=status)


@never_cache
@login_required
@require_POST
def host_test(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Test a host and show each step; one that waited for this goes in use."""
    host = get_host_to_change(request.user, host_id)
    info = info_for(request.user, host)
    report: HostReport = async_to_sync(test_host)(request.user, info)
    context = {
        "host": host,
        "report": report,
        "enabled": discovery.enable_if_proved(host, report),
    }
    return render(request, "routing/host_test.html", context)
