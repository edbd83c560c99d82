"""The addresses of the pages about the API; its own are in ``app``."""

from __future__ import annotations

from django.urls import path

from channels_app.api import pages

urlpatterns = [
    path("", pages.reference, name="api_reference"),
    path("openapi.json", pages.document, name="openapi"),
]
