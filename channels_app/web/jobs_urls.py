"""Addresses below ``/jobs/``: the queue, briefs and heartbeats."""

from __future__ import annotations

from django.urls import path

from channels_app.web import jobs

urlpatterns = [
    path("", jobs.queue, name="jobs"),
]
