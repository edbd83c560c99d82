"""The pages about outgoing webhooks, below ``/settings/webhooks/``.

A secret stands on the page that answers the form which made it, and nowhere else.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.requests import FORM, AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app.models import WebhookDelivery, WebhookEndpoint
from channels_app.webhooks import endpoints, sending
from channels_app.webhooks.endpoints import get_delivery_for_user, get_webhook_for_user
from channels_app.webhooks.forms import WebhookForm

PATIENCE_S: Final = sending.ANSWER_WITHIN_S + 5
"""A page waits so long for an address; what takes longer goes on without it."""


@never_cache
@login_required
@FORM
def webhooks(request: AuthenticatedHttpRequest) -> HttpResponse:
    """List one's webhooks and add one; a new one's page shows its secret."""
    form = WebhookForm(None, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            endpoint, secret = endpoints.add(
                request.user, given["url"], given["events"]
            )
        except ValidationError as error:
            form.add_refusal(error)
        else:
            return _page(request, endpoint, secret=secret)
    context = {
        "form": form,
        "webhooks": list(endpoints.webhooks_visible_to(request.user)),
        "zone": zone_of(request.user),
    }
    status = 400 if form.errors else 200
    return render(request, "webhooks/webhooks.html", context, status=status)


@never_cache
@login_required
@FORM
def webhook(request: AuthenticatedHttpRequest, webhook_id: int) -> HttpResponse:
    """Show a webhook with its last deliveries, and change it."""
    endpoint = get_webhook_for_user(request.user, webhook_id)
    if request.method != "POST":
        return _page(request, endpoint)
    form = WebhookForm(endpoint, request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            endpoints.change(
                request.user,
                endpoint,
                given["url"],
                given["events"],
                enabled=given["enabled"],
            )
        except ValidationError as error:
            form.add_refusal(error)
        else:
            messages.success(request, "The webhook is saved.")
            return redirect("webhook", webhook_id)
    endpoint = get_webhook_for_user(request.user, webhook_id)
    return _page(request, endpoint, form=form, status=400)


@never_cache
@login_required
@require_POST
def rotate(request: AuthenticatedHttpRequest, webhook_id: int) -> HttpResponse:
    """Make a new secret and show it; the old one signs along for a day."""
    endpoint = get_webhook_for_user(request.user, webhook_id)
    secret = endpoints.rotate_secret(request.user, endpoint)
    return _page(request, endpoint, secret=secret)


@never_cache
@login_required
@require_POST
def test(request: AuthenticatedHttpRequest, webhook_id: int) -> HttpResponse:
    """Send a delivery that tells nothing, and say whether it arrived."""
    endpoint = get_webhook_for_user(request.user, webhook_id)
    if endpoint.enabled:
        _send_now(request, endpoint, endpoints.ask_for_test(endpoint))
    else:
        messages.error(request, "The webhook is switched off; tick “In use” and save.")
    return redirect("webhook", webhook_id)


@never_cache
@login_required
@require_POST
def again(
    request: AuthenticatedHttpRequest, webhook_id: int, delivery_id: UUID
) -> HttpResponse:
    """Send a delivery again, under the same id."""
    row = get_delivery_for_user(request.user, webhook_id, delivery_id)
    if not row.endpoint.enabled:
        messages.error(request, "The webhook is switched off; tick “In use” and save.")
    elif endpoints.send_again(row):
        _send_now(request, row.endpoint, row)
    else:
        messages.error(request, "It is being sent at this moment.")
    return redirect("webhook", webhook_id)


@never_cache
@login_required
@FORM
def delete(request: AuthenticatedHttpRequest, webhook_id: int) -> HttpResponse:
    """Ask, then delete a webhook with its deliveries."""
    endpoint = get_webhook_for_user(request.user, webhook_id)
    if request.method == "POST":
        endpoints.remove(request.user, endpoint)
        messages.success(request, "The webhook is deleted.")
        return redirect("webhooks")
    return render(request, "webhooks/delete.html", {"webhook": endpoint})


def _send_now(
    request: AuthenticatedHttpRequest, endpoint: WebhookEndpoint, row: WebhookDelivery
) -> None:
    """Send what is due to an address and tell how one delivery of it went."""
    async_to_sync(sending.deliver_within)(endpoint.pk, PATIENCE_S)
    row.refresh_from_db()
    if row.state == WebhookDelivery.State.SENT:
        messages.success(request, f"It arrived: the address answered {row.status}.")
    elif row.error:
        messages.error(request, f"It did not arrive. {row.error}")
    else:
        messages.info(request, "It is on its way.")


def _page(
    request: AuthenticatedHttpRequest,
    endpoint: WebhookEndpoint,
    *,
    form: WebhookForm | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "webhook": endpoint,
        "form": form or WebhookForm(endpoint),
        "secret": secret,
        "deliveries": endpoints.last_deliveries(endpoint),
        "two_secrets": len(endpoints.stored_secrets(endpoint)) > 1,
        "zone": zone_of(request.user),
    }
    return render(request, "webhooks/webhook.html", context, status=status)
