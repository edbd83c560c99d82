"""Pages that add, change and delete models."""

from __future__ import annotations

from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.requests import FORM, AuthenticatedHttpRequest
from routing import hosts
from routing.forms import ModelForm
from routing.host_check import HostReport, list_models
from routing.models import Model
from routing.registry import get_host_to_change, get_model_to_change, info_for


@never_cache
@login_required
@FORM
def model_add(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Add a model to a host; ``?name=&context=`` brings what is known of one."""
    host = get_host_to_change(request.user, host_id)
    model = Model(host=host, name=request.GET.get("name", "")[:200])
    told = request.GET.get("context", "")
    if told.isascii() and told.isdecimal() and 512 <= int(told[:10]) < 2**31:
        model.context_tokens = int(told)
    return _model_form(request, model)


@never_cache
@login_required
@require_POST
def model_list(request: AuthenticatedHttpRequest, host_id: int) -> HttpResponse:
    """Ask a host which models it has, and offer them beside the form to add one."""
    host = get_host_to_change(request.user, host_id)
    info = info_for(request.user, host)
    report: HostReport = async_to_sync(list_models)(request.user, info)
    here = set(host.models.values_list("name", flat=True))
    context = {
        "form": ModelForm(instance=Model(host=host)),
        "model": Model(host=host),
        "report": report,
        "offered": [
            (name, _query(name, report)) for name in report.models if name not in here
        ],
    }
    return render(request, "routing/model.html", context)


def _query(name: str, report: HostReport) -> str:
    """Return what the form to add a model is told of it."""
    known = {"context": report.contexts[name]} if name in report.contexts else {}
    return urlencode({"name": name, **known})


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
            messages.success(request, f"{saved.label} is saved. {form.hint}".strip())
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
        hosts.delete_model(model, actor=request.user)
        messages.success(request, f"{model.label} is deleted.")
        return redirect("models")
    return render(request, "routing/model_delete.html", {"model": model})
