"""The pages under ``/settings/models/``: hosts, models and chains.

Everybody sees the shared ones and changes their own; administrators change the shared
ones on the same pages. Everything works without JavaScript; a form that is refused
comes back with status 400 and all that was typed, except keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from routing import hosts
from routing.catalogue import BUILTIN, Catalogue
from routing.errors import RoutingError
from routing.forms import (
    ChainForm,
    DeleteHostForm,
    FreeUrlForm,
    HostForm,
    ModelForm,
)
from routing.host_check import HostReport, list_models, test_host
from routing.models import Host, Model, RoleSlot
from routing.registry import (
    NO_PERMISSION,
    catalogue_for,
    get_host_to_change,
    get_model_to_change,
    hosts_visible_to,
    info_for,
    may_add_free_url,
    models_visible_to,
)
from routing.router import RouteRequest, route

FORM = require_http_methods(["GET", "HEAD", "POST"])


ROLE_WORDS = {
    "chat": ("conversation", ""),
    "orchestrator": ("work in several steps, with tools", "it is off"),
    "distill": ("turning conversations into memory", "it is off"),
    "coder": ("programming", "it is off"),
    "research": ("looking things up", "it is off"),
    "classify": ("judging how hard a message is", "plain rules decide"),
}
"""What each role is for, and what holds while nobody is chosen for it."""


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
        "may_add": bool(hosts.addable_types()) and may_add_free_url(user),
        "people_form": FreeUrlForm() if user.is_admin else None,
    }
    return render(request, "routing/overview.html", context)


@never_cache
@login_required
@FORM
def host_add(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Add a host, one's own or – for administrators – a shared one."""
    if not may_add_free_url(request.user):
        context = {"sentence": NO_PERMISSION}
        return render(request, "routing/not_allowed.html", context, status=403)
    return _host_form(request, Host(base_url=""))


@never_cache
@login_required
@FORM
def host_edit(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Change a host."""
    return _host_form(request, get_host_to_change(request.user, host_id))


def _host_form(request: AuthenticatedHttpRequest, host: Host) -> HttpResponse:
    name = host.name
    data = request.POST if request.method == "POST" else None
    form = HostForm(request.user, data, instance=host)
    if data is not None and form.is_valid():
        saved = form.save_for(request.user)
        if saved is not None:
            messages.success(request, f"{saved.name} is saved. {form.hint}".strip())
            return redirect("models")
    context = {"form": form, "host": host, "name": name}
    status = 400 if form.errors else 200
    return render(request, "routing/host.html", context, status=status)


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
    """Test a host and show each step."""
    host = get_host_to_change(request.user, host_id)
    info = info_for(request.user, host)
    report: HostReport = async_to_sync(test_host)(request.user, info)
    context = {"host": host, "report": report}
    return render(request, "routing/host_test.html", context)


@never_cache
@login_required
@FORM
def model_add(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Add a model to a host."""
    host = get_host_to_change(request.user, host_id)
    model = Model(host=host, name=request.GET.get("name", "")[:200])
    return _model_form(request, model)


@never_cache
@login_required
@require_POST
def model_list(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Ask a host which models it has, and suggest them in the form to add one."""
    host = get_host_to_change(request.user, host_id)
    info = info_for(request.user, host)
    report: HostReport = async_to_sync(list_models)(request.user, info)
    model = Model(host=host)
    context = {"form": ModelForm(instance=model), "model": model, "report": report}
    return render(request, "routing/model.html", context)


@never_cache
@login_required
@FORM
def model_edit(request: AuthenticatedHttpRequest, model_id: int) -> HttpResponse:
    """Change a model."""
    return _model_form(request, get_model_to_change(request.user, model_id))


def _model_form(request: AuthenticatedHttpRequest, model: Model) -> HttpResponse:
    label = model.label
    data = request.POST if request.method == "POST" else None
    form = ModelForm(data, instance=model)
    if data is not None and form.is_valid():
        saved = form.save_for(request.user)
        if saved is not None:
            messages.success(request, f"{saved.label} is saved.")
            return redirect("models")
    context = {"form": form, "model": model, "label": label}
    status = 400 if form.errors else 200
    return render(request, "routing/model.html", context, status=status)


@never_cache
@login_required
@FORM
def model_delete(request: AuthenticatedHttpRequest, model_id: int) -> HttpResponse:
    """Ask, then delete a model and its places in chains."""
    model = get_model_to_change(request.user, model_id)
    if request.method == "POST":
        model.delete()
        messages.success(request, f"{model.label} is deleted.")
        return redirect("models")
    return render(request, "routing/model_delete.html", {"model": model})


@never_cache
@login_required
@FORM
def chain(request: AuthenticatedHttpRequest, scope: str, role: str) -> HttpResponse:
    """Choose and order the models of one's own chain or a shared one."""
    owner = _owner_of(request.user, scope)
    if role not in settings.MODEL_ROLES:
        raise Http404
    slots = RoleSlot.objects.filter(owner=owner, role=role).select_related("model")
    models = [slot.model for slot in slots]
    data = request.POST if request.method == "POST" else None
    form = ChainForm(request.user, owner, models, data)
    if data is not None and form.is_valid() and form.save_for(role):
        messages.success(request, f"The chain for {role} is saved.")
        return redirect("models")
    context = {"form": form, "role": role, "scope": scope, "models": models}
    status = 400 if form.errors else 200
    return render(request, "routing/chain.html", context, status=status)


@never_cache
@login_required
@require_POST
def chain_move(
    request: AuthenticatedHttpRequest, scope: str, role: str
) -> HttpResponse:
    """Move one model of a chain up by one place."""
    owner = _owner_of(request.user, scope)
    slots = RoleSlot.objects.filter(owner=owner, role=role).select_related(
        "model__host"
    )
    models = [slot.model for slot in slots]
    place = next(
        (
            n
            for n, model in enumerate(models)
            if str(model.id) == request.POST.get("up")
        ),
        0,
    )
    if place > 0:
        models[place - 1], models[place] = models[place], models[place - 1]
        try:
            hosts.set_chain(owner, role, models)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    return redirect("chain", scope, role)


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


def _owner_of(user: User, scope: str) -> User | None:
    """Return whose chain ``scope`` means; 404 for the shared one to members."""
    if scope == "own":
        return user
    if scope == "shared" and user.is_admin:
        return None
    raise Http404


def _role_row(role: str, catalogue: Catalogue) -> RoleRow:
    own, shared = role in catalogue.own_chains, role in catalogue.shared_chains
    words, without = ROLE_WORDS.get(role, ("", "it is off"))
    models: tuple[str, ...] = ()
    source = "your chain" if own else "the shared chain"
    try:
        plan = route(RouteRequest(role), catalogue)
    except RoutingError as error:
        if catalogue.role_settings.get(role):
            without = str(error)
    else:
        models = tuple(candidate.model.label for candidate in plan.candidates)
        source = source if own or shared else plan.reason
    return RoleRow(role, words, models, source, without, own, shared)
