"""The pages about one's queued tasks, below ``/jobs/``."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from accounts.requests import FORM, AuthenticatedHttpRequest


@never_cache
@login_required
@FORM
def queue(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show one's tasks."""
    return render(request, "jobs/queue.html", {"tab": "queue"})
